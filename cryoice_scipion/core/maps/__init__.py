# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive mask, bad area, session level and the goodness of coordinates from a class map.

``scoring`` applies the threshold to coordinates. No torch, no files.
"""
