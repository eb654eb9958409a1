# SPDX-License-Identifier: GPL-3.0-or-later
"""Write maps and masks as MRC files, atomically. The same input gives the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Tuple, Union

import mrcfile
import numpy as np
import numpy.typing as npt

from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images import mrc
from cryoice_scipion.core.images.archives import read_stored
from cryoice_scipion.core.images.atomic import replacing

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

    The file may be in an archive of its run; see :mod:`~cryoice_scipion.core.images.archives`.

    Raises
    ------
    ImageError
        When the file is missing or damaged.
    """
    try:
        content = read_stored(Path(path))
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror or error})", "screen this micrograph again") from None
    header = mrc.read_header(Path(path), content)
    return mrc.read_section(Path(path), header, 0, content), header.pixel_size or 0.0


def _write(path: Union[str, Path], array: npt.NDArray[Any], sampling: float, label: str) -> None:
    with replacing(path) as temporary, mrcfile.new(str(temporary), overwrite=True) as made:
        made.set_data(array)
        made.voxel_size = sampling
        made.header.label[0] = label.ljust(80)  # replaces mrcfile's label, which contains the time
        made.header.nlabl = 1
