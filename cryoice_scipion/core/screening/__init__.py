# SPDX-License-Identifier: GPL-3.0-or-later
"""Screen many micrographs in a run that can be resumed, and write its output files."""
