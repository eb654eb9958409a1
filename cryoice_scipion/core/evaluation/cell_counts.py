# SPDX-License-Identifier: GPL-3.0-or-later
"""Histograms of the scores of one evaluated map, by class. All metrics are computed from these.

Keeping counts, not cells, bounds the memory whatever the number of micrographs, and makes the bootstrap over
micrographs a product of a matrix of weights with a matrix of counts.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Optional

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.constants import CLASSES, GOOD
from cryoice_scipion.core.evaluation.labels import LEFT_OUT, Codes

BINS = 4096  # of squashed scores: AUC is exact to about 1e-4
ECE_BINS = 15  # as for patches
CLEAN = CLASSES.index(GOOD)

Counts = NDArray[np.int64]
Values = NDArray[Any]


@dataclasses.dataclass
class CellCounts:
    """Counts of one micrograph's evaluated cells, by the class that the labels give them."""

    name: str
    scores: Dict[int, Counts]  # class code: histogram of scores, shape (BINS,)
    predicted_bad: Optional[Dict[int, int]] = None  # class code: cells predicted bad; None: there is no threshold
    calibration: Optional[NDArray[np.float64]] = None  # (3, ECE_BINS): cells, sum of P(BAD), bad cells

    @property
    def clean(self) -> int:
        """Return the number of evaluated clean cells."""
        return self.cells(CLEAN)

    @property
    def bad(self) -> int:
        """Return the number of evaluated bad cells."""
        return sum(self.cells(code) for code in self.scores if code != CLEAN)

    def cells(self, code: int) -> int:
        """Return the number of evaluated cells of a class."""
        return int(self.scores[code].sum()) if code in self.scores else 0

    def histogram(self, code: Optional[int]) -> Counts:
        """Return the histogram of a class, or (None) of all bad classes together."""
        if code is not None:
            return self.scores.get(code, np.zeros(BINS, dtype=np.int64))
        bad = [counts for other, counts in self.scores.items() if other != CLEAN]
        return np.sum(bad, axis=0) if bad else np.zeros(BINS, dtype=np.int64)


def bins_of(scores: Values) -> NDArray[np.intp]:
    """Return the bin of each score: any real number, squashed by s / (1 + |s|), which keeps the order."""
    values = np.nan_to_num(np.asarray(scores, dtype=np.float64), nan=0.0, posinf=1e9, neginf=-1e9)
    squashed = values / (1.0 + np.abs(values))
    return np.clip(((squashed + 1.0) / 2.0 * BINS).astype(np.intp), 0, BINS - 1)


def count_cells(
    name: str,
    labels: Codes,
    scores: Values,
    predicted_bad: Optional[Values] = None,
    p_bad: Optional[Values] = None,
    left_out: Optional[Values] = None,
) -> CellCounts:
    """Count the cells of one micrograph.

    Parameters
    ----------
    name : str
        Of the micrograph.
    labels : numpy.ndarray, uint8
        Indices into ``CLASSES``, or ``LEFT_OUT``.
    scores : numpy.ndarray, same shape
        Higher is worse; log-odds of BAD, or the score of a classical map in units of about its own spread.
    predicted_bad : numpy.ndarray of bool, same shape, optional
        Cells predicted bad at the threshold.
    p_bad : numpy.ndarray, same shape, optional
        P(BAD), for its calibration.
    left_out : numpy.ndarray of bool, same shape, optional
        Cells that the map itself does not classify (border).
    """
    evaluated = labels != LEFT_OUT
    if left_out is not None:
        evaluated &= ~left_out
    codes, bins = labels[evaluated], bins_of(scores[evaluated])
    found = [int(code) for code in np.unique(codes)]
    histograms = {code: np.bincount(bins[codes == code], minlength=BINS).astype(np.int64) for code in found}
    counted = (
        {code: int(predicted_bad[evaluated][codes == code].sum()) for code in found}
        if predicted_bad is not None
        else None
    )
    calibration = _calibration(p_bad[evaluated], codes != CLEAN) if p_bad is not None else None
    return CellCounts(name, histograms, counted, calibration)


def _calibration(p_bad: Values, bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return cells, sum of P(BAD) and number of bad cells in equal bins of P(BAD)."""
    values = p_bad.astype(np.float64)
    bin_index = np.minimum((values * ECE_BINS).astype(np.intp), ECE_BINS - 1)
    return np.stack([np.bincount(bin_index, weights, ECE_BINS) for weights in (np.ones_like(values), values, bad)])
