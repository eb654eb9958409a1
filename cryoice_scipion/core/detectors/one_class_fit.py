# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe clean micrographs by the features of their cells, and measure how unlike them another one is. Numpy only.

A micrograph has the mean of the features of its cells. Its distance is that of Mahalanobis (1936) from the means of the
clean micrographs. Their covariance is shrunk towards its diagonal, because it is estimated from few micrographs. A cell
is measured together with its eight neighbours, and its distance also allows for the covariance of cells within a
micrograph.

Distances are divided by the typical one of a clean micrograph or cell: 1 is typical. The typical distance of a
micrograph is the median over micrographs that were each left out of the fit. docs/explanation/sessions.md describes
the method.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from cryoice_scipion.constants import FEWEST_CLEAN
from cryoice_scipion.core.records import OneClass

UNUSUAL = 2.5  # times the typical distance; below 1 % of clean ones are above (benchmarks/results/one_class.md)
TRIMMED = 0.25  # share of the micrographs that are left out of the fit because they are the most unlike
RANKED = 20  # micrographs; a p-value of fewer could not be below 0.05
_LEAST_CELLS = 4  # of a micrograph
_DIAGONAL = 0.1  # weight of the diagonal in the covariance of micrographs
_CELLS = 0.01  # weight of the covariance within micrographs: the mean of 100 cells is uncertain by that much
_NEIGHBOURS = 3  # cells: side of the square around a cell that its distance is measured on
_ROUNDS = 4  # of trimming and fitting; usually two suffice
_SAME = 0.01  # relative difference of the sides of cells that can be compared
_TINY = 1e-6  # keeps the covariance of constant features invertible

Array = NDArray[np.float64]


@dataclasses.dataclass
class Moments:
    """Mean and covariance of the features of the cells of one micrograph."""

    mean: Array  # (features,)
    within: Array  # (features, features)


@dataclasses.dataclass
class Distribution:
    """The means of clean micrographs, and how they and their cells vary."""

    mean: Array  # (features,)
    between: Array  # (features, features): covariance of micrographs, shrunk
    within: Array  # (features, features): covariance of the cells of a micrograph

    @classmethod
    def of(cls, micrographs: Sequence[Moments]) -> Distribution:
        """Fit to micrographs."""
        means = np.stack([one.mean for one in micrographs])
        within = np.mean([one.within for one in micrographs], axis=0)
        between = np.atleast_2d(np.cov(means.T))
        between = (1 - _DIAGONAL) * between + _DIAGONAL * np.diag(np.diag(between)) + _CELLS * within
        between += np.diag(_TINY * np.diag(within) + _TINY**2)
        return cls(means.mean(axis=0), between, within)

    def of_micrograph(self, micrograph: Moments) -> float:
        """Return the distance of a micrograph."""
        return float(_distances(micrograph.mean[None] - self.mean, self.between)[0])

    def of_cells(self, values: NDArray[Any]) -> Array:
        """Return the distance of each cell (rows, columns) with its neighbours; NaN where its features are."""
        rows = _with_neighbours(values).reshape(-1, values.shape[-1]) - self.mean
        return _distances(rows, self.between + self.within / _NEIGHBOURS**2).reshape(values.shape[:-1])


def moments_of(values: NDArray[Any]) -> Optional[Moments]:
    """Return the moments of the cells (rows, columns, features) of a micrograph; None: too few are not border."""
    cells = values.reshape(-1, values.shape[-1]).astype(np.float64)
    cells = cells[np.isfinite(cells).all(axis=1)]
    if len(cells) < _LEAST_CELLS:
        return None
    return Moments(cells.mean(axis=0), np.atleast_2d(np.cov(cells.T)))


def fit_robustly(micrographs: Sequence[Moments]) -> Tuple[Distribution, List[int]]:
    """Fit to all but the most unlike quarter of micrographs; return the fit and the indices of those that it uses."""
    means = np.stack([one.mean for one in micrographs])
    number = len(means) - int(TRIMMED * len(means))
    centre = np.median(means, axis=0)
    spread = np.median(np.abs(means - centre), axis=0) + _TINY
    used = _closest(np.abs((means - centre) / spread).mean(axis=1), number)
    for _ in range(_ROUNDS):
        fit = Distribution.of([micrographs[index] for index in used])
        closest = _closest(np.array([fit.of_micrograph(one) for one in micrographs]), number)
        if closest == used:
            break
        used = closest
    return fit, used


def fit_one_class(features: Mapping[int, NDArray[Any]], sampling: float) -> Optional[OneClass]:
    """Fit to the features of micrographs; return None if there are fewer than ``FEWEST_CLEAN``.

    Parameters
    ----------
    features : mapping
        Features (rows, columns, features) of the cells of each micrograph, by id.
    sampling : float
        Å, side of a cell.
    """
    found = {key: moments_of(features[key]) for key in sorted(features)}
    known: Dict[int, Moments] = {key: one for key, one in found.items() if one is not None}
    if len(known) < FEWEST_CLEAN:
        return None
    ids, micrographs = list(known), list(known.values())
    fit, used = fit_robustly(micrographs)
    scores = []
    for index, one in enumerate(micrographs):
        others, _ = fit_robustly([*micrographs[:index], *micrographs[index + 1 :]])
        scores.append(others.of_micrograph(one))
    cells = np.concatenate([fit.of_cells(features[ids[index]]).ravel() for index in used])
    return OneClass(
        mean=_rounded(fit.mean),
        between=_rounded(fit.between[np.tril_indices(len(fit.mean))]),
        within=_rounded(fit.within[np.tril_indices(len(fit.mean))]),
        sampling=sampling,
        unit=_rounded(np.array([np.median(scores)]))[0],
        cell_unit=_rounded(np.array([np.nanmedian(cells)]))[0],
        micrographs=ids,
        scores=_rounded(np.array(scores)),
        fitted=[ids[index] for index in used],
    )


@dataclasses.dataclass
class Outlier:
    """How unlike clean micrographs one is."""

    number: float  # distance of the micrograph; 1 is typical
    p_value: Optional[float]  # share of clean micrographs that are at least as unlike; None: too few for a p-value
    cells: NDArray[np.float32]  # (rows, columns): distance of each cell; 1 is typical, 0 at the border
    deviations: Array  # (features,): of its mean features, in standard deviations of clean micrographs
    micrographs: int  # number of clean micrographs
    patchiness: Array  # (features,): standard deviation between its cells, relative to that of clean micrographs


def measure(record: OneClass, key: Optional[int], values: NDArray[Any], sampling: float) -> Optional[Outlier]:
    """Return how unlike the clean micrographs one is; None if it has other cells than they, or too few.

    Parameters
    ----------
    key : int, optional
        Id of the micrograph. If it is one of the clean ones, it is compared with the others only.
    values : numpy.ndarray, shape (rows, columns, features)
        The features of its cells.
    sampling : float
        Å, side of a cell.
    """
    moments = moments_of(values) if is_comparable(record, values, sampling) else None
    if moments is None:
        return None
    fit, scores = distribution_of(record), np.array(record.scores)
    if key in record.micrographs:
        index = record.micrographs.index(key)
        score, scores = float(scores[index]), np.delete(scores, index)
    else:
        score = fit.of_micrograph(moments)
    share = (1 + int((scores >= score).sum())) / (1 + len(scores))
    cells = np.nan_to_num(fit.of_cells(values) / max(record.cell_unit, _TINY)).astype(np.float32)
    return Outlier(
        number=score / max(record.unit, _TINY),
        p_value=share if len(record.scores) >= RANKED else None,
        cells=cells,
        deviations=(moments.mean - fit.mean) / np.sqrt(np.diag(fit.between)),
        micrographs=len(record.scores),
        patchiness=np.sqrt(np.diag(moments.within) / np.maximum(np.diag(fit.within), _TINY**2)),
    )


def is_comparable(record: OneClass, values: NDArray[Any], sampling: float) -> bool:
    """Return whether a micrograph has cells of the same size as the clean ones, with the same features."""
    return values.shape[-1] == len(record.mean) and abs(sampling / record.sampling - 1) <= _SAME


def distribution_of(record: OneClass) -> Distribution:
    """Return the distribution that a record describes."""
    return Distribution(np.array(record.mean), *(_square(half, record) for half in (record.between, record.within)))


def _square(half: Sequence[float], record: OneClass) -> Array:
    """Return the symmetric matrix whose lower triangle is stored."""
    rows, columns = np.tril_indices(len(record.mean))
    matrix = np.zeros((len(record.mean),) * 2)
    matrix[rows, columns] = matrix[columns, rows] = half
    return matrix


def _with_neighbours(values: NDArray[Any]) -> Array:
    """Return the mean features of each cell and its neighbours that are not border; NaN at the border."""
    inside = np.isfinite(values).all(axis=-1)
    size = (_NEIGHBOURS, _NEIGHBOURS)
    total = uniform_filter(np.where(inside[..., None], values, 0.0).astype(np.float64), (*size, 0), mode="constant")
    share = uniform_filter(inside.astype(np.float64), size, mode="constant")
    means: Array = total / np.maximum(share, _TINY)[..., None]
    means[~inside] = np.nan
    return means


def _distances(rows: Array, covariance: Array) -> Array:
    """Return the Mahalanobis distance of each row (n, features) from 0."""
    from scipy.linalg import solve_triangular  # loads slowly

    root = np.linalg.cholesky(covariance)
    distances: Array = np.linalg.norm(solve_triangular(root, rows.T, lower=True, check_finite=False), axis=0)
    return distances


def _closest(distances: Array, number: int) -> List[int]:
    return sorted(int(index) for index in np.argsort(distances, kind="stable")[:number])


def _rounded(values: Array) -> List[float]:
    """Return numbers of nine digits, which keep the journal small and are read back exactly."""
    return [float(f"{value:.9g}") for value in values.ravel()]
