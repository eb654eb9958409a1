# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cell of a grid holds the centre of each pixel of another: the one rule that all maps and masks share."""

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
