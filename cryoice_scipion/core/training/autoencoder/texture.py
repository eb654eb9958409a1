# SPDX-License-Identifier: GPL-3.0-or-later
"""Weight the pixels of a training by how little texture their surroundings have. Imports no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops

_LEVELS = 16  # grey levels
_RANGE = 3.0  # standard deviations to either side that they cover
_ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)

Array = NDArray[np.float32]


def low_texture_weights(image: Array, side: int) -> Array:
    """Return a weight for each pixel, of mean 1: high where neighbouring pixels have similar grey levels.

    A square of ``side`` px has the contrast of its grey-level co-occurrence matrix (Haralick et al. 1973) over
    neighbouring pixels. Its weight is proportional to 1 / (1 + contrast / median contrast of the squares).

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        In standard deviations.
    side : int
        px.
    """
    levels = np.clip((image + _RANGE) * (_LEVELS / (2 * _RANGE)), 0, _LEVELS - 1).astype(np.uint8)
    tops, lefts = (range(0, size, side) for size in image.shape)
    contrast = np.array([[_contrast(levels[top : top + side, left : left + side]) for left in lefts] for top in tops])
    middle = float(np.median(contrast))
    squares = 1 / (1 + contrast / middle) if middle > 0 else np.ones_like(contrast)
    pixels = np.kron(squares, np.ones((side, side)))[: image.shape[0], : image.shape[1]]
    weights: Array = (pixels / pixels.mean()).astype(np.float32)
    return weights


def _contrast(levels: NDArray[np.uint8]) -> float:
    matrix: Any = graycomatrix(levels, [1], _ANGLES, levels=_LEVELS, symmetric=True, normed=True)  # type: ignore[no-untyped-call]
    contrasts: Any = graycoprops(matrix, "contrast")  # type: ignore[no-untyped-call]
    return float(contrasts.mean())
