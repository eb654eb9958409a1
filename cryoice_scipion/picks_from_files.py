# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert coordinates of files to items of a Scipion set: micrograph, position, score, and what RELION exports."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set

import numpy as np
import pandas as pd
from pwem.objects import Coordinate, SetOfCoordinates, SetOfMicrographs
from pyworkflow.object import Float, Integer

from cryoice_scipion.constants import COORDINATES_SCALED
from cryoice_scipion.convert import MicrographRow, read_micrographs
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CryoIceError, counted
from cryoice_scipion.core.formats.coordinates import PickTable, picks_of_rows
from cryoice_scipion.core.formats.matching import Matches, match_picks
from cryoice_scipion.core.formats.score_cutoff import UNKNOWN, drop_below, scores_of
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.images.naming import stem_of
from cryoice_scipion.core.images.reading import read_micrograph
from cryoice_scipion.core.maps.placement import in_micrograph_pixels, scale_flags
from cryoice_scipion.core.maps.scoring import BOX_TO_DIAMETER
from cryoice_scipion.core.records import MicrographTask, Pick
from cryoice_scipion.set_writing import give_columns

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
            on = f"Coordinates on {counted(len(micrographs), 'micrograph')}"
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
                self._heights[path] = read_micrograph(path).shape[0]
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


def typical_box_size(picks: Iterable[Pick]) -> int:
    """Return the median box size of coordinates in px, rounded to an even number; 0 if unknown.

    If only the particle diameter is known, the box size is 1.5 times the diameter.
    """
    sizes = [pick.box_size or (pick.diameter or 0) / BOX_TO_DIAMETER for pick in picks]
    sizes = [size for size in sizes if size]
    return 2 * int(round(float(np.median(sizes)) / 2)) if sizes else 0


def box_size_of(table: pd.DataFrame) -> int:
    """Return the typical box size of a table in px of its own; 0 if unknown."""
    return typical_box_size(picks_of_rows(table, range(len(table))))


def match_by_name(picks: PickTable, rows: Sequence[MicrographRow]) -> Matches:
    """Match the coordinates of files with micrographs."""
    tasks = [MicrographTask(row.id, name, row.stem) for row in rows for name in names_of(row)]
    return match_picks(picks, tasks)


def names_of(row: MicrographRow) -> List[str]:
    """Return the paths by which coordinate files may name a micrograph.

    The import of micrographs makes links. It drops blanks from their names, and puts the folder in front of a name
    that it has already used. The file that was imported comes first, then the link if its name is another one.
    """
    if not os.path.islink(row.path):
        return [row.path]
    original = os.path.join(os.path.dirname(row.path), os.readlink(row.path))
    return [original] if stem_of(original) == stem_of(row.path) else [original, row.path]


def fill_coordinates(output: SetOfCoordinates, picks: PickTable, micrographs: SetOfMicrographs) -> Matches:
    """Append picks to a set, rounded to whole pixels; return how picks and micrographs were matched.

    Parameters
    ----------
    picks : PickTable
        Result of ``read_picks``: centres in px, and micrograph names.
    """
    rows = read_micrographs(micrographs)
    matches = match_by_name(picks, rows)
    table = picks.table
    x, y = table["rlnCoordinateX"].to_numpy(), table["rlnCoordinateY"].to_numpy()
    for row in rows:
        for index in matches.rows.get(row.id, []):
            item = Coordinate(x=int(round(float(x[index]))), y=int(round(float(y[index]))))
            item.setMicId(row.id)
            item.setMicName(row.name)
            output.append(item)
    give_columns(output, Coordinate(x=0, y=0))
    return matches
