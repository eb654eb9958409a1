# SPDX-License-Identifier: GPL-3.0-or-later
"""Read labelled micrographs, and bring maps and label images of any sampling to one grid. Imports no torch."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import mrcfile
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoice_scipion.constants import BORDER, CLASSES, GOOD
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import ImageError, SettingsError, plural
from cryoice_scipion.core.formats.pick_tables import PIXEL_SIZE
from cryoice_scipion.core.images.grid import Frame, containing_cells
from cryoice_scipion.core.images.loading import LoadedMicrograph
from cryoice_scipion.core.maps.placement import in_micrograph_pixels
from cryoice_scipion.core.records import Pick

#: Å, side of the cells of the evaluation grid, whatever the maps' own sampling. Models of different sampling can then
#: be compared, and a coarse one pays for what it smears over the edges of an area.
SAMPLING = 16.0
#: Label of a cell that is doubtful, that is border, or that lies outside the micrograph.
LEFT_OUT = 255

#: Columns of labelled positions: x, y (px, MRC order), label (a class), origin (where the label came from). Those from
#: files with a pixel size also have the column ``PIXEL_SIZE``; see ``LabelledMicrograph.points_on``.
COLUMNS = ["x", "y", "label", "origin"]

Codes = NDArray[np.uint8]
Array = NDArray[Any]


@dataclasses.dataclass
class LabelledMicrograph:
    """One micrograph with labelled positions, a label image, or both."""

    path: str
    stem: str
    pixel_size: Optional[float]  # Å/px; None: the header's
    points: pd.DataFrame = dataclasses.field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))
    labels: str = ""  # path of the label image; empty: none
    clean: bool = False  # the user states that the whole micrograph is clean: backgrounds are drawn here
    inverted: bool = False  # particles are bright, even if they are dark on the others: a simulated micrograph
    complete: bool = False  # the points already include clean positions: no background is drawn
    source: str = ""  # name of the data source

    def is_bright(self, contrast: str) -> bool:
        """Return whether its particles are bright, where those of the others have ``contrast``, "dark" or "bright"."""
        return self.inverted != (contrast == "bright")

    def points_on(self, micrograph: LoadedMicrograph) -> pd.DataFrame:
        """Return the points in px of the micrograph: those at another pixel size are scaled, as in a screening."""
        if PIXEL_SIZE not in self.points:
            return self.points
        sizes = [size if size > 0 else None for size in self.points[PIXEL_SIZE].tolist()]  # NaN: not known
        picks = [
            Pick(row, x, y, pixel_size=size)
            for row, (x, y, size) in enumerate(zip(self.points["x"], self.points["y"], sizes))
        ]
        frame = Frame(micrograph.image.shape, micrograph.pixel_size)
        placed = in_micrograph_pixels(picks, frame, ScreenConfig(), micrograph.flags)
        at = {"x": [pick.x for pick in placed], "y": [pick.y for pick in placed]}
        return self.points.drop(columns=PIXEL_SIZE).assign(**at)


def double_labels(micrographs: Sequence[LabelledMicrograph]) -> List[str]:
    """Return one line for each source of labels in which some BAD coordinates are GOOD coordinates as well.

    Raises
    ------
    SettingsError
        When this is true of all BAD coordinates of a source.
    """
    bad: Counter[str] = Counter()
    both: Counter[str] = Counter()
    examples: Dict[str, str] = {}
    for item in micrographs:
        given = item.points[item.points["origin"] == "coordinate"]
        is_good = given["label"] == GOOD
        good, others = (set(zip(part["x"], part["y"])) for part in (given[is_good], given[~is_good]))
        bad[item.source] += len(others)
        both[item.source] += len(good & others)
        for x, y in sorted(good & others)[:1]:
            examples.setdefault(item.source, f"for example at x={x:g}, y={y:g} of {item.stem}")
    for source, example in examples.items():
        if both[source] == bad[source]:
            reason = f"all {bad[source]} BAD coordinates are GOOD coordinates too, {example}"
            raise SettingsError(source, reason, "give two sets")
    return [
        f"{source}: {both[source]} of {bad[source]} BAD coordinates {plural(both[source], 'is a', 'are')} GOOD "
        f"{plural(both[source], 'coordinate')} too, {example}; give each position one label"
        for source, example in examples.items()
    ]


def find_labelled(folder: Path, patterns: Sequence[str] = ()) -> List[LabelledMicrograph]:
    """Return the micrographs of a data set folder that have a label image, sorted by name.

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
            found.append(
                LabelledMicrograph(
                    str(path), path.stem, _pixel_size(path), labels=str(labels), inverted=is_inverted(path)
                )
            )
    if not found:
        raise SettingsError(folder, "holds no micrographs/*.mrc with labels/*.mrc", "make one with 'cryoice simulate'")
    return found


def _pixel_size(path: Path) -> Optional[float]:
    """Return the header's pixel size; None without one. In a labelled data set 1.0 is believed as well."""
    try:
        with mrcfile.open(path, permissive=True, header_only=True) as mrc:
            return float(mrc.voxel_size.x) or None
    except (OSError, ValueError):  # the error is reported when the micrograph is read
        return None


def is_inverted(path: Path) -> bool:
    """Return whether particles are bright according to the record of a simulated micrograph; False without one."""
    truth = path.parents[1] / "truth" / f"{path.stem}.json"
    if not truth.is_file():
        return False
    return bool(json.loads(truth.read_text(encoding="utf-8"))["config"].get("inverted", False))


def read_label_image(path: Path) -> Tuple[Codes, float]:
    """Return the codes (rows, columns) of a label image, and its pixel size in Å.

    Raises
    ------
    ImageError
        When the file is no MRC of mode 0.
    """
    try:
        with mrcfile.open(path, permissive=True) as mrc:
            if mrc.data is None or mrc.data.dtype.kind not in "iu":
                raise ImageError(
                    path, "is no label image (MRC mode 0 with class codes)", "make it with 'cryoice simulate'"
                )
            return np.array(mrc.data, dtype=np.uint8), float(mrc.voxel_size.x)
    except (OSError, ValueError) as error:
        raise ImageError(path, f"cannot be read as a label image ({error})") from None


def read_labels(path: str, sampling: float) -> Codes:
    """Return the label of each cell of ``sampling`` Å.

    Raises
    ------
    ImageError
        When it is no label image, or its header gives no pixel size.
    """
    codes, own = read_label_image(Path(path))
    if not own > 0:
        raise ImageError(path, "the header of the label image gives no pixel size", "write it with one")
    return on_grid(codes, own, sampling)


def on_grid(codes: Codes, own: float, sampling: float) -> Codes:
    """Return the most frequent label among the pixels of each cell; of equal ones, the first in ``CLASSES``.

    Parameters
    ----------
    codes : numpy.ndarray, shape (rows, columns), uint8
        Indices into ``CLASSES``; any other value marks doubtful pixels.
    own, sampling : float
        Å/px of the label image, and side of a cell in Å. A label pixel belongs to the cell that contains its centre.

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
    """Return, for each evaluated cell, the value of the map cell that contains its centre.

    Parameters
    ----------
    values : numpy.ndarray, shape (rows, columns)
        A map; if it ends before the labels, its last row or column is repeated.
    own, sampling : float
        Å, side of a cell of the map and of the evaluation grid.
    shape : sequence of int
        Rows and columns of the evaluation grid.
    """
    row, column = (containing_cells(size, sampling, own, count) for size, count in zip(shape, values.shape))
    found: Array = values[row[:, None], column[None, :]]
    return found
