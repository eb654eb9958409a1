# SPDX-License-Identifier: GPL-3.0-or-later
"""Train detectors from labels, calibrate and measure them."""
