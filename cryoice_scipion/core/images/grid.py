# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the grid cell that contains a point or the centre of a pixel; all maps and masks use these functions."""

from __future__ import annotations

import dataclasses
from typing import Any, Sequence

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.constants import SAME_PIXEL_SIZE


@dataclasses.dataclass(frozen=True)
class Frame:
    """The size of a micrograph."""

    shape: Sequence[int]  # rows and columns, px
    pixel_size: float  # Å/px


def is_same_pixel_size(one: Any, two: float) -> Any:
    """Return whether pixel sizes in Å/px, a number or an array of them, are the same but for calibration."""
    return abs(one - two) <= SAME_PIXEL_SIZE * two


def containing_cells(number: int, step: float, sampling: float, cells: int) -> NDArray[np.intp]:
    """Return the index of the cell that contains the centre of each of ``number`` pixels along one axis.

    Parameters
    ----------
    step, sampling : float
        Side of a pixel and of a cell, Å. Pixel i covers [i * step, (i + 1) * step); cells likewise.
    cells : int
        Number of cells. Pixels beyond the last cell belong to the last cell.

    Returns
    -------
    numpy.ndarray, shape (number,)
        Indices from 0 to ``cells`` - 1.
    """
    index: NDArray[np.intp] = ((np.arange(number) + 0.5) * step / sampling).astype(np.intp)
    return np.minimum(index, cells - 1)


def cells_at(points: NDArray[np.float64], sampling: float, cells: int) -> NDArray[np.intp]:
    """Return the index of the cell that contains each point along one axis.

    Points beyond the first or last cell belong to that cell.

    Parameters
    ----------
    points : numpy.ndarray, shape (n,)
        Positions in Å, all finite.
    sampling : float
        Side of a cell, Å.
    cells : int
        Number of cells.

    Returns
    -------
    numpy.ndarray, shape (n,)
        Indices from 0 to ``cells`` - 1.
    """
    return np.clip(points // sampling, 0, cells - 1).astype(np.intp)
