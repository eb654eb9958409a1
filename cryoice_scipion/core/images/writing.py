# SPDX-License-Identifier: GPL-3.0-or-later
"""Write maps and masks as MRC files, atomically. The same input gives the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Tuple, Union

import mrcfile
import numpy as np
import numpy.typing as npt

from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.reading import read_micrograph

MAP_LABEL = "cryoice map"
MASK_LABEL = "cryoice mask: 1 = good, 0 = bad"


def write_map(path: Union[str, Path], array: npt.NDArray[Any], sampling: float) -> None:
    """Write a float32 map (MRC mode 2).

    Parameters
    ----------
    path : str or Path
        The folder is created if it does not exist.
    array : (rows, columns)
        Row 0 is y = 0.
    sampling : float
        Side of a cell, Å.

    Raises
    ------
    CryoIceError
        When the folder cannot be written or the disk is full.
    """
    _write(path, np.ascontiguousarray(array, dtype=np.float32), sampling, MAP_LABEL)


def write_mask(path: Union[str, Path], good: npt.NDArray[np.bool_], sampling: float) -> None:
    """Write a mask (MRC mode 0; 1 = good, 0 = bad, as its label states). Parameters as in :func:`write_map`."""
    _write(path, np.asarray(good, dtype=bool).astype(np.int8), sampling, MASK_LABEL)


def read_map(path: Union[str, Path]) -> Tuple[npt.NDArray[Any], float]:
    """Return the array (rows, columns) and the sampling (Å) of a map or mask.

    Raises
    ------
    ImageError
        When the file is missing or damaged.
    """
    image = read_micrograph(path)
    pixels = image.read()
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False), image.stated_pixel_size or 0.0


def _write(path: Union[str, Path], array: npt.NDArray[Any], sampling: float, label: str) -> None:
    with replacing(path) as temporary, mrcfile.new(str(temporary), overwrite=True) as mrc:
        mrc.set_data(array)
        mrc.voxel_size = sampling
        mrc.header.label[0] = label.ljust(80)  # replaces mrcfile's label, which contains the time
        mrc.header.nlabl = 1
