# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert coordinates of files to items of a Scipion set: position, the picker's score, and what RELION exports."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set

import numpy as np
import pandas as pd
from pwem.objects import Coordinate
from pyworkflow.object import Float, Integer

from cryoice_scipion.constants import COORDINATES_SCALED
from cryoice_scipion.convert import MicrographRow, typical_box_size
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.coordinates import PickTable, picks_of_rows
from cryoice_scipion.core.formats.score_cutoff import UNKNOWN, drop_below, scores_of
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.images.reading import read_micrograph
from cryoice_scipion.core.maps.placement import in_micrograph_pixels, scale_flags
from cryoice_scipion.core.records import Pick

_CLASS, _PSI = "rlnClassNumber", "rlnAnglePsi"  # columns of RELION's coordinate files


class ImportedPick(NamedTuple):
    """One coordinate as it is stored in a set."""

    x: int  # px of the micrograph
    y: int
    score: Optional[float] = None  # the picker's; None: not known
    relion_class: int = int(UNKNOWN)
    psi: float = UNKNOWN  # degrees


class PicksFromFiles:
    """Converts coordinates of files with the settings of the import."""

    def __init__(self, pixel_size: float, config: ScreenConfig, min_score: Optional[float] = None) -> None:
        """Store the settings.

        Parameters
        ----------
        pixel_size : float
            Of the micrographs, Å/px.
        config : ScreenConfig
            Has ``coordinates_pixel_size`` and ``flip_y``.
        min_score : float, optional
            Coordinates with a lower score are left out.
        """
        self._pixel_size, self._config, self._min_score = pixel_size, config, min_score
        self._heights: Dict[str, int] = {}  # px, by the path of the micrograph
        self._flags: Dict[str, Set[int]] = defaultdict(set)  # ids of the micrographs with each flag about pixel sizes
        self._has_score = False
        self._has_picks = False

    def select(self, picks: PickTable) -> None:
        """Leave out the coordinates of a table that the settings do not want."""
        self._has_picks = self._has_picks or len(picks) > 0
        self._has_score = self._has_score or bool((~np.isnan(scores_of(picks.table))).any())
        if self._min_score is not None:
            drop_below(picks, self._min_score)

    def box_size(self, table: pd.DataFrame) -> int:
        """Return the box size in px of the micrographs; 0 if unknown."""
        return typical_box_size(self._placed(picks_of_rows(table, range(len(table))), 0))

    def convert(self, table: pd.DataFrame, row: MicrographRow) -> List[ImportedPick]:
        """Return the rows of one micrograph in its pixels, rounded to whole pixels.

        Raises
        ------
        CryoIceError
            If they must be flipped and no micrograph can be read.
        """
        picks = picks_of_rows(table, range(len(table)))
        for flag in scale_flags(picks, Frame((0, 0), self._pixel_size), self._config):
            self._flags[flag].add(row.id)
        placed = self._placed(picks, self._height(row.path) if self._config.flip_y and picks else 0)
        scores = [None if np.isnan(score) else float(score) for score in scores_of(table)]
        classes, angles = _numbers(table, _CLASS), _numbers(table, _PSI)
        return [
            ImportedPick(int(round(pick.x)), int(round(pick.y)), score, int(number), angle)
            for pick, score, number, angle in zip(placed, scores, classes, angles)
        ]

    def notes(self) -> List[str]:
        """Return lines for the summary about pixel sizes and scores."""
        lines = []
        for flag, micrographs in sorted(self._flags.items()):
            name, _, size = flag.partition("=")
            on = f"Coordinates on {len(micrographs)} micrographs"
            if name == COORDINATES_SCALED:
                lines.append(f"{on} were scaled from {size} to {self._pixel_size:g} Å/px")
            else:
                given = self._config.coordinates_pixel_size
                lines.append(f"{on} have {size} Å/px in their file; the {given:g} Å/px of the form were used")
        if self._min_score is not None and self._has_picks and not self._has_score:
            lines.append("The coordinate files contain no scores, so the minimum score had no effect")
        return lines

    def _placed(self, picks: Sequence[Pick], height: int) -> List[Pick]:
        return in_micrograph_pixels(picks, Frame((height, 0), self._pixel_size), self._config)

    def _height(self, path: str) -> int:
        """Return the rows of a micrograph; of one that cannot be read, those of another."""
        if path not in self._heights:
            try:
                self._heights[path] = read_micrograph(path).pixels.shape[0]
            except CryoIceError:
                if not self._heights:
                    raise
                return next(iter(self._heights.values()))
        return self._heights[path]


def _numbers(table: pd.DataFrame, column: str) -> List[float]:
    """Return a column of RELION; its mark for unknown values where there is none."""
    if column not in table:
        return [UNKNOWN] * len(table)
    values: List[float] = pd.to_numeric(table[column], errors="coerce").fillna(UNKNOWN).tolist()
    return values


def mark_score(item: Any, pick: ImportedPick) -> None:
    """Set the attributes of a coordinate that hold the picker's score.

    ``_pickScore`` is NULL if it is not known. scipion-em-relion exports the other three, and needs all of them.
    """
    item._pickScore = Float(pick.score)
    item._rlnClassNumber = Integer(pick.relion_class)
    item._rlnAutopickFigureOfMerit = Float(UNKNOWN if pick.score is None else pick.score)
    item._rlnAnglePsi = Float(pick.psi)


def item_of(key: Optional[int], pick: ImportedPick, micrograph: MicrographRow) -> Coordinate:
    """Return a coordinate for a set; ``key`` is its id, None for the next one."""
    item = Coordinate(x=pick.x, y=pick.y)
    item.setObjId(key)
    item.setMicId(micrograph.id)
    item.setMicName(micrograph.name)
    mark_score(item, pick)
    return item


def example() -> Coordinate:
    """Return a coordinate with all attributes, for the columns of a set."""
    item = Coordinate(x=0, y=0)
    mark_score(item, ImportedPick(0, 0))
    return item
