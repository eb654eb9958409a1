# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the results of the protocols in Scipion. The viewers read recorded results only, and need no Java."""

import cryoice_scipion.viewers.preferred  # noqa: F401 (makes our viewer the preferred one)
from cryoice_scipion.viewers.viewer_model import CryoIceModelViewer
from cryoice_scipion.viewers.viewer_regions import CryoIceRegionsViewer
from cryoice_scipion.viewers.viewer_screen import CryoIceScreenViewer

# pyworkflow offers viewers in alphabetical order; this name makes ours the first for our own outputs.
from cryoice_scipion.viewers.viewer_screen import CryoIceOutputViewer as AAACryoIceOutputViewer  # isort: skip

__all__ = ["AAACryoIceOutputViewer", "CryoIceModelViewer", "CryoIceRegionsViewer", "CryoIceScreenViewer"]
