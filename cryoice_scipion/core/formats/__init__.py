# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write coordinate files: one module a format, listed in ``table.FORMATS``; and RELION's STAR."""
