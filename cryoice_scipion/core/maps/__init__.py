# SPDX-License-Identifier: GPL-3.0-or-later
"""From a class map to mask, areas, the level of a session and the scores of coordinates. No torch, no files."""
