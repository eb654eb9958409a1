# SPDX-License-Identifier: GPL-3.0-or-later
"""The core: finds bad areas in cryo-EM micrographs. Knows nothing of Scipion."""
