# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write coordinate files and RELION STAR files. ``table.FORMATS`` lists the formats, one module each."""
