# SPDX-License-Identifier: GPL-3.0-or-later
"""Our viewer goes before the one that Scipion prefers for a class, Java's; it takes nothing but our own outputs.

Scipion (and users) may name a preferred viewer for each class of output, which then comes before all others. Importing
this module puts ours in front of it, where there is one.
"""

from __future__ import annotations

import pwem
import pyworkflow

VIEWER = "cryoice_scipion.viewers.viewer_screen.CryoIceOutputViewer"
CLASSES = ("SetOfCoordinates", "SetOfMicrographs")


def prefer_ours() -> None:
    """Put our viewer first; not where nothing is preferred: it is the first one there by its name."""
    preferences = pyworkflow.Config.VIEWERS
    for name in CLASSES:
        others = preferences.get(name)
        if others and VIEWER not in others:
            others.insert(0, VIEWER)
            pwem.Domain._preferred_viewers = None  # they are read again


prefer_ours()
