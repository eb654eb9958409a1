# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring maps and label images of any sampling to the evaluation grid."""

from __future__ import annotations

import dataclasses
import fnmatch
from pathlib import Path
from typing import Any, List, Optional, Sequence

import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.constants import BORDER, CLASSES
from cryoice_scipion.core.errors import ImageError, SettingsError
from cryoice_scipion.core.images.grid import containing_cells
from cryoice_scipion.core.training.points import is_inverted, read_label_image

#: Å, side of the cells of the evaluation grid, whatever the maps' own sampling. Models of different sampling can then
#: be compared, and a coarse one pays for what it smears over the edges of an area.
SAMPLING = 16.0
#: Label of a cell that is doubtful, on the border or outside the micrograph.
LEFT_OUT = 255

Codes = NDArray[np.uint8]
Array = NDArray[Any]


@dataclasses.dataclass
class LabelledImage:
    """A micrograph and its label image."""

    path: str
    stem: str
    labels: str  # path of the label image
    inverted: bool = False  # particles are bright: what the record of a simulated micrograph says
    pixel_size: Optional[float] = None  # Å/px, as the data set has it; None: the header's value is not reliable


def find_labelled(folder: Path, patterns: Sequence[str] = ()) -> List[LabelledImage]:
    """Return the micrographs of a data set folder that have a label image, by name.

    Parameters
    ----------
    folder : Path
        Holds micrographs/STEM.mrc and labels/STEM.mrc, as ``cryoice simulate`` makes it.
    patterns : sequence of str
        Only stems that match one of them (``sim_000*``); none: all.

    Raises
    ------
    SettingsError
        When there is none.
    """
    found = []
    for path in sorted((folder / "micrographs").glob("*.mrc")):
        labels = folder / "labels" / path.name
        wanted = not patterns or any(fnmatch.fnmatchcase(path.stem, pattern) for pattern in patterns)
        if wanted and labels.is_file():
            found.append(LabelledImage(str(path), path.stem, str(labels), is_inverted(path), _pixel_size(path)))
    if not found:
        raise SettingsError(folder, "holds no micrographs/*.mrc with labels/*.mrc", "make one with 'cryoice simulate'")
    return found


def _pixel_size(path: Path) -> Optional[float]:
    """Return the header's pixel size. 1.0 is accepted: data sets with label images set it on purpose."""
    try:
        with mrcfile.open(path, permissive=True, header_only=True) as mrc:
            return float(mrc.voxel_size.x) or None
    except (OSError, ValueError):  # said when it is read
        return None


def read_labels(path: str, sampling: float) -> Codes:
    """Return the label of each cell of ``sampling`` Å.

    Raises
    ------
    ImageError
        When it is no label image, or its header does not say its pixel size.
    """
    codes, own = read_label_image(Path(path))
    if not own > 0:
        raise ImageError(path, "the header of the label image does not say its pixel size", "write it with one")
    return on_grid(codes, own, sampling)


def on_grid(codes: Codes, own: float, sampling: float) -> Codes:
    """Return the label of each cell: the commonest among its label pixels, the first in ``CLASSES`` of equal ones.

    Parameters
    ----------
    codes : numpy.ndarray, shape (rows, columns), uint8
        Indices into ``CLASSES``; any other value means that nobody is sure.
    own, sampling : float
        Å/px of the label image, and side of a cell in Å. A label pixel belongs to the cell that its centre is in.

    Returns
    -------
    numpy.ndarray, uint8
        Indices into ``CLASSES``, or ``LEFT_OUT``: border, doubtful, and cells without a label pixel. Cell i covers
        [i * sampling, (i + 1) * sampling), shapes are rounded up.
    """
    shape = tuple(max(1, int(np.ceil(size * own / sampling - 1e-6))) for size in codes.shape)
    row, column = (containing_cells(size, own, sampling, count) for size, count in zip(codes.shape, shape))
    cells = row[:, None] * shape[1] + column[None, :]
    unsure = len(CLASSES)
    kinds = np.minimum(codes, unsure).astype(np.intp)
    counts = np.bincount((cells * (unsure + 1) + kinds).ravel(), minlength=shape[0] * shape[1] * (unsure + 1))
    counts = counts.reshape(*shape, unsure + 1)
    labels: Codes = counts.argmax(axis=-1).astype(np.uint8)
    nowhere = (counts.sum(axis=-1) == 0) | (labels == unsure) | (labels == CLASSES.index(BORDER))
    labels[nowhere] = LEFT_OUT
    return labels


def on_cells(values: Array, own: float, shape: Sequence[int], sampling: float) -> Array:
    """Return the value of the map cell that the centre of each evaluated cell lies in.

    Parameters
    ----------
    values : numpy.ndarray, shape (rows, columns)
        A map; where it ends before the labels do, its last row or column goes on.
    own, sampling : float
        Å, side of a cell of the map and of the evaluation grid.
    shape : sequence of int
        Rows and columns of the evaluation grid.
    """
    row, column = (containing_cells(size, sampling, own, count) for size, count in zip(shape, values.shape))
    found: Array = values[row[:, None], column[None, :]]
    return found
