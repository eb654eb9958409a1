# SPDX-License-Identifier: GPL-3.0-or-later
"""The bins of a window's spectrum that the spot test searches, and the neighbours of each bin.

All of it depends on the size of the window and on the pixel size only, and is computed once for each.
"""

from __future__ import annotations

import functools
from typing import List, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryoice_scipion.core.views.window_transforms import finer_frequencies
from cryoice_scipion.core.views.windows import CELL

Band = Tuple[float, float]  # first and last frequency, Å⁻¹
REACH = 0.95  # of Nyquist
_CROSS = 2  # bins beside the axes left out: dead columns, gain stripes, and the window's own edges
_ARC = 0.115  # rad: with astigmatism of 400 Å, Thon rings move by less than a seventh of their period over it
_RING = 0.75  # bins: half-width of the neighbourhood along the radius


class SpotBins:
    """The bins of a window's spectrum that are searched; Friedel pairs are one bin of the half plane.

    Bins are sorted by group. Lists of neighbours have the number of bins where there is no further one. The window is
    ``factor`` times as large as one of ``small`` px, from whose transforms its own is put together.
    """

    def __init__(self, small: int, factor: int, pixel_size: float, band: Band, device: torch.device) -> None:
        half, finer = small // 2 + 1, finer_frequencies(factor)
        down, across = (
            (factor * coarse[:, None] + finer).ravel() for coarse in (np.fft.fftfreq(small, 1 / small), np.arange(half))
        )
        radius = np.hypot(down[:, None], across[None, :])
        side = factor * small
        length = side * pixel_size
        low, high = band
        inside = (np.abs(down)[:, None] > _CROSS) & (across > _CROSS)[None, :] & (radius <= REACH * side / 2)
        inside &= (radius >= low * length) & (radius <= high * length)
        # Groups of about equal width: a ring's width in bins grows with the window, and so does their number.
        number = max(1, round((high - low) * factor * CELL / 2))
        group = np.floor((radius / length - low) / (high - low) * number).clip(0, number - 1).astype(int)
        indices = np.flatnonzero(inside)
        indices = indices[np.argsort(group.ravel()[indices], kind="stable")]
        _, labels, sizes = np.unique(group.ravel()[indices], return_inverse=True, return_counts=True)
        ends = np.cumsum(sizes)
        shape = (len(down), len(across))
        radius = radius.ravel()[indices]
        angle = np.arctan2(*np.broadcast_arrays(down[:, None], across[None, :])).ravel()[indices]
        ring, rings = _rings(radius)
        arcs = _arcs(radius, angle)
        around = _around(indices, labels, shape)
        none = len(indices)

        row, column = np.divmod(indices, shape[1])
        self.places = row // factor * half + column // factor  # in the flattened half plane of the small window
        self.finer = row % factor * factor + column % factor  # which of the finer frequencies there
        #: First and end of each group: the window's own level is taken by group.
        self.groups: List[Tuple[int, int]] = [(int(end - size), int(end)) for size, end in zip(sizes, ends)]
        #: (bins, 25): the bins of the group up to two away, and which of them there are.
        self.around = torch.from_numpy(around % none).to(device)
        self.is_around = torch.from_numpy(around < none).to(device)
        self.ring = torch.from_numpy(ring).to(device)  # number of each bin's ring
        self.rings = torch.from_numpy(rings).to(device)  # (rings, longest): the bins of each ring
        self.ring_sizes = torch.from_numpy((rings < none).sum(axis=1)).to(device)
        self.mean_ring = float(np.bincount(ring)[ring].mean())
        self.arcs = torch.from_numpy(arcs).to(device)  # (bins, longest): the bins of a short arc, itself among them
        self.arc_sizes = torch.from_numpy((arcs < none).sum(axis=1)).to(device)
        self.median_arc = float(np.median((arcs < none).sum(axis=1)))

    def __len__(self) -> int:
        return len(self.places)


@functools.lru_cache(maxsize=16)
def spot_bins(small: int, factor: int, pixel_size: float, band: Band, device: torch.device) -> SpotBins:
    """Return the bins for windows of one size; they are computed once."""
    return SpotBins(small, factor, pixel_size, band, device)


def _around(indices: NDArray[np.int64], labels: NDArray[np.int64], shape: Tuple[int, int]) -> NDArray[np.int64]:
    """Return the bins of the same group up to two away, shape (bins, 25)."""
    numbers = np.full((shape[0] + 4, shape[1] + 4), len(indices))
    row, column = np.divmod(indices, shape[1])
    numbers[row + 2, column + 2] = np.arange(len(indices))
    steps = [(y, x) for y in range(5) for x in range(5)]
    near = np.stack([numbers[row + y, column + x] for y, x in steps], axis=1)
    return np.where(np.append(labels, -1)[near] == labels[:, None], near, len(indices))


def _rings(radius: NDArray[np.float64]) -> Tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of each bin's ring, one bin wide, and the bins of each ring, shape (rings, longest)."""
    _, ring = np.unique(np.round(radius).astype(int), return_inverse=True)
    return ring, _lists(ring, np.arange(len(ring)), int(ring.max()) + 1, len(ring))


def _arcs(radius: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bins of a short arc around each bin, shape (bins, longest)."""
    arc = _ARC * float(np.median(radius))  # bins
    tree = cKDTree(np.column_stack([radius / _RING, angle * radius / arc]))
    one, other = tree.query_pairs(1.0, output_type="ndarray").T
    itself = np.arange(len(radius))
    return _lists(np.concatenate([itself, one, other]), np.concatenate([itself, other, one]), len(radius), len(radius))


def _lists(keys: NDArray[np.int64], values: NDArray[np.int64], number: int, none: int) -> NDArray[np.int64]:
    """Return the values of each key below ``number`` as rows of equal length, filled up with ``none``."""
    order = np.argsort(keys, kind="stable")
    sizes = np.bincount(keys, minlength=number)
    rows = np.full((number, int(sizes.max())), none)
    rows[np.arange(rows.shape[1]) < sizes[:, None]] = values[order]
    return rows
