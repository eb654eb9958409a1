# SPDX-License-Identifier: GPL-3.0-or-later
"""Score coordinates on a map: decide which of them lie on or next to bad area. No torch, no files.

The goodness of a coordinate is 1 - P, where P is the largest P(BAD) among

- the map cell that contains the centre of the particle, and
- every map cell whose centre lies within the particle's radius plus the margin. A bad region of a single cell does not
  count here: it rejects only particles that are centred in it.

A coordinate is kept when its goodness is at least the threshold. A larger diameter, margin or threshold therefore never
keeps a coordinate that a smaller one rejects. Area outside the frame does not count.
"""

from __future__ import annotations

import dataclasses
from typing import Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoice_scipion.constants import GOOD, KEEP_ALL, OUTSIDE
from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.images.grid import Frame, cells_at
from cryoice_scipion.core.maps.bad_area import Cells, without_small_regions
from cryoice_scipion.core.records import Pick, PickScore

SMALLEST_REGION = 2  # cells: a smaller bad region rejects only the particles centred in it
BOX_TO_DIAMETER = 2.0 / 3.0  # boxes are usually 1.5 times as large as the particle
GIVEN, FROM_FILE, FROM_BOX = "setting", "coordinates", "two thirds of the box size"
UNKNOWN_DIAMETER = (  # reason and remedy
    "the particle diameter is not known",
    "give it in Å with --particle-diameter, or the box size in px with --box-size",
)
_AT_ONCE = 2_000_000  # pairs of a coordinate and a cell that are computed together: limits the memory

Numbers = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Diameter:
    """The diameter of a particle and its origin."""

    angstrom: float
    origin: str  # GIVEN, FROM_FILE or FROM_BOX


def particle_diameter(pick: Pick, config: ScreenConfig, pixel_size: float, what: object) -> Diameter:
    """Return a particle's diameter: from the settings, else from the coordinate file, else two thirds of the box size.

    Parameters
    ----------
    pixel_size : float
        Å/px of the micrograph.
    what : object
        Named in the error, such as the path of the micrograph.

    Raises
    ------
    CoordinatesError
        When neither a diameter nor a box size is known.
    """
    if config.particle_diameter:
        return Diameter(config.particle_diameter, GIVEN)
    if pick.diameter and pick.diameter > 0:
        return Diameter(pick.diameter * pixel_size, FROM_FILE)
    box_size = pick.box_size if pick.box_size and pick.box_size > 0 else config.box_size
    if box_size:
        return Diameter(box_size * BOX_TO_DIAMETER * pixel_size, FROM_BOX)
    raise CoordinatesError(what, *UNKNOWN_DIAMETER)


def particle_diameters(
    picks: Sequence[Pick], config: ScreenConfig, pixel_size: float, what: object
) -> Tuple[Numbers, str]:
    """Return the diameter of each particle in Å, shape (n,), and the origins as text; see :func:`particle_diameter`.

    Raises
    ------
    CoordinatesError
        When neither a diameter nor a box size is known.
    """
    if config.particle_diameter and picks:  # all have the same
        same = particle_diameter(picks[0], config, pixel_size, what)
        return np.full(len(picks), same.angstrom), same.origin
    found = [particle_diameter(pick, config, pixel_size, what) for pick in picks]
    sizes = np.array([diameter.angstrom for diameter in found], dtype=np.float64)
    return sizes, ", ".join(sorted({diameter.origin for diameter in found}))


def pick_threshold(threshold: Optional[float], model: ModelConfig) -> float:
    """Return the threshold for coordinates: the given one (-1 keeps all), or the model's for None."""
    return model.threshold_for_picks if threshold is None else threshold


def is_kept(goodness: Numbers, threshold: float) -> NDArray[np.bool_]:
    """Return which coordinates a threshold keeps. Unscored coordinates (NaN) are kept only with threshold -1.

    The threshold is rounded to the precision of the map, so that coordinates and mask agree in every cell.
    """
    if threshold == KEEP_ALL:
        return np.ones(goodness.shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        kept: NDArray[np.bool_] = goodness >= smallest_kept(threshold)
    return kept


def smallest_kept(threshold: float) -> float:
    """Return the threshold rounded to float32, the precision of map and goodness."""
    return float(np.float32(threshold))


def goodness_of(
    cells: Cells, x: Numbers, y: Numbers, radius: Numbers, config: ScreenConfig, frame: Frame
) -> Tuple[Numbers, NDArray[np.intp]]:
    """Return the goodness of coordinates, and the bad class that determines it.

    Parameters
    ----------
    x, y : numpy.ndarray, shape (n,)
        Centres in px of the micrograph.
    radius : numpy.ndarray, shape (n,)
        Particle radius in Å, without margin.
    config : ScreenConfig
        Has the margin of each class.
    frame : Frame
        Shape and pixel size of the micrograph.

    Returns
    -------
    goodness : numpy.ndarray, shape (n,)
        NaN where the centre is outside the frame.
    classes : numpy.ndarray, shape (n,)
        Index into ``cells.bad_classes`` of the cell with the largest P(BAD).
    """
    with np.errstate(invalid="ignore"):
        within = (x >= 0) & (x < frame.shape[1]) & (y >= 0) & (y < frame.shape[0])
    goodness, classes = np.full(len(x), np.nan), np.zeros(len(x), dtype=np.intp)
    regions = without_small_regions(cells, SMALLEST_REGION).probability
    likeliest = cells.by_class.argmax(axis=0)
    margins = np.array([config.margin_of(name) for name in cells.bad_classes])[likeliest]
    at_x, at_y = x[within] * frame.pixel_size, y[within] * frame.pixel_size
    worst, deciding = np.zeros(len(at_x), np.float32), np.zeros(len(at_x), dtype=np.intp)
    reaches = radius[within]
    for part, row, column, there in _windows(cells, at_x, at_y, reaches, float(margins.max())):
        across = (column + 0.5) * cells.sampling - at_x[part, None]
        down = (row + 0.5) * cells.sampling - at_y[part, None]
        near = there & (np.hypot(across, down) <= reaches[part, None] + margins[row, column])
        values = np.where(near, regions[row, column], np.float32(0))
        first = values.argmax(axis=1)
        each = np.arange(len(first))
        worst[part] = values[each, first]
        rows, columns = (np.broadcast_to(index, values.shape)[each, first] for index in (row, column))
        deciding[part] = likeliest[rows, columns]
    row, column = _cell_of(cells, at_x, at_y)
    centre = cells.probability[row, column]
    deciding = np.where(centre >= worst, likeliest[row, column], deciding)
    goodness[within] = np.float32(1) - np.maximum(centre, worst)
    classes[within] = deciding
    return goodness, classes


def _cell_of(cells: Cells, x: Numbers, y: Numbers) -> Tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return row and column of the cells that contain points (Å)."""
    rows, columns = cells.probability.shape
    return cells_at(y, cells.sampling, rows), cells_at(x, cells.sampling, columns)


def _windows(
    cells: Cells, x: Numbers, y: Numbers, radius: Numbers, margin: float
) -> Iterator[Tuple[slice, NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]]:
    """Yield slices of the coordinates with the cells that may be near them: row, column, and whether the cell exists.

    The arrays have the shape (coordinates, cells).
    """
    if not len(x):
        return
    rows, columns = cells.probability.shape
    largest = float(radius.max()) + margin
    half = int(min(np.ceil(largest / cells.sampling) if np.isfinite(largest) else np.inf, max(rows, columns)))
    down, across = (index.ravel() for index in np.mgrid[-half : half + 1, -half : half + 1])
    everywhere = len(down) >= rows * columns
    number = max(1, _AT_ONCE // min(len(down), rows * columns))
    for start in range(0, len(x), number):
        part = slice(start, start + number)
        if everywhere:
            row, column = (index.reshape(1, -1) for index in np.indices((rows, columns)))
            yield part, row, column, np.ones((1, rows * columns), dtype=bool)
            continue
        centre_row, centre_column = _cell_of(cells, x[part], y[part])
        row, column = centre_row[:, None] + down, centre_column[:, None] + across
        there = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        yield part, np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1), there


def goodness_of_picks(cells: Cells, picks: Sequence[Pick], config: ScreenConfig, frame: Frame, what: object) -> Numbers:
    """Return the goodness of coordinates, with the diameter of each from :func:`particle_diameter`.

    Raises
    ------
    CoordinatesError
        When a particle diameter is not known.
    """
    x, y = positions_of(picks).T
    return goodness_of(cells, x, y, particle_diameters(picks, config, frame.pixel_size, what)[0] / 2, config, frame)[0]


def positions_of(picks: Sequence[Pick]) -> Numbers:
    """Return x and y of coordinates in px, shape (n, 2)."""
    return np.array([(pick.x, pick.y) for pick in picks], dtype=np.float64).reshape(-1, 2)


def score_picks(
    cells: Cells,
    picks: Sequence[Pick],
    diameters: ArrayLike,
    frame: Frame,
    config: ScreenConfig,
    model: ModelConfig,
    discarded: bool = False,
) -> List[PickScore]:
    """Return goodness, class and verdict of each coordinate.

    Parameters
    ----------
    diameters : array_like, shape (n,)
        Diameter of each particle, Å.
    discarded : bool
        Whether the micrograph is discarded. If so, no coordinate is kept; the goodness is unaffected.

    Notes
    -----
    The class is "good" when the goodness is at least the threshold in use (with threshold -1, the model's). Otherwise
    it is the class of the bad area that determines the goodness. A coordinate on carbon thus has the class "support"
    even when all coordinates are kept.
    """
    if not picks:
        return []
    x, y = positions_of(picks).T
    goodness, classes = goodness_of(cells, x, y, np.asarray(diameters, dtype=np.float64) / 2, config, frame)
    threshold = pick_threshold(config.threshold, model)
    kept = is_kept(goodness, threshold) & (not discarded)
    good = is_kept(goodness, model.threshold_for_picks if threshold == KEEP_ALL else threshold)
    outside = np.isnan(goodness)
    names = np.array([*cells.bad_classes, GOOD, OUTSIDE], dtype=object)
    chosen = np.where(outside, len(names) - 1, np.where(good, len(names) - 2, classes))
    values = goodness.astype(object)
    values[outside] = None
    columns = (values.tolist(), names[chosen].tolist(), kept.tolist())
    return list(map(PickScore, (pick.id for pick in picks), *columns))
