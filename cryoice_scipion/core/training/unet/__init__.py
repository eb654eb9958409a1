# SPDX-License-Identifier: GPL-3.0-or-later
"""Train the U-Net on whole micrographs."""
