# SPDX-License-Identifier: GPL-3.0-or-later
"""Make images smaller, by averages of pixels or with a Gaussian low-pass filter. On one thread, without BLAS."""

from __future__ import annotations

import functools
from typing import Any, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_matrix

from cryoice_scipion.core.images.grid import containing_cells

_REACH = 3.0  # standard deviations of a Gaussian that count
_AT_ONCE = 16  # rows of the result, so that what is added stays in the cache of the processor

Image2D = NDArray[np.float32]


def binned(image: NDArray[Any], size: int) -> Image2D:
    """Return means of size × size px, float32; what is left over at the end is cut off."""
    rows, columns = (length // size for length in image.shape)
    means = np.empty((rows, columns), dtype=np.float32)
    for first in range(0, rows, _AT_ONCE):
        lines = image[first * size : min(rows, first + _AT_ONCE) * size, : columns * size]
        part = lines.astype(np.float32, copy=False).reshape(-1, size, columns * size).sum(axis=1)
        means[first : first + _AT_ONCE] = sum(part[:, column::size] for column in range(size))
    return means / np.float32(size**2)


def average(image: Image2D, shape: Tuple[int, int]) -> Image2D:
    """Return the means of the pixels that lie in each pixel of a smaller image of ``shape``; float32."""
    if image.shape == shape:
        return image
    factor = image.shape[0] // shape[0]
    if image.shape == (factor * shape[0], factor * shape[1]):
        return binned(image, factor)
    averaged = Image.fromarray(_means(shape[0], image.shape[0]) @ image)  # several times as fast as Pillow along rows
    return np.array(averaged.resize(shape[::-1], Image.BOX))


def low_passed(image: Image2D, shape: Tuple[int, int], sigma: float) -> Image2D:
    """Return a Gaussian average about the centre of each pixel of an image of ``shape``, which is at most as large.

    Parameters
    ----------
    sigma : float
        Standard deviation in px of ``image``. 0: no filter; the shape must then be that of the image.
    """
    if not sigma:
        return image
    rows = _gaussian(shape[0], image.shape[0], sigma) @ image
    smooth: Image2D = (_gaussian(shape[1], image.shape[1], sigma) @ np.ascontiguousarray(rows.T)).T
    return np.ascontiguousarray(smooth)


def nearest(image: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Return the pixel of an image under the centre of each pixel of an image of ``shape``."""
    rows, columns = (containing_cells(small, full / small, 1.0, full) for small, full in zip(shape, image.shape))
    under: NDArray[Any] = image[rows][:, columns]
    return under


@functools.lru_cache(maxsize=16)
def _means(count: int, length: int) -> Any:
    """Return the matrix that averages ``length`` rows to ``count``; each row counts in the one that has its centre."""
    starts = np.rint(np.arange(count + 1) * length / count).astype(np.int64)
    lengths = np.diff(starts)
    weights = np.repeat(1.0 / lengths, lengths).astype(np.float32)
    return csr_matrix((weights, np.arange(length), starts), shape=(count, length))


@functools.lru_cache(maxsize=16)
def _gaussian(count: int, length: int, sigma: float) -> Any:
    """Return the matrix of Gaussian averages of ``length`` rows about the centres of ``count`` rows."""
    centres = (np.arange(count) + 0.5) * length / count - 0.5
    number = min(length, 2 * int(np.ceil(_REACH * sigma)) + 1)
    first = np.clip(np.rint(centres).astype(np.int64) - number // 2, 0, length - number)
    rows = first[:, None] + np.arange(number)
    weights = np.exp(-0.5 * np.square((rows - centres[:, None]) / sigma))
    weights /= weights.sum(axis=1, keepdims=True)
    starts = np.arange(count + 1) * number
    return csr_matrix((weights.astype(np.float32).ravel(), rows.ravel(), starts), shape=(count, length))
