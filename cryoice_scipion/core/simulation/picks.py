# SPDX-License-Identifier: GPL-3.0-or-later
"""The picks of a simulated micrograph: true ones, and those that a picker would take wrongly."""

from __future__ import annotations

import dataclasses
from typing import Tuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from cryoice_scipion.constants import BORDER
from cryoice_scipion.core.simulation.canvas import code
from cryoice_scipion.core.simulation.optics import Array

#: A picker sees objects of the particle's size: difference of Gaussians of these widths, in radii.
INNER, OUTER = 0.5, 1.0
#: Typical pickers leave at least this between two picks, in radii.
APART = 1.4
#: Å/px, about, at which false picks are looked for.
PICKING_SAMPLING = 8.0


@dataclasses.dataclass
class PickSettings:
    """Settings of the simulated picker."""

    radius: float  # of the particles, px
    factor: int  # px averaged before looking for dark blobs
    coverage: float  # share of the area under particles
    border: bool  # whether it picks on the border


def isolated(centres: Array, radius: float) -> Array:
    """Return which centres (n, 2) have no neighbour within 1.5 radii."""
    if len(centres) < 2:
        return np.ones(len(centres), bool)
    nearest = cKDTree(centres).query(centres, k=2)[0][:, 1]
    return np.asarray(nearest > 1.5 * radius)


def clear_of(bad: Array, centres: Array, reach: float) -> Array:
    """Return which centres (row, column; px) have no pixel of ``bad`` within ``reach`` px."""
    result = np.ones(len(centres), bool)
    half = int(np.ceil(reach))
    offset = np.arange(-half, half + 1)
    disc = np.hypot(offset[:, None], offset) <= reach + 0.5
    padded = np.pad(bad, half)
    for index, (y, x) in enumerate(np.round(centres).astype(int)):
        result[index] = not (padded[y : y + 2 * half + 1, x : x + 2 * half + 1] & disc).any()
    return result


def false_picks(image: Array, bad: Array, radius: float, rng: np.random.Generator, most: int) -> Array:
    """Return where a picker that looks for dark blobs would pick on bad areas.

    Parameters
    ----------
    image : ndarray, float32, (rows, columns)
        The micrograph on a coarse grid, particles dark.
    bad : ndarray, bool, same shape
        Where picks are wrong.
    radius : float
        Of the particles, px of this grid.
    most : int
        The best of the peaks, with some chance in their order, up to this many.

    Returns
    -------
    ndarray, (n, 2)
        Row and column in px of this grid, from its corner.
    """
    if not bad.any() or most < 1:
        return np.zeros((0, 2))
    # Outliers (hot pixels, opaque dirt) must not decide what a peak is.
    low, high = np.quantile(image, [0.002, 0.998])
    clipped = np.clip(image, low, high)
    blobs = ndimage.gaussian_filter(clipped, OUTER * radius) - ndimage.gaussian_filter(clipped, INNER * radius)
    size = 2 * int(max(1, round(APART * radius / 2))) + 1
    peaks = (ndimage.maximum_filter(blobs, size) == blobs) & bad & (blobs > 0)
    y, x = np.nonzero(peaks)
    score = blobs[y, x] * rng.uniform(0.5, 1.0, len(y)).astype(np.float32)
    order = np.argsort(-score, kind="stable")
    points = np.stack([y, x], axis=1)[order] + 0.5
    return _thin(points, APART * radius)[:most]


def _thin(points: Array, apart: float) -> Array:
    """Return the points without those too near to an earlier one."""
    if len(points) < 2:
        return points
    keep = np.ones(len(points), bool)
    pairs = cKDTree(points).query_pairs(apart, output_type="ndarray")
    for first, second in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
        if keep[first]:
            keep[second] = False
    return np.asarray(points[keep])


def pick(
    image: Array, labels: Array, centres: Array, settings: PickSettings, rng: np.random.Generator
) -> Tuple[Array, Array]:
    """Return true and false picks, (n, 2) each, x and y in px.

    Parameters
    ----------
    image, labels : ndarray, (rows, columns)
        The micrograph, particles dark, and the class codes.
    centres : ndarray, (n, 2)
        x and y of all particles that were drawn, px; also outside of the frame.
    """
    factor, radius = settings.factor, settings.radius
    view = coarse_view(image, factor)
    classes = labels[factor // 2 :: factor, factor // 2 :: factor][: view.shape[0], : view.shape[1]]
    alone = centres[isolated(centres, radius)][:, ::-1]
    alone = alone[((alone > radius) & (alone < np.array(labels.shape) - 1 - radius)).all(axis=1)]
    true = alone[clear_of(labels != 0, alone, radius)]
    bad = (classes != 0) if settings.border else (classes != 0) & (classes != code(BORDER))
    # On bad areas pickers find about as much as on good ones, and more where there is little to find.
    number = 1.2 * float(bad.sum()) * factor**2 * max(settings.coverage, 0.25) / (np.pi * radius**2)
    most = int(np.ceil(number * rng.uniform(0.5, 1.5)))
    false = false_picks(view, bad, radius / factor, rng, most) * factor - 0.5
    return np.ascontiguousarray(true[:, ::-1]), np.ascontiguousarray(false[:, ::-1])


def coarse_view(image: Array, factor: int) -> Array:
    """Return the image averaged over blocks of ``factor`` px (what is left over at the end is dropped)."""
    rows, columns = (size // factor for size in image.shape)
    blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)
