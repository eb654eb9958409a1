# SPDX-License-Identifier: GPL-3.0-or-later
"""The average power spectrum of a whole micrograph. Numpy only.

The spectrum is the mean over windows of 256 Å (Welch 1967), as many as ``WINDOWS``, spread evenly over the micrograph.
"""

from __future__ import annotations

from typing import List

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cryoice_scipion.core.images.reducing import binned

WINDOW = 256.0  # Å
WINDOWS = 64  # at most: more change little and cost time
HALF = 88  # frequencies of 1/256 Å⁻¹ on either side of 0: up to 1/2.9 Å⁻¹
FINEST = 1.0  # Å/px: finer micrographs are binned
_LEAST = 16  # px: side of a window of coarse micrographs
_SMALL = 1e-12
Array = NDArray[np.float32]


def average_power(image: Array, pixel_size: float, border: NDArray[np.bool_]) -> Array:
    """Return the logarithm of the average power.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns), float32
    pixel_size : float
        Å/px.
    border : numpy.ndarray, bool, same shape
        True where there is no image. Windows that touch it are left out, unless all do.

    Returns
    -------
    numpy.ndarray, shape (2 HALF, HALF), float32
        Row ``HALF + i`` and column j hold the frequency (i, j) / 256 Å. Less the median of all; NaN beyond the
        resolution of the micrograph.
    """
    bin_size = max(1, int(FINEST / pixel_size + 0.05))
    side = max(_LEAST, round(WINDOW / pixel_size / bin_size)) * bin_size
    windows = _windows(image, border, min(side, *image.shape))
    rows = windows[0].shape[0] // bin_size
    taper = np.hanning(rows + 2)[1:-1].astype(np.float32)
    total = np.zeros((rows, rows // 2 + 1))
    for window in windows:
        window = window[: rows * bin_size, : rows * bin_size].astype(np.float32)
        if bin_size > 1:
            window = binned(window, bin_size)
        total += np.square(np.abs(fft.rfft2((window - window.mean()) * np.outer(taper, taper))))
    return _placed(np.log(total / len(windows) + _SMALL), rows * bin_size * pixel_size)


def _windows(image: Array, border: NDArray[np.bool_], side: int) -> List[Array]:
    """Return square windows that are spread over the image, those without border if there are any."""
    number = [max(1, size // side) for size in image.shape]
    scale = min(1.0, (WINDOWS / (number[0] * number[1])) ** 0.5)
    tops, lefts = (
        np.linspace(0, size - side, max(1, int(some * scale))).round().astype(int)
        for size, some in zip(image.shape, number)
    )
    places = [(slice(top, top + side), slice(left, left + side)) for top in tops for left in lefts]
    inside = [place for place in places if not border[place].any()]
    return [image[place] for place in inside or places]


def _placed(power: NDArray[np.float64], size: float) -> Array:
    """Return the power of a window of ``size`` Å at the frequencies of a window of 256 Å."""
    result = np.full((2 * HALF, HALF), np.nan, dtype=np.float32)
    rows = len(power)
    nyquist = rows // 2
    wanted_rows = np.round(np.arange(-HALF, HALF) * size / WINDOW).astype(int)
    wanted_columns = np.round(np.arange(HALF) * size / WINDOW).astype(int)
    down, across = np.abs(wanted_rows) < nyquist, wanted_columns < nyquist
    result[np.ix_(down, across)] = power[np.ix_(wanted_rows[down] % rows, wanted_columns[across])]
    result[HALF, 0] = np.nan  # the mean
    result -= np.nanmedian(result)
    return result
