# SPDX-License-Identifier: GPL-3.0-or-later
"""Detectors: views of a micrograph in, log-odds of each class on a coarse grid out; and the model folder."""
