# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and coordinates that arrive while a run lasts."""
