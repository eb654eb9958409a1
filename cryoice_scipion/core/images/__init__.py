# SPDX-License-Identifier: GPL-3.0-or-later
"""Micrographs in, masks and maps out. Imports no torch."""
