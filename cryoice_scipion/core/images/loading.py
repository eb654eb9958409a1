# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and check one micrograph, for training and screening."""

from __future__ import annotations

import dataclasses
from typing import List, Optional, Sequence

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.core.images.borders import find_border
from cryoice_scipion.core.images.checks import check_pixels
from cryoice_scipion.core.images.reading import read_micrograph, resolve_pixel_size


@dataclasses.dataclass
class LoadedMicrograph:
    """A micrograph in memory."""

    image: NDArray[np.float32]  # (rows, columns), all finite
    border: NDArray[np.bool_]  # same shape: True where there is no image
    pixel_size: float  # Å/px
    flags: List[str]  # such as "nan_pixels" or "pixel_size_differs=1.77"


def load_micrograph(path: str, pixel_size: Optional[float] = None) -> LoadedMicrograph:
    """Read a micrograph, check its pixels, find its border and determine its pixel size.

    Parameters
    ----------
    path : str
        A file, or ``12@stack.mrcs``.
    pixel_size : float, optional
        Å/px. None: from the header.

    Raises
    ------
    ImageError
        When the file cannot be read or contains no image data.
    PixelSizeError
        When no plausible pixel size is known.
    """
    micrograph = read_micrograph(path)
    size, flags = resolve_pixel_size(micrograph, pixel_size)
    return take_image(micrograph.as_float32(), size, path, flags)


def take_image(image: NDArray[np.float32], pixel_size: float, name: str, flags: Sequence[str] = ()) -> LoadedMicrograph:
    """Check the pixels of an image in memory and find its border.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns), float32
    pixel_size : float
        Å/px.
    name : str
        Name of the micrograph, for error messages.
    flags : sequence of str
        Flags that are already known.

    Raises
    ------
    ImageError
        When the image contains no data.
    """
    checked, more = check_pixels(image, name)
    return LoadedMicrograph(checked, find_border(checked, finite=True), pixel_size, [*flags, *more])
