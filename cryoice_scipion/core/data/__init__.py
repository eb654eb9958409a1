# SPDX-License-Identifier: GPL-3.0-or-later
"""Coordinates, labelled patches, splits, augmentation."""
