# SPDX-License-Identifier: GPL-3.0-or-later
"""Grade whole micrographs, with a confidence and the reason."""
