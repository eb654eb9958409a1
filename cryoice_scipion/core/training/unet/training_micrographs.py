# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare whole labelled micrographs for the training of the U-Net: its views, and the label of every map cell.

Each micrograph is prepared once and stored as one file, so that a later training reuses it.
"""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import List, Sequence, Set

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cryoice_scipion.constants import BORDER, CLASSES, GOOD
from cryoice_scipion.core.detectors.unet import SAMPLING, SPECTRAL
from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.evaluation.labels import LEFT_OUT, LabelledMicrograph, read_labels
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.identity import identify
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.views.micrograph import DeviceImage, check_sampling, make_fine_view, spectral_view
from cryoice_scipion.core.views.outlier_features import CELL
from cryoice_scipion.core.views.patches import grid_shape, normalise

VERSION = 4  # of the files; older ones are made again


@dataclasses.dataclass
class TrainingMicrograph:
    """One labelled micrograph, ready for training."""

    name: str
    view: NDArray[np.float16]  # (rows, columns), the context view, normalised by the micrograph
    spectrum: NDArray[np.float16]  # (features, rows, columns) of cells of 64 Å, NaN where unknown
    labels: NDArray[np.uint8]  # (rows, columns) of map cells: indices into CLASSES; LEFT_OUT: doubtful

    @property
    def labelled(self) -> NDArray[np.int64]:
        """Return the indices, into the flattened labels, of the labelled cells outside the border."""
        labels = self.labels.ravel()
        return np.flatnonzero((labels != LEFT_OUT) & (labels != CLASSES.index(BORDER)))

    @property
    def kinds(self) -> Set[bool]:
        """Return whether the labelled cells are bad: False, True, or both."""
        return set((self.labels.ravel()[self.labelled] != CLASSES.index(GOOD)).tolist())

    def save(self, path: Path, source: str = "") -> None:
        """Write the micrograph as .npz, atomically; ``source`` is from :func:`source_of`."""
        with replacing(path) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, version=VERSION, source=source, view=self.view, spectrum=self.spectrum, labels=self.labels)

    @staticmethod
    def is_current(path: Path, source: str) -> bool:
        """Return whether a file is a micrograph of this version, made from this source."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                return int(stored["version"]) == VERSION and str(stored["source"]) == source
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return False

    @classmethod
    def load(cls, path: Path) -> TrainingMicrograph:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ImageError
            When the file is damaged, or of another version.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                if int(stored["version"]) != VERSION:
                    raise ImageError(path, "is of another version", "delete it; it is made again")
                return cls(path.stem, stored["view"], stored["spectrum"], stored["labels"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ImageError(path, f"cannot be read ({error})", "delete it; it is made again") from None


def source_of(image: LabelledMicrograph) -> str:
    """Return a text that differs if a micrograph would be prepared from other files, or in another way.

    Times alone do not tell: the data sets of two trainings may have equal names, and both be older than the cache.
    """
    return repr([identify(image.path), identify(image.labels), image.pixel_size, image.inverted])


def prepare_micrograph(image: LabelledMicrograph) -> TrainingMicrograph:
    """Return the views of a labelled micrograph, and the labels of its map cells.

    Raises
    ------
    CryoIceError
        When the micrograph or its label image cannot be used.
    """
    micrograph = load_micrograph(image.path, image.pixel_size)
    check_sampling(micrograph.pixel_size, SAMPLING)
    seen = (micrograph.image, micrograph.pixel_size, micrograph.border)
    source = DeviceImage(*seen, torch.device("cpu"))
    make_fine_view(source)
    view, inside = source.at(SAMPLING)
    shape = grid_shape((int(view.shape[0]), int(view.shape[1])), CELL * SPECTRAL)
    spectrum = spectral_view(source, shape).features
    scaled = normalise(view, inside, image.inverted)
    labels = read_labels(image.labels, SAMPLING * CELL)
    cells = grid_shape((int(view.shape[0]), int(view.shape[1])), CELL)
    if max(abs(have - want) for have, want in zip(labels.shape, cells)) > 1:
        reason = f"has {labels.shape[0]} × {labels.shape[1]} cells of 32 Å, its micrograph {cells[0]} × {cells[1]}"
        raise ImageError(image.labels, reason, "check the pixel sizes of both")
    row, column = (np.minimum(np.arange(want), have - 1) for have, want in zip(labels.shape, cells))
    labels = labels[row[:, None], column[None, :]]
    return TrainingMicrograph(
        image.stem, scaled.numpy().astype(np.float16), spectrum.numpy().astype(np.float16), labels
    )


def prepare_micrographs(images: Sequence[LabelledMicrograph], folder: Path, progress: bool = True) -> List[Path]:
    """Prepare the micrographs of a data set that have no current file; return all files.

    Raises
    ------
    CryoIceError
        When a micrograph cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for image in tqdm(images, desc=f"views of {folder.name}", unit="mic", disable=not progress):
        path = folder / f"{image.stem}.npz"
        source = source_of(image)
        if not path.is_file() or not TrainingMicrograph.is_current(path, source):
            prepare_micrograph(image).save(path, source)
        paths.append(path)
    return paths
