# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute class maps, masks and areas, score coordinates, and measure the session baseline. No torch, no files."""
