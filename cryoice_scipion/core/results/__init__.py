# SPDX-License-Identifier: GPL-3.0-or-later
"""Write and read the output folder of a run: paths, journal, sums, and readers for viewers and reports."""
