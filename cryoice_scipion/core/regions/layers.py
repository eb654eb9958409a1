# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring what is stored of a micrograph to the grid of its map: log-odds, outlier map, session features, grey levels."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from cryoice_scipion.core.detectors.one_class_fit import distribution_of, is_comparable, measure
from cryoice_scipion.core.images.grid import Frame, containing_cells
from cryoice_scipion.core.maps.bad_area import Cells
from cryoice_scipion.core.records import OneClass

CLASSES = ("crystalline", "contamination", "thick", "support", "aggregate", "vacuum")
GROUPS = 5  # of the bands of power, from coarse to fine
SESSION = 2 + GROUPS  # brightness, variance, power
_MOST = 12.0  # log-odds
_TINY = 1e-6

Array = NDArray[np.float64]


@dataclasses.dataclass
class Layers:
    """What is known of each cell of one micrograph."""

    odds: Array  # (rows, columns): log-odds of BAD
    by_class: Array  # (CLASSES, rows, columns): log-odds of each class against good; the least for an absent class
    grey: Array  # (rows, columns): deviation from the median grey level, in robust deviations
    outlier: Array  # (rows, columns): logarithm of the distance from the session; 0: typical or not measured
    session: Array  # (SESSION, rows, columns): deviations from the session; 0: usual or not measured
    inside: NDArray[np.bool_]  # (rows, columns): not border
    sampling: float  # Å, side of a cell
    frame: Frame


def layers_of(
    cells: Cells,
    frame: Frame,
    grey: NDArray[Any],
    features: Optional[NDArray[Any]] = None,
    features_sampling: float = 0.0,
    reference: Optional[OneClass] = None,
) -> Layers:
    """Return the layers of a micrograph.

    Parameters
    ----------
    cells : Cells
        P(BAD) by class.
    grey : numpy.ndarray, shape (rows, columns)
        A picture of the whole micrograph, of any size.
    features : numpy.ndarray, shape (rows, columns, features), optional
        Of the session, as stored for the outlier map; None: not measured.
    features_sampling : float
        Å, side of a cell of the features.
    reference : OneClass, optional
        What is usual in the session; None: not known.
    """
    good = np.clip(1.0 - cells.probability.astype(np.float64), _TINY, 1)
    by_class = np.full((len(CLASSES), *good.shape), -_MOST)
    for index, name in enumerate(CLASSES):
        if name in cells.bad_classes:
            share = cells.by_class[cells.bad_classes.index(name)].astype(np.float64)
            by_class[index] = np.clip(np.log(np.clip(share, _TINY, 1) / good), -_MOST, _MOST)
    shape, inside = cells.probability.shape, ~cells.border
    session, outlier = np.zeros((SESSION, *shape)), np.zeros(shape)
    if features is not None and reference is not None and is_comparable(reference, features, features_sampling):
        usual = distribution_of(reference)
        spread = np.sqrt(np.diag(usual.between) + np.diag(usual.within))
        deviations = np.nan_to_num(np.arcsinh((features - usual.mean) / spread))
        grouped = [deviations[..., 0], deviations[..., 1]]
        grouped += [part.mean(axis=-1) for part in np.array_split(deviations[..., 2:], GROUPS, axis=-1)]
        session = np.stack([_spread(part, features_sampling, cells.sampling, shape) for part in grouped])
        measured = measure(reference, None, features, features_sampling)
        if measured is not None:
            distance = np.log(np.clip(measured.cells.astype(np.float64), 0.5, 100))
            outlier = _spread(distance, features_sampling, cells.sampling, shape)
    return Layers(
        odds=np.where(inside, np.clip(logit(1 - good), -_MOST, _MOST), -_MOST),
        by_class=by_class,
        grey=_grey_levels(grey, frame, cells.sampling, inside),
        outlier=np.where(inside, outlier, 0.0),
        session=session,
        inside=inside,
        sampling=cells.sampling,
        frame=frame,
    )


def _spread(values: Array, own: float, sampling: float, shape: Any) -> Array:
    """Return the value under the centre of each cell of another grid."""
    rows, columns = (containing_cells(size, sampling, own, count) for size, count in zip(shape, values.shape))
    spread: Array = values[rows[:, None], columns[None, :]]
    return spread


def _grey_levels(grey: NDArray[Any], frame: Frame, sampling: float, inside: NDArray[np.bool_]) -> Array:
    """Return the mean grey level of each cell, less the median, in robust deviations."""
    rows, columns = (
        containing_cells(size, full * frame.pixel_size / size, sampling, count)
        for size, full, count in zip(grey.shape, frame.shape, inside.shape)
    )
    cell = (rows[:, None] * inside.shape[1] + columns[None, :]).ravel()
    number = np.bincount(cell, minlength=inside.size)
    total = np.bincount(cell, grey.ravel().astype(np.float64), inside.size)
    mean = (total / np.maximum(number, 1)).reshape(inside.shape)
    known = inside & (number > 0).reshape(inside.shape)
    if not known.any():
        return np.zeros(inside.shape)
    middle = np.median(mean[known])
    spread = 1.4826 * np.median(np.abs(mean[known] - middle)) + _TINY
    return np.where(known, np.clip((mean - middle) / spread, -30, 30), 0.0)
