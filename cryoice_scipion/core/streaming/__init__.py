# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch folders for micrographs and coordinates that arrive during a run."""
