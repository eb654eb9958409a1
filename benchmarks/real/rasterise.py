# SPDX-License-Identifier: GPL-3.0-or-later
"""Annotations of real micrographs by several annotators: reading them, and what they agree on, on a grid.

annotations/ANNOTATOR/STEM.json: polygons in px of the micrograph in MRC order (x = column, y = row, row 0 is the first
row of the array), each with how sure its annotator was. They drew without seeing each other's. Areas of one file may
overlap; the first that is sure enough wins, so border and support come before clutter.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple, Union

import numpy as np
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from cryoice_scipion.constants import BORDER, CLASSES, GOOD

ANNOTATIONS = Path(__file__).resolve().parent / "annotations"
BAD_FROM = 0.5  # mean over annotators of how sure they are: from here on a place is bad
GOOD_BELOW = 0.25  # below it is good; between it is left out of training and of the figures
UNSURE = 127
SUBSAMPLES = 4  # points a cell and axis; the class with the largest share of the cell is the cell's
_NOWHERE = 255


@dataclass
class Area:
    """One polygon: its class, its vertices (n, 2) as x, y in px, and how sure the annotator was (0 to 1)."""

    name: str
    polygon: NDArray[np.float64]
    sure: float
    note: str = ""

    def inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the points (n, 2), x and y in px, lie inside."""
        return np.asarray(Outline(self.polygon, closed=False).contains_points(points), dtype=bool)


@dataclass
class Annotation:
    """What one annotator drew on one micrograph; ``shape`` is (rows, columns) in px, ``pixel_size`` in Å/px."""

    micrograph: str
    pixel_size: float
    shape: Tuple[int, int]
    areas: List[Area]


def annotated(folder: Path = ANNOTATIONS) -> List[str]:
    """Return the stems of the micrographs that were annotated."""
    return sorted({path.stem for path in folder.glob("*/*.json")})


def load_annotations(stem: str, folder: Path = ANNOTATIONS) -> List[Annotation]:
    """Read what each annotator drew on one micrograph."""
    return [load_annotation(path) for path in sorted(folder.glob(f"*/{stem}.json"))]


def load_annotation(path: Union[str, Path]) -> Annotation:
    """Read one JSON file; a class that the project does not know raises ValueError."""
    record = json.loads(Path(path).read_text())
    areas = []
    for entry in record["areas"]:
        if entry["class"] not in CLASSES:
            raise ValueError("{}: unknown class {!r}; known are {}".format(path, entry["class"], ", ".join(CLASSES)))
        polygon = np.asarray(entry["polygon"], dtype=float)
        if polygon.ndim != 2 or polygon.shape[0] < 3 or polygon.shape[1] != 2:
            raise ValueError(f"{path}: a polygon needs three or more x, y pairs")
        areas.append(Area(entry["class"], polygon, float(entry["sure"]), entry.get("note", "")))
    rows, columns = record["shape"]
    return Annotation(record["micrograph"], float(record["pixel_size"]), (int(rows), int(columns)), areas)


def label_image(annotations: Sequence[Annotation], sampling_px: float) -> NDArray[np.uint8]:
    """Return what the annotators of one micrograph agree on, on a coarse grid.

    A place is bad where they are sure of it in the mean, of the class that the surest of them gave it; border is what
    any of them called border.

    Parameters
    ----------
    annotations : sequence of Annotation
        Of the same micrograph.
    sampling_px : float
        Side of a cell in px of the micrograph; cell i covers [i * s, (i + 1) * s), shapes are rounded up.

    Returns
    -------
    numpy.ndarray
        uint8 (rows, columns): indices into `constants.CLASSES`, or ``UNSURE``.
    """
    shape = annotations[0].shape
    drawn = [draw(annotation, sampling_px) for annotation in annotations]
    codes, sure = (np.stack(parts) for parts in zip(*drawn))
    surest = np.take_along_axis(codes, sure.argmax(axis=0)[None], axis=0)[0]
    mean = sure.mean(axis=0)
    fine = np.where(mean >= BAD_FROM, surest, np.where(mean >= GOOD_BELOW, UNSURE, CLASSES.index(GOOD)))
    fine[(codes == CLASSES.index(BORDER)).any(axis=0)] = CLASSES.index(BORDER)
    y, x = _points(shape, sampling_px)
    fine[y >= shape[0]] = _NOWHERE
    fine[:, x >= shape[1]] = _NOWHERE
    cells = by_cell(fine)
    known = np.array([*range(len(CLASSES)), UNSURE], dtype=np.uint8)
    shares = np.stack([(cells == code).sum(axis=(1, 3)) for code in known])
    labels: NDArray[np.uint8] = known[shares.argmax(axis=0)]
    return labels


def draw(annotation: Annotation, sampling_px: float) -> Tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return one annotator's classes (indices into CLASSES) and how sure of them, at the points of all cells."""
    y, x = _points(annotation.shape, sampling_px)
    codes = np.full((y.size, x.size), CLASSES.index(GOOD), dtype=np.uint8)
    sure = np.zeros(codes.shape)
    # What is drawn last wins: the first in the file, but never what the annotator rather thinks is good.
    last_first = sorted(annotation.areas, key=lambda area: area.sure < BAD_FROM)
    for area in reversed(last_first):
        box = _bounding_box(area, y, x)
        if box is None:
            continue
        grid = np.stack(np.meshgrid(x[box[1]], y[box[0]]), axis=-1)
        inside = area.inside(grid.reshape(-1, 2)).reshape(grid.shape[:2])
        codes[box][inside] = CLASSES.index(area.name)
        sure[box][inside] = area.sure
    return codes, sure


def by_cell(values: NDArray[Any]) -> NDArray[Any]:
    """Return what is known of the points by cell: shape (rows, points, columns, points)."""
    return values.reshape(values.shape[0] // SUBSAMPLES, SUBSAMPLES, values.shape[1] // SUBSAMPLES, SUBSAMPLES)


def _points(shape: Tuple[int, int], sampling_px: float) -> List[NDArray[np.float64]]:
    """Return the rows and the columns, in px, of the points of the cells that cover a micrograph."""
    numbers = (math.ceil(length / sampling_px) * SUBSAMPLES for length in shape)
    return [(np.arange(number) + 0.5) * sampling_px / SUBSAMPLES for number in numbers]


def _bounding_box(area: Area, y: NDArray[np.float64], x: NDArray[np.float64]) -> Optional[Tuple[slice, slice]]:
    low, high = area.polygon.min(axis=0), area.polygon.max(axis=0)
    box = tuple(slice(*np.searchsorted(axis, (low[k], high[k])).tolist()) for axis, k in ((y, 1), (x, 0)))
    if any(part.start >= part.stop for part in box):
        return None
    return box[0], box[1]
