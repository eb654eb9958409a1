# SPDX-License-Identifier: GPL-3.0-or-later
"""Grade micrographs by a multinomial logistic model of the evidence. No torch."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import List, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from cryoice_scipion.constants import GRADES
from cryoice_scipion.core.config import Settings
from cryoice_scipion.core.grades.evidence import MAP, SESSION
from cryoice_scipion.core.grades.grade import Grade, graded
from cryoice_scipion.core.grades.reasons import reason_of

NAMES = (*MAP, *SESSION)
DEFAULT = Path(__file__).with_name("default.json")
_DIGITS = 5


class LogisticModel(Settings):
    """Coefficients of the shipped grader, as ``default.json`` holds them."""

    names: List[str]  # of the evidence, in order
    mean: List[float]  # of the evidence
    scale: List[float]
    weights: List[List[float]]  # (grades, evidence + 1): the last is added if the session is not known
    bias: List[float]  # of each grade


def row_of(
    evidence: Mapping[str, float], names: Sequence[str], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return standardised evidence in the order of ``names``, 0 where it is not known; then 1 without a session."""
    values = np.array([evidence.get(name, np.nan) for name in names])
    return np.concatenate([np.nan_to_num((values - mean) / scale), [float(SESSION[0] not in evidence)]])


class LogisticGrader:
    """Grades by weighted sums of standardised evidence."""

    def __init__(self, model: LogisticModel) -> None:
        """Take the coefficients."""
        self._names, self._mean, self._scale = model.names, np.array(model.mean), np.array(model.scale)
        self._weights, self._bias = np.array(model.weights), np.array(model.bias)

    def grade(self, evidence: Mapping[str, float], shares: Mapping[str, float], miss_cost: float) -> Grade:
        """Return the grade of a micrograph.

        Parameters
        ----------
        evidence, shares : mapping
            From ``evidence_of`` and ``shares_of``.
        miss_cost : float
            See :func:`~cryoice_scipion.core.grades.grade.decide`.
        """
        row = row_of(evidence, self._names, self._mean, self._scale)
        values = softmax(self._weights @ row + self._bias)
        probabilities = {name: round(float(value), _DIGITS) for name, value in zip(GRADES, values)}

        def why(name: str) -> str:
            weights = self._weights[GRADES.index(name)] - self._weights.mean(axis=0)
            known = [index for index, one in enumerate(self._names) if one in evidence]
            weighed, standardised = (
                {self._names[index]: float(some[index]) for index in known} for some in (weights * row, row)
            )
            return reason_of(name, weighed, standardised, shares)

        return graded(probabilities, miss_cost, why)


@functools.lru_cache(maxsize=1)
def default_grader() -> LogisticGrader:
    """Return the shipped grader."""
    return LogisticGrader(LogisticModel.model_validate(json.loads(DEFAULT.read_text(encoding="utf-8"))))
