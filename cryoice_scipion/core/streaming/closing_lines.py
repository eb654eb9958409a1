# SPDX-License-Identifier: GPL-3.0-or-later
"""Log what the user should know of the coordinates of a watched run at its end."""

from __future__ import annotations

import logging

from cryoice_scipion.core.errors import counted
from cryoice_scipion.core.results.balance import names_in_short
from cryoice_scipion.core.streaming.streaming_coordinates import StreamingCoordinates


def log_all(picks: StreamingCoordinates, log: logging.Logger) -> None:
    """Log coordinates without a micrograph, files that were given more than once, and joined files."""
    names = picks.unmatched_names()
    if names:
        number = counted(len(names), "micrograph")
        log.warning("coordinates of %s that did not come are left out: %s", number, names_in_short(names))
    for line in picks.distinct.lines():
        log.info(line)
    shared = picks.shared()
    for stem, files in list(shared.items())[:1]:
        text = "the coordinates of %s are in several files and are joined, such as %s of %s"
        log.warning(text, counted(len(shared), "micrograph"), " and ".join(files[:2]), stem)
