# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulate micrographs with exact labels, for training, tests and demonstrations."""
