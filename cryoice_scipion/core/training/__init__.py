# SPDX-License-Identifier: GPL-3.0-or-later
"""Train detectors from labels, calibrate them, and write model folders with a model card."""
