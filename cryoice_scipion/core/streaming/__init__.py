# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch files and coordinates that arrive during a run."""
