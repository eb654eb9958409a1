# SPDX-License-Identifier: GPL-3.0-or-later
"""Screening: the map of one micrograph, what it says of its coordinates, and runs over many of them."""
