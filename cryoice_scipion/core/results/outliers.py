# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how unlike the reference of a session each micrograph is. Imports no torch.

The result is shown and ranked. It has no part in P(BAD), in masks, or in verdicts on coordinates. The features that it
is measured on also count for the grade of a micrograph.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.core.detectors.one_class_fit import UNUSUAL, Outlier, fit_one_class, measure
from cryoice_scipion.core.errors import ImageError, one_line
from cryoice_scipion.core.images.archives import read_stored
from cryoice_scipion.core.images.writing import write_map
from cryoice_scipion.core.records import MapResult, MicrographRecord, OneClass
from cryoice_scipion.core.results.run_folder import RunFolder, writing

UNUSUAL_FLAG = "unusual"


def fit_reference(folder: Path, ids: Sequence[int], mapped: Mapping[int, MapResult]) -> Optional[OneClass]:
    """Fit to the reference micrographs of a session; return None if they are too few.

    Micrographs with cells of another size than most have, and those whose features cannot be read, do not count.
    """
    sides = [mapped[key].features_sampling for key in ids if mapped[key].features_path]
    if not sides:
        return None
    sampling = max(sorted(set(sides)), key=sides.count)
    features: Dict[int, NDArray[Any]] = {}
    for key in ids:
        if mapped[key].features_path and mapped[key].features_sampling == sampling:
            try:
                features[key] = read_features(folder / mapped[key].features_path)
            except ImageError:
                continue
    return fit_one_class(features, sampling)


def outlier_of(folder: Path, key: int, mapped: MapResult, reference: Optional[OneClass]) -> Optional[Outlier]:
    """Return how a micrograph differs from the reference; None: it is not measured, or cannot be compared.

    Parameters
    ----------
    key : int
        Id of the micrograph.

    Raises
    ------
    ImageError
        When the features are missing or damaged: the micrograph has to be read again.
    """
    if reference is None or not mapped.features_path:
        return None
    return measure(reference, key, read_features(folder / mapped.features_path), mapped.features_sampling)


def add_outlier(folder: Path, record: MicrographRecord, found: Outlier, sampling: float) -> None:
    """Write the outlier map of a micrograph, and note the map and the number in its record.

    Parameters
    ----------
    sampling : float
        Å, side of a cell of the map.

    Raises
    ------
    FolderError
        When the folder cannot be written.
    """
    record.outlier, record.outlier_p = round(found.number, 4), found.p_value
    record.deviations = [round(float(value), 3) for value in np.arcsinh(found.deviations)]
    record.outlier_map = RunFolder(folder).outlier(record.stem)
    if found.number > UNUSUAL:
        record.flags = [*record.flags, UNUSUAL_FLAG]
    with writing(folder):
        write_map(folder / record.outlier_map, found.cells, sampling)


def read_features(path: Path) -> NDArray[Any]:
    """Return the stored features of a micrograph, shape (rows, columns, features).

    Raises
    ------
    ImageError
        When the file is missing or damaged.
    """
    try:
        values: NDArray[Any] = np.load(io.BytesIO(read_stored(path)), allow_pickle=False)
        if values.ndim != 3 or values.dtype.kind != "f":
            raise ValueError(f"shape {values.shape}, {values.dtype}")
    except ImageError:
        raise
    except Exception as error:  # numpy and its parser of headers raise many kinds for damaged files
        reason = f"the stored features cannot be read ({one_line(error) or type(error).__name__})"
        raise ImageError(path, reason, "screen this micrograph again") from None
    return values
