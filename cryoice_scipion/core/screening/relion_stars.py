# SPDX-License-Identifier: GPL-3.0-or-later
"""Write kept coordinates as RELION's jobs write them: one STAR file per micrograph, and a list of these files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.formats import eman_box
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, SCORE, X, Y, picks_of_rows, write_star
from cryoice_scipion.core.formats.score_cutoff import UNKNOWN
from cryoice_scipion.core.formats.star import VERSION_COMMENT, write_blocks
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.images.stems import plain_path
from cryoice_scipion.core.maps.placement import in_micrograph_pixels
from cryoice_scipion.core.maps.scoring import BOX_TO_DIAMETER, particle_diameter
from cryoice_scipion.core.records import MicrographRecord, Pick
from cryoice_scipion.core.results.run_folder import AUTOPICK, PER_MICROGRAPH, writing

_ENDING = "_cryoice.star"
#: Columns of RELION's pickers beside position and score. Extract refuses filaments without their priors.
_OF_PICKERS = (
    "rlnClassNumber", "rlnAnglePsi", "rlnHelicalTubeID", "rlnAngleTiltPrior", "rlnAnglePsiPrior",
    "rlnHelicalTrackLengthAngst", "rlnHelicalTrackLength", "rlnAnglePsiFlipRatio", "rlnAngleRotPrior",
    "rlnAngleRotFlipRatio",
)  # fmt: skip


class ListedMicrograph(NamedTuple):
    """A micrograph whose coordinates are written."""

    path: str
    stem: str
    frame: Frame
    flags: Sequence[str]


class RelionStars:
    """Write ``per_micrograph/STEM_cryoice.star`` of changed micrographs, and ``autopick.star`` that lists the files.

    Positions are in px of the micrographs, also if the input had another pixel size.
    """

    STORED = {"_micrographs": Dict[int, ListedMicrograph]}  # attributes for a checkpoint

    def __init__(self, folder: Path, config: ScreenConfig) -> None:
        """Take the folder of the run and its settings."""
        self._folder, self._config = folder, config
        self._micrographs: Dict[int, ListedMicrograph] = {}
        self._changed: Dict[int, None] = {}
        self._complete = True  # False: the files of unchanged micrographs may be missing

    def add(self, index: int, record: MicrographRecord) -> None:
        """Store a new record of a micrograph."""
        if record.shape is None or record.pixel_size is None:  # failed: it has no scored coordinates
            if index in self._micrographs:  # but it may have files of an earlier result
                self._changed[index] = None
            return
        frame = Frame(record.shape, record.pixel_size)
        self._micrographs[index] = ListedMicrograph(record.path, record.stem, frame, record.flags)
        self._changed[index] = None

    def look_for_files(self) -> None:
        """Let the next call of :meth:`write` also write the files that are missing: the run may have been copied."""
        self._complete = False

    def write(self, table: pd.DataFrame, kept: npt.NDArray[np.int64], micrographs: npt.NDArray[np.int64]) -> None:
        """Write the files of all micrographs that changed since the last call, and the list.

        Parameters
        ----------
        table : pandas.DataFrame
            All coordinates.
        kept : numpy.ndarray, shape (n,)
            The rows of the kept ones.
        micrographs : numpy.ndarray, shape (n,)
            The index of the micrograph of each kept one.
        """
        order = np.argsort(micrographs, kind="stable")
        numbers, starts = np.unique(micrographs[order], return_index=True)
        rows = dict(zip(numbers.tolist(), np.split(kept[order], starts[1:]))) if len(numbers) else {}
        with writing(self._folder):
            (self._folder / PER_MICROGRAPH).mkdir(parents=True, exist_ok=True)
            if not self._complete:
                self._changed.update(dict.fromkeys(self._without_file(rows)))
            for index in self._changed:
                self._write_one(self._micrographs[index], table, rows.get(index, kept[:0]))
            self._write_list([self._micrographs[index] for index in sorted(rows)])
        self._changed.clear()
        self._complete = True

    def _without_file(self, indices: Iterable[int]) -> List[int]:
        """Return those of the given micrographs whose STAR file, or .box file if wanted, is not in the folder."""
        there = {entry.name for entry in os.scandir(self._folder / PER_MICROGRAPH)}
        endings = (_ENDING, ".box") if self._config.box_files else (_ENDING,)
        return [
            index
            for index in indices
            if not all(self._file(self._micrographs[index], ending).name in there for ending in endings)
        ]

    def _write_one(self, micrograph: ListedMicrograph, table: pd.DataFrame, rows: npt.NDArray[np.int64]) -> None:
        if not len(rows):
            for file in (self._file(micrograph), self._file(micrograph, ".box")):
                if file.exists():
                    file.unlink()
            return
        own = table.iloc[rows]
        picks = in_micrograph_pixels(
            picks_of_rows(own, range(len(own))), micrograph.frame, self._config, micrograph.flags
        )
        columns = {X: [pick.x for pick in picks], Y: [pick.y for pick in picks]}
        scores = own[SCORE].tolist() if SCORE in own else None
        if scores is not None:
            columns[SCORE] = own[SCORE].fillna(UNKNOWN).tolist()
        columns.update({name: own[name].tolist() for name in self._of_pickers(own)})
        write_star(self._file(micrograph), pd.DataFrame(columns))
        if self._config.box_files:
            self._write_boxes(micrograph, picks, scores)

    def _of_pickers(self, own: pd.DataFrame) -> List[str]:
        """Return the columns of RELION's pickers that are known for all rows: RELION reads an unknown value as 0."""
        known = [name for name in _OF_PICKERS if name in own and own[name].notna().all()]
        # Angles in a flipped image are other ones.
        return [name for name in known if not (self._config.flip_y and name.startswith("rlnAngle"))]

    def _write_boxes(self, micrograph: ListedMicrograph, picks: Sequence[Pick], scores: Optional[List[float]]) -> None:
        """Write an EMAN .box file beside the .star file; the box is 1.5 times the diameter where no box is known."""
        size = micrograph.frame.pixel_size
        known = [pick.box_size or self._config.box_size for pick in picks]
        sides = [
            side or particle_diameter(pick, self._config, size, micrograph.path).angstrom / size / BOX_TO_DIAMETER
            for pick, side in zip(picks, known)
        ]
        values = scores if scores is not None and np.isfinite(scores).all() else [None] * len(picks)
        boxes = [(pick.x, pick.y, side, score) for pick, side, score in zip(picks, sides, values)]
        eman_box.write(self._file(micrograph, ".box"), boxes)

    def _file(self, micrograph: ListedMicrograph, ending: str = _ENDING) -> Path:
        return self._folder / PER_MICROGRAPH / f"{micrograph.stem}{ending}"

    def _write_list(self, micrographs: Iterable[ListedMicrograph]) -> None:
        pairs: List[List[str]] = [[one.path, plain_path(str(self._file(one)))] for one in micrographs]
        listed = pd.DataFrame(pairs, columns=[MICROGRAPH, "rlnMicrographCoordinates"], dtype=object)
        write_blocks(self._folder / AUTOPICK, [("coordinate_files", listed)], VERSION_COMMENT)
