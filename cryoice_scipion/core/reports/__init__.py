# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of what was found: thumbnails, plots, the HTML report. Imports no torch."""
