# SPDX-License-Identifier: GPL-3.0-or-later
"""True regions of the simulated micrographs of grade_sessions.py, on the grid of their stored maps."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import numpy as np
from grade_sessions import SESSIONS, Exposure, exposures, recipe
from numpy.typing import NDArray
from scipy import ndimage

from cryoice_scipion.constants import BORDER, CLASSES, GOOD
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.images.grid import Frame, containing_cells
from cryoice_scipion.core.simulation.canvas import sample_labels
from cryoice_scipion.core.simulation.scene import Geometry, Streams, draw_specimen

LEAST_CELLS = 2  # smaller true regions do not count
_STEP = 2  # px: every second pixel in both directions decides the region of a cell
_EIGHT = np.ones((3, 3), dtype=bool)


@dataclasses.dataclass
class Truth:
    """A micrograph's true regions and what the detector says of it."""

    exposure: Exposure
    frame: Frame
    classmap: ClassMap
    labels: NDArray[np.int32]  # (rows, columns) of the map: number of the region, 0: good
    classes: Dict[int, str]  # class of each region
    features: NDArray[np.float32]  # of the session; (rows, columns, features)
    features_sampling: float
    picture: NDArray[np.float32]  # at 16 Å/px

    @property
    def session(self) -> str:
        """Return the name of its session."""
        return self.exposure.name[:-3]


def truths(build: Path, numbers: Tuple[int, int] = (0, 99)) -> Iterator[Truth]:
    """Yield the tested micrographs of the sessions with these numbers, from the folder that grades.py has filled."""
    classes = load_config(resolve_model("default")).classes
    for group, count in SESSIONS.items():
        for session in range(numbers[0], min(count, numbers[1] + 1)):
            for exposure in exposures(group, session):
                if exposure.number >= 0:
                    yield _truth(exposure, build, classes)


def references(build: Path, group: str, session: int) -> Dict[int, NDArray[np.float32]]:
    """Return the session features of the reference micrographs of a session."""
    found = {}
    for exposure in exposures(group, session):
        if exposure.number < 0:
            with np.load(build / f"{exposure.name}.npz") as stored:
                found[exposure.number] = stored["values"]
    return found


def _truth(exposure: Exposure, build: Path, classes: List[str]) -> Truth:
    config, rng = recipe(exposure)
    geometry = Geometry.of(config)
    canvas = draw_specimen(config, geometry, Streams(rng), fringes=False)
    with np.load(build / f"{exposure.name}.npz") as stored:
        cell = float(stored["cell"])
        classmap = ClassMap(stored["logits"], stored["border"], classes, cell, 0.0)
        features, sampling, picture = stored["values"], float(stored["sampling"]), stored["picture"][0]
    codes, objects = (
        sample_labels(part, canvas.step, geometry.window, geometry.pixel_size)
        for part in (canvas.labels, canvas.objects)
    )
    frame = Frame(geometry.recorded, config.pixel_size)
    labels, named = true_regions(codes, objects, classmap.border, frame, cell)
    return Truth(exposure, frame, classmap, labels, named, features, sampling, picture)


def true_regions(
    codes: NDArray[np.uint8], objects: NDArray[np.int32], border: NDArray[np.bool_], frame: Frame, cell: float
) -> Tuple[NDArray[np.int32], Dict[int, str]]:
    """Return the true regions on the grid of a map, and their classes.

    A region is what is seen of an object; of a class without objects, a connected area. A cell belongs to the region
    with most of its pixels, if more than half of them are bad.
    """
    regions = np.zeros(codes.shape, dtype=np.int32)
    named: Dict[int, str] = {}
    for code in np.unique(codes):
        if CLASSES[code] in (GOOD, BORDER):
            continue
        where = codes == code
        found = np.where(where, objects, 0)
        if found.any():  # the rim that some kinds are labelled with belongs to the nearest object
            index = ndimage.distance_transform_edt(found == 0, return_distances=False, return_indices=True)
            found = np.where(where, found[tuple(index)], 0)
        else:
            found = ndimage.label(where, structure=_EIGHT)[0]
        for number in np.unique(found[found > 0]):
            named[len(named) + 1] = CLASSES[code]
            regions[found == number] = len(named)
    if not named:
        return np.zeros(border.shape, dtype=np.int32), named
    rows, columns = (
        containing_cells(number, frame.pixel_size, cell, cells)[::_STEP]
        for number, cells in zip(frame.shape, border.shape)
    )
    at = rows[:, None] * border.shape[1] + columns[None, :]
    counts = np.zeros((border.size, len(named) + 1), dtype=np.int32)
    np.add.at(counts, (at.ravel(), regions[::_STEP, ::_STEP].ravel()), 1)
    mostly_bad = 2 * counts[:, 0] < counts.sum(axis=1)
    grid = np.where(mostly_bad, 1 + counts[:, 1:].argmax(axis=1), 0).reshape(border.shape).astype(np.int32)
    grid[border] = 0
    sizes = np.bincount(grid.ravel(), minlength=len(named) + 1)
    return grid, {number: name for number, name in named.items() if sizes[number] >= LEAST_CELLS}
