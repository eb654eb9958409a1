# SPDX-License-Identifier: GPL-3.0-or-later
"""The picks of a simulated micrograph: true ones, and those that a picker would take wrongly."""

from __future__ import annotations

from typing import Tuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

#: A picker sees objects of the particle's size: difference of Gaussians of these widths, in radii.
INNER, OUTER = 0.5, 1.0
#: Typical pickers leave at least this between two picks, in radii.
APART = 1.4


def isolated(centres: np.ndarray, radius: float) -> np.ndarray:
    """Return which centres (n, 2) have no neighbour within 1.5 radii."""
    if len(centres) < 2:
        return np.ones(len(centres), bool)
    nearest = cKDTree(centres).query(centres, k=2)[0][:, 1]
    return np.asarray(nearest > 1.5 * radius)


def clear_of(bad: np.ndarray, step: float, centres: np.ndarray, reach: float) -> np.ndarray:
    """Return which centres (y, x in Å) are further than ``reach`` Å from all bad cells and from the edges."""
    distance = ndimage.distance_transform_edt(np.pad(~bad, 1)) * step
    cells = np.clip(np.floor(centres / step).astype(int), 0, np.array(bad.shape) - 1) + 1
    return np.asarray(distance[cells[:, 0], cells[:, 1]] > reach)


def false_picks(
    image: np.ndarray, bad: np.ndarray, step: float, radius: float, rng: np.random.Generator, most: int
) -> np.ndarray:
    """Return where a picker that looks for dark blobs would pick on bad areas.

    Parameters
    ----------
    image : ndarray, float32, (rows, columns)
        The micrograph on a coarse grid, particles dark.
    bad : ndarray, bool, same shape
        Where picks are wrong.
    step : float
        Å/px of the grid.
    radius : float
        Of the particles, Å.
    most : int
        The best of the peaks, with some chance in their order, up to this many.

    Returns
    -------
    ndarray, (n, 2)
        y and x in Å.
    """
    if not bad.any() or most < 1:
        return np.zeros((0, 2))
    # Outliers (hot pixels, opaque dirt) must not decide what a peak is.
    low, high = np.quantile(image, [0.002, 0.998])
    clipped = np.clip(image, low, high)
    width = radius / step
    blobs = ndimage.gaussian_filter(clipped, OUTER * width) - ndimage.gaussian_filter(clipped, INNER * width)
    size = 2 * int(max(1, round(APART * width / 2))) + 1
    peaks = (ndimage.maximum_filter(blobs, size) == blobs) & bad & (blobs > 0)
    y, x = np.nonzero(peaks)
    score = blobs[y, x] * rng.uniform(0.5, 1.0, len(y)).astype(np.float32)
    order = np.argsort(-score, kind="stable")
    points = (np.stack([y, x], axis=1)[order] + 0.5) * step
    return _thin(points, APART * radius)[:most]


def _thin(points: np.ndarray, apart: float) -> np.ndarray:
    """Return the points without those too near to an earlier one."""
    if len(points) < 2:
        return points
    keep = np.ones(len(points), bool)
    pairs = cKDTree(points).query_pairs(apart, output_type="ndarray")
    for first, second in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
        if keep[first]:
            keep[second] = False
    return np.asarray(points[keep])


def coarse_view(image: np.ndarray, factor: int) -> Tuple[np.ndarray, int]:
    """Return the image averaged over blocks of ``factor`` px (what is left over at the end is dropped)."""
    rows, columns = (size // factor for size in image.shape)
    blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32), factor
