# SPDX-License-Identifier: GPL-3.0-or-later
"""Train a network on labelled patches."""
