# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the pixels of an image can be judged at all."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np
import numpy.typing as npt

from cryoice_scipion.core.errors import ImageError

NAN_PIXELS = "nan_pixels"
_LARGEST_SHARE = 0.5  # of pixels that are not finite


def check_pixels(image: npt.NDArray[np.float32], path: str) -> Tuple[npt.NDArray[np.float32], List[str]]:
    """Return the image with NaN and infinity replaced by the median of the rest, and flags.

    Parameters
    ----------
    image : float32 (rows, columns)
        Not changed.
    path : str
        Named in errors.

    Raises
    ------
    ImageError
        When more than half of the pixels are not finite, or all have one value.
    """
    low, high = float(image.min()), float(image.max())  # NaN and infinity show in them: one pass when all is well
    if np.isfinite(low) and np.isfinite(high):
        return _not_constant(image, low, high, path), []
    finite = np.isfinite(image)
    share = 1.0 - float(finite.mean())
    if share > _LARGEST_SHARE:
        reason = f"{100 * share:.0f} % of its pixels are NaN or infinite"
        raise ImageError(path, reason, "make the micrograph again")
    values = image[finite]
    _not_constant(image, float(values.min()), float(values.max()), path)
    return np.where(finite, image, np.median(values)).astype(np.float32), [NAN_PIXELS]


def _not_constant(image: npt.NDArray[np.float32], low: float, high: float, path: str) -> npt.NDArray[np.float32]:
    if low == high:
        raise ImageError(path, f"all pixels are {low:g}", "make the micrograph again, or leave it out")
    return image
