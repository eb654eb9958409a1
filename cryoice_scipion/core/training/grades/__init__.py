# SPDX-License-Identifier: GPL-3.0-or-later
"""Train graders of whole micrographs."""
