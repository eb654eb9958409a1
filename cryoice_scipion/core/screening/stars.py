# SPDX-License-Identifier: GPL-3.0-or-later
"""kept.star and rejected.star: the input's own columns, and what the screening says of each coordinate."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np

from cryoice_scipion.constants import NO_MICROGRAPH
from cryoice_scipion.core.data.coordinates import PickTable, write_star
from cryoice_scipion.core.images.naming import micrograph_key, stem_of
from cryoice_scipion.core.records import Judgement
from cryoice_scipion.core.screening.folder import KEPT, REJECTED, writing

_OPEN, _KEPT, _REJECTED = 0, 1, 2


class StarFiles:
    """Collects the judgement of each row of a coordinate table. A coordinate's id is its row."""

    def __init__(self, folder: Path, picks: PickTable) -> None:
        """Take the table as it was read."""
        self.folder, self.picks = folder, picks
        number = len(picks.table)
        self._state = np.zeros(number, dtype=np.uint8)
        self._goodness = np.full(number, np.nan)
        self._class = np.zeros(number, dtype=np.uint8)
        self._classes: Dict[str, int] = {}
        self._reject(picks.unmatched, NO_MICROGRAPH)
        self._paths: List[str] = [str(name) for name in picks.table["rlnMicrographName"]]
        keys = {name: micrograph_key(name) for name in set(self._paths)}
        self._keys = [keys[name] for name in self._paths]

    def _reject(self, rows: Sequence[int], cls: str) -> None:
        """Reject rows that no micrograph will ever judge, so that none is lost."""
        self._state[list(rows)] = _REJECTED
        self._class[list(rows)] = self._classes.setdefault(cls, len(self._classes))

    def add(self, judgement: Judgement) -> None:
        """Note what was said of a micrograph's coordinates; a later judgement replaces an earlier one."""
        key = micrograph_key(judgement.path)
        for score in judgement.scores:
            if score.id >= len(self._state) or self._keys[score.id] != key:
                continue  # the row of an earlier session's table, which was another one
            self._state[score.id] = _KEPT if score.kept else _REJECTED
            self._goodness[score.id] = np.nan if score.goodness is None else score.goodness
            self._class[score.id] = self._classes.setdefault(score.cls, len(self._classes))
            name = Path(self._paths[score.id]).name
            if stem_of(name) == name:  # formats that know only the name of the coordinate file
                self._paths[score.id] = judgement.path

    def write(self) -> None:
        """Write both files, atomically."""
        names = np.array([*self._classes, ""], dtype=object)
        for path, state in ((KEPT, _KEPT), (REJECTED, _REJECTED)):
            rows = np.flatnonzero(self._state == state)
            table = self.picks.table.iloc[rows].copy()
            table["rlnMicrographName"] = [self._paths[row] for row in rows]
            table["cryoiceGoodness"] = np.round(self._goodness[rows], 6)
            table["cryoiceClass"] = names[self._class[rows]]
            with writing(self.folder):
                write_star(self.folder / path, table, self.picks.optics)
