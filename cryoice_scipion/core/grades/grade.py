# SPDX-License-Identifier: GPL-3.0-or-later
"""The grade of a micrograph: how grades are decided from their probabilities, and which micrographs are bad."""

from __future__ import annotations

import dataclasses
from typing import Callable, Dict, Mapping

from cryoice_scipion.constants import (
    DECENT,
    GOOD_GRADES,
    GRADE_OF_CLASS,
    GRADES,
    GREAT,
    UNSURE,
)
from cryoice_scipion.core.grades.reasons import unsure_reason

UNSURE_BELOW = 0.5  # probability of the likeliest grade
GREAT_BELOW, BAD_FROM = 0.05, 0.3  # share of bad area


@dataclasses.dataclass(frozen=True)
class Grade:
    """The grade of one micrograph."""

    name: str  # one of GRADES, or UNSURE
    confidence: float  # probability of the grade; of the likeliest grade if it is UNSURE
    reason: str  # one sentence
    probabilities: Dict[str, float]  # of each of GRADES


def grade_of_areas(areas: Mapping[str, float]) -> str:
    """Return the grade that the true areas of the classes mean.

    Below 5 % of bad area a micrograph is great, below 30 % decent. Otherwise the largest part of the bad area decides.

    Parameters
    ----------
    areas : mapping
        Share of the area inside the border, by class.
    """
    shares = dict.fromkeys(GRADES, 0.0)
    for name, grade in GRADE_OF_CLASS.items():
        shares[grade] += areas.get(name, 0.0)
    bad = sum(shares.values())
    if bad < BAD_FROM:
        return GREAT if bad < GREAT_BELOW else DECENT
    return max(shares, key=lambda name: shares[name])


def bad_probability(probabilities: Mapping[str, float]) -> float:
    """Return the probability that a micrograph is bad: neither great nor decent."""
    return sum(value for name, value in probabilities.items() if name not in GOOD_GRADES)


def decide(probabilities: Mapping[str, float], miss_cost: float) -> str:
    """Return the grade: the likeliest of the good or of the bad ones, or UNSURE.

    A micrograph is bad if letting it pass costs more, on average, than losing it (Elkan 2001): if P(bad) is above
    1 / (1 + ``miss_cost``). It is unsure if no grade is as likely as ``UNSURE_BELOW``.

    Parameters
    ----------
    probabilities : mapping
        Of each of GRADES; their sum is 1.
    miss_cost : float
        Cost of a bad micrograph that passes, in units of the cost of a good one that is lost.
    """
    is_bad = bad_probability(probabilities) * (1 + miss_cost) > 1
    side = {name: value for name, value in probabilities.items() if (name not in GOOD_GRADES) == is_bad}
    name = max(side, key=lambda one: side[one])
    return name if max(probabilities.values()) >= UNSURE_BELOW else UNSURE


def graded(probabilities: Dict[str, float], miss_cost: float, why: Callable[[str], str]) -> Grade:
    """Return the grade that probabilities mean; see :func:`decide`.

    Parameters
    ----------
    why : callable
        Returns the reason for a grade; not called for UNSURE.
    """
    name = decide(probabilities, miss_cost)
    if name == UNSURE:
        return Grade(name, max(probabilities.values()), unsure_reason(probabilities), probabilities)
    return Grade(name, probabilities[name], why(name), probabilities)
