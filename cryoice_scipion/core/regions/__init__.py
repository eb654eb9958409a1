# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the regions of bad area on a map: their class with a confidence, size, box and outline."""
