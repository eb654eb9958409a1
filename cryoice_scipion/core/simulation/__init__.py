# SPDX-License-Identifier: GPL-3.0-or-later
"""Physics-based micrographs with exact labels: for training, tests and demonstrations."""
