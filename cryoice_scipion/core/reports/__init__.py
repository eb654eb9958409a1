# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the HTML report of a run, and the plots of a model. Imports no torch."""
