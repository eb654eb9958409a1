# SPDX-License-Identifier: GPL-3.0-or-later
"""Place half-overlapping windows on a micrograph, for the local spectra and the spot test.

Both see the micrograph at the same sampling, which contains the first three reflections of ice. There is one window
around each tile of half its side. Windows at an edge, or beside a border, are moved inwards.
"""

from __future__ import annotations

import math
from typing import List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

CELL = 64.0  # Å: side of a cell, half of the smallest window
FINEST = CELL / 42  # Å/px, 1.52: finer micrographs are resampled to it
COARSEST = 1.72  # Å/px: the ring of 3.67 Å is then just inside what is believed of the spectrum
Ends = Tuple[int, int]  # first pixel, and the one after the last, along an axis
Starts = NDArray[np.int64]


def frame_of(border: Optional[NDArray[np.bool_]], shape: Tuple[int, int]) -> List[Ends]:
    """Return the ends of the rows, and of the columns, that are not completely border."""
    if border is None or border.all():
        return [(0, n) for n in shape]
    kept = [np.flatnonzero(~border.all(axis=other)) for other in (1, 0)]
    return [(int(lines[0]), int(lines[-1]) + 1) for lines in kept]


def number_of_tiles(size: int, length: float, sampling: float) -> int:
    """Return how many tiles of half of ``length`` Å cover ``size`` px."""
    return math.ceil(size * sampling / (length / 2) - 1e-6)


def starts_on_tiles(
    numbers: Sequence[int], length: float, sampling: float, side: int, frame: Sequence[Ends]
) -> List[Starts]:
    """Return the first rows, and columns, of windows of ``length`` Å, ``side`` px, around the tiles of each axis."""
    return [
        starts_around((np.arange(number) + 0.5) * length / 2 / sampling, side, ends)
        for number, ends in zip(numbers, frame)
    ]


def starts_around(centres: NDArray[np.float64], side: int, ends: Ends) -> Starts:
    """Return the first pixels of windows of ``side`` px around centres (px), which keep inside the frame."""
    starts: Starts = np.clip(np.round(centres - side / 2), ends[0], ends[1] - side).astype(np.int64)
    return starts
