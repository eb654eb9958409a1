# SPDX-License-Identifier: GPL-3.0-or-later
"""The viewers: show what was recorded. Compute nothing; need no Java."""

import cryoice_scipion.viewers.preferred  # noqa: F401 (puts our viewer first)
from cryoice_scipion.viewers.viewer_model import CryoIceModelViewer
from cryoice_scipion.viewers.viewer_screen import CryoIceScreenViewer

# pyworkflow offers viewers in the order of their names: ours comes first for our own outputs.
from cryoice_scipion.viewers.viewer_screen import CryoIceOutputViewer as AAACryoIceOutputViewer  # isort: skip

__all__ = ["AAACryoIceOutputViewer", "CryoIceModelViewer", "CryoIceScreenViewer"]
