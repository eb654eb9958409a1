# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the cell of a grid that holds a point or a pixel's centre: the one rule that all maps and masks share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def containing_cells(number: int, step: float, sampling: float, cells: int) -> NDArray[np.intp]:
    """Return the cell that holds the centre of each of ``number`` pixels along one axis.

    Parameters
    ----------
    step, sampling : float
        Å: side of a pixel, and of a cell. Pixel i covers [i * step, (i + 1) * step); cells likewise.
    cells : int
        How many there are; the last one goes on beyond its end.

    Returns
    -------
    numpy.ndarray, shape (number,)
        Indices from 0 to ``cells`` - 1.
    """
    index: NDArray[np.intp] = ((np.arange(number) + 0.5) * step / sampling).astype(np.intp)
    return np.minimum(index, cells - 1)


def cells_at(points: NDArray[np.float64], sampling: float, cells: int) -> NDArray[np.intp]:
    """Return the cell that holds each point along one axis; points beyond an end belong to the cell there.

    Parameters
    ----------
    points : numpy.ndarray, shape (n,)
        Å, all finite.
    sampling : float
        Å, side of a cell.
    cells : int
        How many there are.

    Returns
    -------
    numpy.ndarray, shape (n,)
        Indices from 0 to ``cells`` - 1.
    """
    return np.clip(points // sampling, 0, cells - 1).astype(np.intp)
