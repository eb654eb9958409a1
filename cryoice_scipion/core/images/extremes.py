# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace pixels with impossible values: hot pixels, overflows, cosmic rays.

The filter that resamples a micrograph spreads a pixel of 10^5 deviations over hundreds of Å, and the transform of a
window spreads it over all frequencies. Extreme pixels are therefore replaced before anything else is computed.

``LIMIT`` is 400 deviations. The largest values in simulated micrographs without faults are 15 deviations from the
median, including ice crystals, gold and vacuum, in counts and in 8 bits. The hot pixels of the simulator, with which
the shipped model was trained, reach 375. One pixel just below the limit changes the bad area by up to 0.01.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

import numpy as np
import numpy.typing as npt

from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images.borders import find_border

LIMIT = 400.0  # deviations from the median
_SAMPLE = 100_000  # pixels from which median and deviation are computed
_PERCENTILES = (0.1, 2.0, 25.0, 50.0, 75.0, 98.0, 99.9)
_GAUSSIAN = (1.349, 4.107, 6.180)  # deviations between the 25th and 75th, 2nd and 98th, 0.1th and 99.9th percentile
_REACH = 3  # px to each side: the median of these neighbours replaces a pixel
_MANY = 1e-3  # share of extreme pixels above which they form an area; it gets one value and is found as border

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class _Scale(NamedTuple):
    """Median and deviation of the grey values of an image."""

    middle: float
    deviation: float

    @property
    def limits(self) -> Tuple[float, float]:
        """Return the lowest and highest values that are not extreme."""
        return self.middle - LIMIT * self.deviation, self.middle + LIMIT * self.deviation

    def holds(self, low: float, high: float) -> bool:
        """Return whether no value between ``low`` and ``high`` is extreme."""
        return self.limits[0] <= low and high <= self.limits[1]

    def beyond(self, image: Image) -> Mask:
        """Return which pixels are extreme."""
        with np.errstate(over="ignore"):  # infinity is a valid limit
            low, high = (np.float32(limit) for limit in self.limits)
        return np.asarray((image < low) | (image > high))


def replace_extremes(image: Image, low: float, high: float, path: str) -> Tuple[Image, int]:
    """Return the image with extreme pixels replaced, and their number.

    A pixel is extreme if it is more than ``LIMIT`` deviations from the median of the pixels that are not border. The
    deviation is the larger of two estimates for a Gaussian: from the quartiles, and from the 2nd and 98th percentiles.
    Film or vacuum in a corner therefore does not narrow the limit. An extreme pixel is replaced by the median of its
    7 × 7 neighbours. More than 0.1 % extreme pixels are an area without data and get the median of the image.

    Parameters
    ----------
    image : float32 (rows, columns)
        All finite; not changed.
    low, high : float
        Its smallest and largest value.
    path : str
        Named in errors.

    Raises
    ------
    ImageError
        When all pixels except single ones have the same value.
    """
    scale = _scale(_sample(image))
    if scale is not None and scale.holds(low, high):
        return image, 0
    border = find_border(image, finite=True)
    inner = image.size - int(np.count_nonzero(border))
    scale = _scale(_sample(image, border)) if inner > _MANY * image.size else None
    if scale is None:
        _check_contrast(image, path)
    if scale is None or scale.holds(low, high):
        return image, 0
    extreme = scale.beyond(image)
    if (extreme & border).any():
        extreme &= ~_repeated(image, border)
    number = int(np.count_nonzero(extreme))
    return (_replaced(image, extreme, scale.middle), number) if number else (image, 0)


def _sample(image: Image, border: Optional[Mask] = None) -> Image:
    """Return some of the pixels that are not border, in no particular order."""
    step = max(1, int((image.size / _SAMPLE) ** 0.5))
    some = image[::step, ::step]
    if border is None:
        return some.ravel()
    inner = some[~border[::step, ::step]]
    return inner if inner.size else image[~border]


def _scale(values: Image) -> Optional[_Scale]:
    """Return median and deviation; None if at least 99.8 % of the values are equal."""
    found = np.percentile(values, _PERCENTILES)
    narrow, wide, widest = ((found[6 - i] - found[i]) / unit for i, unit in zip((2, 1, 0), _GAUSSIAN))
    if 0 < narrow < wide / LIMIT:  # more than 2 % of the pixels are extreme
        wide = narrow
    deviation = max(narrow, wide) or widest  # only the last is not 0 for sparse counts, which are nearly all 0
    return _Scale(float(found[3]), float(deviation)) if deviation > 0 else None


def _check_contrast(image: Image, path: str) -> None:
    middle = np.float32(np.median(image))
    different = int(np.count_nonzero(image != middle))
    if different <= _MANY * image.size:
        reason = f"all pixels but {different} are {middle:g}"
        raise ImageError(path, reason, "make the micrograph again, or leave it out")


def _repeated(image: Image, border: Mask) -> Mask:
    """Return the border pixels that equal a neighbour: filled or smeared pixels, which are handled as border."""
    same = np.zeros(image.shape, dtype=bool)
    if border.any():
        rows, columns = image[1:] == image[:-1], image[:, 1:] == image[:, :-1]
        same[1:] |= rows
        same[:-1] |= rows
        same[:, 1:] |= columns
        same[:, :-1] |= columns
    return same & border


def _replaced(image: Image, extreme: Mask, middle: float) -> Image:
    """Return a copy in which extreme pixels have the median of their other neighbours, or of the image."""
    result = image.copy()
    y, x = np.nonzero(extreme)
    if len(y) > max(1, _MANY * image.size):
        result[extreme] = middle
        return result
    steps = np.arange(-_REACH, _REACH + 1)
    rows = np.clip(y[:, None] + steps, 0, image.shape[0] - 1)[:, :, None]
    columns = np.clip(x[:, None] + steps, 0, image.shape[1] - 1)[:, None, :]
    usable = ~extreme[rows, columns]
    around = np.where(usable, image[rows, columns], np.float32(np.nan)).reshape(len(y), -1)
    isolated = ~usable.any(axis=(1, 2))
    around[isolated] = middle
    result[y, x] = np.nanmedian(around, axis=1)
    return result
