# SPDX-License-Identifier: GPL-3.0-or-later
"""Read micrographs, find their borders, and write maps, masks and thumbnails. Imports no torch."""
