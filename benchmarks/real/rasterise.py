# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand-drawn annotations of real micrographs: reading, testing points, and drawing on the coarse grid of the maps.

Polygons are in px of the micrograph in MRC order (x = column, y = row, row 0 is the first row of the array). Areas
may overlap; the first one in the file that is sure enough wins, so border and support come before clutter.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple, Union

import numpy as np
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from cryoice_scipion.constants import CLASSES, GOOD

LEAST_SURE = 0.5  # areas below are neither good nor bad: leave them out of training and of the figures
SUBSAMPLES = 4  # points a cell and axis; the class with the largest share of the cell is the cell's
NOWHERE = 255


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

    def distance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance (n,) in px of the points (n, 2) to the outline."""
        starts = self.polygon
        sides = np.roll(starts, -1, axis=0) - starts
        offsets = points[:, None, :] - starts[None]
        lengths = np.maximum((sides**2).sum(axis=1), 1e-12)
        along = np.clip((offsets * sides).sum(axis=2) / lengths, 0.0, 1.0)
        return np.asarray(np.hypot(*np.moveaxis(offsets - along[..., None] * sides, 2, 0)).min(axis=1))


@dataclass
class Annotation:
    """The areas of one micrograph; ``shape`` is (rows, columns) in px, ``pixel_size`` in Å/px."""

    micrograph: str
    pixel_size: float
    shape: Tuple[int, int]
    areas: List[Area]


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


def label_image(annotation: Annotation, sampling_px: float, least_sure: float = LEAST_SURE) -> NDArray[np.uint8]:
    """Class codes on a coarse grid.

    Parameters
    ----------
    annotation : Annotation
        What was drawn.
    sampling_px : float
        Side of a cell in px of the micrograph; cell i covers [i * s, (i + 1) * s), shapes are rounded up.
    least_sure : float
        Areas less sure than this are not drawn (see `doubtful_image`).

    Returns
    -------
    numpy.ndarray
        uint8 (rows, columns): indices into `constants.CLASSES`, 0 (good) where nothing was drawn.
    """
    return _draw(annotation, sampling_px, [area for area in annotation.areas if area.sure >= least_sure])


def doubtful_image(annotation: Annotation, sampling_px: float, least_sure: float = LEAST_SURE) -> NDArray[np.bool_]:
    """Cells (bool, the grid of `label_image`) that only an area below ``least_sure`` covers: do not count them."""
    unsure = [area for area in annotation.areas if area.sure < least_sure]
    good = CLASSES.index(GOOD)
    drawn = label_image(annotation, sampling_px, least_sure)
    return np.asarray((_draw(annotation, sampling_px, unsure) != good) & (drawn == good))


def _draw(annotation: Annotation, sampling_px: float, areas: List[Area]) -> NDArray[np.uint8]:
    if not sampling_px > 0:
        raise ValueError(f"sampling_px must be above 0, not {sampling_px}")
    rows, columns = (int(math.ceil(length / sampling_px)) for length in annotation.shape)
    step = sampling_px / SUBSAMPLES
    y = (np.arange(rows * SUBSAMPLES) + 0.5) * step
    x = (np.arange(columns * SUBSAMPLES) + 0.5) * step
    fine = np.full((y.size, x.size), CLASSES.index(GOOD), dtype=np.uint8)
    for area in reversed(areas):  # the first in the file is drawn last: it wins
        box = _bounding_box(area, y, x)
        if box is None:
            continue
        grid = np.stack(np.meshgrid(x[box[1]], y[box[0]]), axis=-1)
        inside = area.inside(grid.reshape(-1, 2)).reshape(grid.shape[:2])
        fine[box][inside] = CLASSES.index(area.name)
    fine[y >= annotation.shape[0]] = NOWHERE
    fine[:, x >= annotation.shape[1]] = NOWHERE
    cells = fine.reshape(rows, SUBSAMPLES, columns, SUBSAMPLES)
    shares = np.stack([(cells == code).sum(axis=(1, 3)) for code in range(len(CLASSES))])
    return np.asarray(shares.argmax(axis=0), dtype=np.uint8)


def _bounding_box(area: Area, y: NDArray[np.float64], x: NDArray[np.float64]) -> Optional[Tuple[slice, slice]]:
    low, high = area.polygon.min(axis=0), area.polygon.max(axis=0)
    box = tuple(slice(*np.searchsorted(axis, (low[k], high[k])).tolist()) for axis, k in ((y, 1), (x, 0)))
    if any(part.start >= part.stop for part in box):
        return None
    return box[0], box[1]
