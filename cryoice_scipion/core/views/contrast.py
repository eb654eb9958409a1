# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure whether particles are darker or brighter than the ice, independent of large objects on the micrograph.

An ice crystal, a film edge or the bright fringe along it has more contrast than all particles together. The edges of
large objects are therefore left out, the rest is measured in tiles, and the median over the tiles is taken.
"""

from __future__ import annotations

from typing import Any, List, Tuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

CELL = 32.0  # Å: contrast is measured at this resolution
_GROUND = 9  # cells: what is wider than about 300 Å is not a particle
_TILE = 16  # cells, about 500 Å
_FEWEST = 4  # tiles that are needed
_KEPT = 0.5  # share of a tile's cells that must be left
_STEEP = 4.0  # deviations of the gradient, above which a cell may belong to an edge
_LONGEST = 25  # cells, 800 Å: longer edges are not those of particles
_AROUND = 6  # cells to each side of an edge that its fringes cover
_CLIP = 4.0  # deviations: limits the influence of hot pixels and very dark spots

Cells = NDArray[np.float64]
Mask = NDArray[np.bool_]


def tile_skewness(cells: Cells, kept: Mask) -> float:
    """Return the median over tiles of the clipped skewness; below 0: dark objects on a bright ground.

    Parameters
    ----------
    cells : numpy.ndarray, shape (rows, columns)
        The micrograph, averaged over cells of 32 Å.
    kept : numpy.ndarray, bool, same shape
        Cells without border.

    Returns
    -------
    float
        0 where fewer than four tiles are half free of borders and of the edges of large objects.
    """
    if int(kept.sum()) < _TILE:
        return 0.0
    kept = kept & ~_long_edges(cells, kept)
    flat = np.where(kept, _without_ground(cells, kept), np.nan)
    tiles = [flat[tile].ravel() for tile in _tiles(kept) if kept[tile].mean() >= _KEPT]
    return float(np.median(_clipped_skewness(tiles))) if len(tiles) >= _FEWEST else 0.0


def _tiles(kept: Mask) -> Any:
    """Yield the slices of tiles of nearly equal size that cover all cells."""
    rows, columns = (np.linspace(0, size, max(1, size // _TILE) + 1).astype(int) for size in kept.shape)
    for top, bottom in zip(rows[:-1], rows[1:]):
        for left, right in zip(columns[:-1], columns[1:]):
            yield slice(top, bottom), slice(left, right)


def _long_edges(cells: Cells, kept: Mask) -> Mask:
    """Return the cells on and near steep edges that are longer than 800 Å."""
    filled = np.where(kept, cells, np.median(cells[kept]))
    gradient = ndimage.gaussian_gradient_magnitude(filled, 1.0)
    middle, deviation = _robust(gradient[kept])
    steep = kept & (gradient > middle + _STEEP * deviation)
    labels, _ = ndimage.label(steep, np.ones((3, 3)))
    long = [number for number, box in enumerate(ndimage.find_objects(labels), start=1) if _extent(box) > _LONGEST]
    return np.asarray(ndimage.binary_dilation(np.isin(labels, long), iterations=_AROUND), dtype=bool)


def _extent(box: Tuple[slice, ...]) -> int:
    return max(int(side.stop) - int(side.start) for side in box)


def _without_ground(cells: Cells, kept: Mask) -> Cells:
    """Return the cells minus their background: the mean over the kept cells, smoothed twice by a box."""
    weight, total = kept.astype(np.float64), np.where(kept, cells, 0.0)
    for _ in range(2):
        weight, total = (ndimage.uniform_filter(part, _GROUND, mode="constant") for part in (weight, total))
    return np.asarray(cells - total / np.maximum(weight, 1e-9))


def _robust(values: Cells) -> Tuple[float, float]:
    """Return the median, and the standard deviation of a Gaussian with the same quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(middle), max(float(high - low) / 1.349, 1e-30)


def _clipped_skewness(tiles: List[Cells]) -> Cells:
    """Return the skewness of each tile, a vector in which cells that are left out are NaN."""
    values = np.full((len(tiles), max(map(len, tiles))), np.nan)
    for row, tile in zip(values, tiles):
        row[: len(tile)] = tile
    values.sort(axis=1)  # NaN last
    number = np.count_nonzero(~np.isnan(values), axis=1)[:, None]
    low, middle, high = (_at_rank(values, share * (number - 1)) for share in (0.25, 0.5, 0.75))
    clipped = np.clip((values - middle) / np.maximum((high - low) / 1.349, 1e-30), -_CLIP, _CLIP)
    centred = np.nan_to_num(clipped - np.nansum(clipped, axis=1, keepdims=True) / number)
    squares = centred**2
    second, third = (part.sum(axis=1) / number[:, 0] for part in (squares, squares * centred))
    return np.asarray(third / np.maximum(second, 1e-30) ** 1.5)


def _at_rank(ordered: Cells, rank: Cells) -> Cells:
    """Return a value of each row of ordered values, linearly interpolated; ranks have the shape (rows, 1)."""
    below = rank.astype(np.int64)
    low, high = (np.take_along_axis(ordered, index, axis=1) for index in (below, np.ceil(rank).astype(np.int64)))
    return np.asarray(low + (high - low) * (rank - below))
