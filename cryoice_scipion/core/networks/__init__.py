# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks, and the model folder that holds one."""
