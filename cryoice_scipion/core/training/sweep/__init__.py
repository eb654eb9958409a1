# SPDX-License-Identifier: GPL-3.0-or-later
"""Search the best settings of a training: many trials, in one process or several, that survive kills."""
