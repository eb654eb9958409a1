# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute and score the maps of micrographs, in this process or in one child process per device."""
