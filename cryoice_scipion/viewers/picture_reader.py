# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the pictures of micrographs and the positions of their coordinates in the background, and keep the last ones."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.picture_layers import Layers, read_layers
from cryoice_scipion.viewers.background import Background
from cryoice_scipion.viewers.screened_run import ScreenedRun

KEPT_PICTURES = 12  # so that going back is fast

Found = Tuple[Layers, Any]  # picture, and positions of shape (n, 2) in px, NaN if unknown


class PictureReader:
    """Reads one micrograph at a time."""

    def __init__(self, run: ScreenedRun, background: Background) -> None:
        """Take the run, and what reads it."""
        self._run, self._background = run, background
        self._kept: Dict[int, Tuple[MicrographRecord, Found]] = {}

    def known(self, record: MicrographRecord, number: int) -> Optional[Found]:
        """Return what was read of a micrograph, unless it was scored again or has other coordinates."""
        before, found = self._kept.get(record.id, (None, None))
        return found if found is not None and before is record and len(found[1]) == number else None

    def read(
        self, record: MicrographRecord, ids: Any, is_wanted: Callable[[], bool], done: Callable[[Layers, Any], None]
    ) -> None:
        """Read a micrograph and the coordinates with these ids; call ``done`` if it is still wanted then."""

        def read() -> Optional[Found]:
            if not is_wanted():
                return None  # another micrograph was selected in the meantime
            layers = read_layers(self._run.folder, record)
            try:
                return layers, self._run.positions(ids)
            except CryoIceError as error:
                layers.problems.append(str(error))
                return layers, np.full((len(ids), 2), np.nan)

        def keep(found: Optional[Found]) -> None:
            if found is None:
                return
            while len(self._kept) >= KEPT_PICTURES:
                del self._kept[next(iter(self._kept))]
            self._kept[record.id] = record, found
            if is_wanted():
                done(*found)

        self._background.run(read, keep)
