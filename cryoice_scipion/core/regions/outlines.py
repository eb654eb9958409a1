# SPDX-License-Identifier: GPL-3.0-or-later
"""Trace the outlines of regions, with as few corners as a tolerance allows."""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.core.images.grid import Frame

_TOLERANCE = 0.5  # cells: how far an outline may deviate

Points = NDArray[np.float64]


def outlines_of(
    masks: Sequence[NDArray[np.bool_]], corners: Sequence[Tuple[int, int]], sampling: float, frame: Frame
) -> List[List[List[float]]]:
    """Return x and y in px of the corners of the outer outline of each region.

    Parameters
    ----------
    masks : sequence of numpy.ndarray, shape (rows, columns)
        The cells of each region, connected by edges or corners; at least one region.
    corners : sequence of (int, int)
        Row and column of the first cell of each mask on the map.
    sampling : float
        Å, side of a cell.
    frame : Frame
        Shape and pixel size of the micrograph.
    """
    from skimage import measure  # loads slowly

    find: Any = measure.find_contours  # untyped
    contours = [find(np.pad(mask, 1).astype(np.float32), 0.5, fully_connected="high") for mask in masks]
    chains = _simplified([max(found, key=len) for found in contours])
    scale, limits = sampling / frame.pixel_size, np.array(frame.shape, dtype=np.float64)
    outlines = []
    for chain, corner in zip(chains, corners):
        in_px = np.clip((chain[:-1] - 0.5 + np.array(corner)) * scale, 0, limits)  # a cell's middle is at half a cell
        outlines.append([[round(x, 1), round(y, 1)] for y, x in in_px.tolist()])
    return outlines


def _simplified(chains: Sequence[Points]) -> List[Points]:
    """Return polygonal chains with fewer points, from which the others are at most ``_TOLERANCE`` away.

    This is the algorithm of Douglas and Peucker (1973, doi 10.3138/FM57-6770-U75U-7727): a chain is divided at the
    point that is farthest from the line between its ends, and so on. All parts of all chains are divided at once.
    """
    points = np.concatenate(chains)
    lengths = np.array([len(chain) for chain in chains])
    stops = np.cumsum(lengths)
    starts, ends = stops - lengths, stops - 1
    kept = np.zeros(len(points), dtype=bool)
    kept[starts] = kept[ends] = True
    while True:
        inner = ends - starts > 1
        starts, ends = starts[inner], ends[inner]
        if not len(starts):
            return [chain[own] for chain, own in zip(chains, np.split(kept, stops[:-1]))]
        between = ends - starts - 1
        firsts = np.cumsum(between) - between
        part = np.repeat(np.arange(len(starts)), between)
        index = np.arange(len(part)) + (starts + 1 - firsts)[part]
        far = _distances(points[index], points[starts], points[ends], part)
        farthest = np.maximum.reduceat(far, firsts)
        at_farthest = np.flatnonzero(far == farthest[part])
        middles = index[at_farthest[np.unique(part[at_farthest], return_index=True)[1]]]
        divided = farthest > _TOLERANCE
        middles = middles[divided]
        kept[middles] = True
        starts, ends = np.append(starts[divided], middles), np.append(middles, ends[divided])


def _distances(points: Points, starts: Points, ends: Points, part: NDArray[np.intp]) -> Points:
    """Return the distance of each point from the line between start and end of its part."""
    steps = ends - starts
    angles = -np.arctan2(steps[:, 0], steps[:, 1])
    sines, cosines = np.sin(angles), np.cos(angles)
    offsets = starts[:, 1] * sines + starts[:, 0] * cosines
    from_line = np.abs(points[:, 0] * cosines[part] + points[:, 1] * sines[part] - offsets[part])
    to_start, to_end, along = points - starts[part], points - ends[part], steps[part]
    beside = (to_start * along).sum(axis=1) > 0
    beside &= (to_end * along).sum(axis=1) < 0
    from_ends = np.sqrt(np.minimum(np.square(to_start).sum(axis=1), np.square(to_end).sum(axis=1)))
    return np.where(beside, from_line, from_ends)
