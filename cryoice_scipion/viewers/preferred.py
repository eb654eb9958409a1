# SPDX-License-Identifier: GPL-3.0-or-later
"""Make our viewer the preferred one for our own outputs, before Scipion's Java viewer.

Scipion and its users can set a preferred viewer for each class of output. If there is one, importing this module puts
our viewer before it. Our viewer accepts only our own outputs.
"""

from __future__ import annotations

import pwem
import pyworkflow

VIEWER = "cryoice_scipion.viewers.viewer_screen.CryoIceOutputViewer"
CLASSES = ("SetOfCoordinates", "SetOfMicrographs")


def prefer_ours() -> None:
    """Put our viewer before the preferred ones; without preferences, its name already makes it the first."""
    preferences = pyworkflow.Config.VIEWERS
    for name in CLASSES:
        others = preferences.get(name)
        if others and VIEWER not in others:
            others.insert(0, VIEWER)
            pwem.Domain._preferred_viewers = None  # they are read again


prefer_ours()
