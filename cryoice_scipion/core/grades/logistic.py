# SPDX-License-Identifier: GPL-3.0-or-later
"""Grade micrographs by a multinomial logistic model of the evidence. No torch."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import List, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from cryoice_scipion.constants import GRADES, UNSURE
from cryoice_scipion.core.config import Settings
from cryoice_scipion.core.grades.evidence import MAP, POWER, SESSION
from cryoice_scipion.core.grades.grade import Grade, decide
from cryoice_scipion.core.grades.reasons import reason_of, unsure_reason

NAMES = (*MAP, *SESSION, *POWER)
#: Numbers that are missing together; the model has a term for each group that is missing.
GROUPS = (SESSION, POWER[6:9], POWER[9:])
DEFAULT = Path(__file__).with_name("default.json")
_DIGITS = 5


class LogisticModel(Settings):
    """Coefficients of the shipped grader, as ``default.json`` holds them."""

    names: List[str]  # of the evidence, in order
    mean: List[float]  # of the evidence
    scale: List[float]
    weights: List[List[float]]  # (grades, evidence + groups that are missing)
    bias: List[float]  # of each grade


def row_of(evidence: Mapping[str, float], mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return standardised evidence, 0 where it is not known, and for each of GROUPS whether it is missing."""
    values = np.array([evidence.get(name, np.nan) for name in NAMES])
    missing = [float(not any(name in evidence for name in group)) for group in GROUPS]
    return np.concatenate([np.nan_to_num((values - mean) / scale), missing])


class LogisticGrader:
    """Grades by weighted sums of standardised evidence."""

    def __init__(self, model: LogisticModel) -> None:
        """Take the coefficients."""
        self._mean, self._scale = np.array(model.mean), np.array(model.scale)
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
        row = row_of(evidence, self._mean, self._scale)
        values = softmax(self._weights @ row + self._bias)
        probabilities = {name: round(float(value), _DIGITS) for name, value in zip(GRADES, values)}
        name = decide(probabilities, miss_cost)
        if name == UNSURE:
            return Grade(name, max(probabilities.values()), unsure_reason(probabilities), probabilities)
        weights = self._weights[GRADES.index(name)] - self._weights.mean(axis=0)
        known = [index for index, one in enumerate(NAMES) if one in evidence]
        weighed, standardised = ({NAMES[index]: float(some[index]) for index in known} for some in (weights * row, row))
        return Grade(name, probabilities[name], reason_of(name, weighed, standardised, shares), probabilities)


@functools.lru_cache(maxsize=1)
def default_grader() -> LogisticGrader:
    """Return the shipped grader."""
    return LogisticGrader(LogisticModel.model_validate(json.loads(DEFAULT.read_text(encoding="utf-8"))))
