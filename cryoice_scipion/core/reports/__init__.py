# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw plots, and write the HTML report. Imports no torch."""
