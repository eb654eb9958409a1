# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether the pixels of an image can be screened."""

from __future__ import annotations

import math
from typing import List, Tuple

import numpy as np
import numpy.typing as npt

from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images.extremes import replace_extremes

NAN_PIXELS = "nan_pixels"
CLIPPED_PIXELS = "clipped_pixels"  # as "clipped_pixels=3": number of extreme pixels
_LARGEST_SHARE = 0.5  # of pixels that are not finite
_LARGEST_LEVEL = 1000.0  # times the difference of the highest and the lowest level
_SPANS = (1e-6, 1e12)  # differences of the highest and the lowest level that are kept


def check_pixels(image: npt.NDArray[np.float32], path: str) -> Tuple[npt.NDArray[np.float32], List[str]]:
    """Replace pixels without data; return the image and flags.

    NaN and infinity are replaced by the median of the other pixels, extreme pixels by the median of their neighbours
    (see :func:`~.extremes.replace_extremes`). The flags are ``nan_pixels`` and ``clipped_pixels=N``. An image without
    such pixels is not copied.

    Parameters
    ----------
    image : float32 (rows, columns)
        Not changed.
    path : str
        Named in errors.

    Raises
    ------
    ImageError
        When more than half of the pixels are not finite, or when all have the same value except for single ones.
    """
    low, high = float(image.min()), float(image.max())  # not finite if any pixel is not: one pass for a sound image
    if np.isfinite(low) and np.isfinite(high):
        return _without_extremes(_not_constant(image, low, high, path), low, high, path, [])
    finite = np.isfinite(image)
    share = 1.0 - float(finite.mean())
    if share > _LARGEST_SHARE:
        reason = f"{100 * share:.0f} % of its pixels are NaN or infinite"
        raise ImageError(path, reason, "make the micrograph again")
    values = image[finite]
    low, high = float(values.min()), float(values.max())
    filled = np.where(finite, _not_constant(image, low, high, path), np.median(values)).astype(np.float32)
    return _without_extremes(filled, low, high, path, [NAN_PIXELS])


def _without_extremes(
    image: npt.NDArray[np.float32], low: float, high: float, path: str, flags: List[str]
) -> Tuple[npt.NDArray[np.float32], List[str]]:
    image, number = replace_extremes(image, low, high, path)
    if number:
        low, high = float(image.min()), float(image.max())
    return _in_range(image, low, high), [*flags, *([f"{CLIPPED_PIXELS}={number}"] if number else [])]


def _in_range(image: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.float32]:
    """Return the image in a range of grey levels in which float32 is exact enough; most images have one and are kept.

    From levels that are large in comparison with their differences, the median is subtracted. Differences that are
    tiny or huge are multiplied by a power of two.
    """
    span = high - low
    fits = _SPANS[0] <= span <= _SPANS[1]
    if fits and max(abs(low), abs(high)) <= _LARGEST_LEVEL * span:
        return image
    scale = 1.0 if fits else 2.0 ** -round(math.log2(span))
    return ((image.astype(np.float64) - float(np.median(image))) * scale).astype(np.float32)


def _not_constant(image: npt.NDArray[np.float32], low: float, high: float, path: str) -> npt.NDArray[np.float32]:
    if low == high:
        raise ImageError(path, f"all pixels are {low:g}", "make the micrograph again, or leave it out")
    return image
