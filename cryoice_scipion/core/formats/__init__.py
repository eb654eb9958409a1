# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write coordinate files: one function a format, and RELION's STAR."""
