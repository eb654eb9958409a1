# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell the class of a proposal and its expected overlap with a whole region, and learn from few labelled ones.

Two heads read the numbers of a proposal (``embedding.NAMES``). The first is a linear discriminant: each class has a
centre, and all share one covariance. The second is a logistic model of the IoU with the best true region. Labels move
or add centres, and move the weights of the second head; the numbers and their scale stay as they are.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp, softmax

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.config import Settings

DEFAULT = Path(__file__).with_name("heads.json")
PRIOR = 5.0  # labelled proposals that count as much as the centre of a known class
NEW_PRIOR = 3.0  # the same for a new class, whose centre is first that of all bad classes
NEW = 0.02  # prior probability of a class that only labels know
FIRM = 100.0  # how firmly the weights of the second head stay as they were fitted
WHOLE = 8.0  # how much the logarithm of the expected IoU counts in a rank, beside the log-odds of the class
_STEPS, _SMALL = 30, 1e-4  # of Newton's method

Array = NDArray[np.float64]


class HeadModel(Settings):
    """Coefficients of the shipped heads, as ``heads.json`` holds them."""

    names: List[str]  # of the numbers, in order
    mean: List[float]
    scale: List[float]
    classes: List[str]  # the first is "good"
    centres: List[List[float]]  # (classes, numbers), standardised
    precision: List[List[float]]  # (numbers, numbers): inverse of the covariance that the classes share
    priors: List[float]  # logarithms, of each class
    temperature: float  # of P(class)
    overlap: List[float]  # weights of the logit of the expected IoU
    overlap_bias: float


@dataclasses.dataclass
class Heads:
    """The two heads, with what labels have taught."""

    model: HeadModel
    centres: Dict[str, Array]  # by class
    priors: Dict[str, float]  # logarithms
    weights: Array  # of the logit of the expected IoU; the last one is the bias

    @classmethod
    def of(cls, model: HeadModel) -> Heads:
        """Return heads without labels."""
        centres = dict(zip(model.classes, np.array(model.centres)))
        return cls(model, centres, dict(zip(model.classes, model.priors)), np.append(model.overlap, model.overlap_bias))

    @property
    def classes(self) -> List[str]:
        """Return the classes: "good", the known bad ones, then those that only labels know."""
        return list(self.centres)

    def taught(self, numbers: Array, labels: Sequence[str], parts: Array, iou: Array) -> Heads:
        """Return heads that have learned from labels.

        Parameters
        ----------
        numbers, labels : numpy.ndarray, shape (n, numbers); sequence of str
            Labelled proposals and their classes. A class moves towards them.
        parts, iou : numpy.ndarray, shape (m, numbers); shape (m,)
            Proposals that overlap with labelled regions, and their IoU.
        """
        rows, names = self._standardised(numbers), np.array(labels)
        centres, priors = dict(self.centres), dict(self.priors)
        bad = np.mean([centre for name, centre in self.centres.items() if name != GOOD], axis=0)
        for name in sorted(set(labels)):
            own = rows[names == name]
            before, firm = (centres[name], PRIOR) if name in centres else (bad, NEW_PRIOR)
            centres[name] = (firm * before + own.sum(axis=0)) / (firm + len(own))
            priors.setdefault(name, float(np.log(NEW)))
        return Heads(self.model, centres, priors, _moved(self.weights, self._with_one(parts), iou))

    def classify(self, numbers: Array) -> Array:
        """Return P(class), shape (n, classes), in the order of ``classes``."""
        probabilities: Array = softmax(self._log_odds(numbers) / self.model.temperature, axis=1)
        return probabilities

    def expected_overlap(self, numbers: Array) -> Array:
        """Return the expected IoU of each proposal with a whole region, shape (n,)."""
        values: Array = expit(self._with_one(numbers) @ self.weights)
        return values

    def rank(self, numbers: Array, name: str) -> Array:
        """Return what proposals are ranked by in a search for a class, shape (n,).

        It is the log-odds of the class against all others, and ``WHOLE`` times the logarithm of the expected IoU.
        """
        table = self._log_odds(numbers)
        index = self.classes.index(name)
        odds = table[:, index] - logsumexp(np.delete(table, index, axis=1), axis=1)
        ranks: Array = odds + WHOLE * np.log(self.expected_overlap(numbers))
        return ranks

    def _log_odds(self, numbers: Array) -> Array:
        rows, precision = self._standardised(numbers), np.array(self.model.precision)
        columns = []
        for name, centre in self.centres.items():
            away = rows - centre
            distance = ((away @ precision) * away).sum(axis=1)
            columns.append(self.priors[name] - 0.5 * distance)
        return np.stack(columns, axis=1)

    def _standardised(self, numbers: Array) -> Array:
        rows: Array = (numbers - np.array(self.model.mean)) / np.array(self.model.scale)
        return rows

    def _with_one(self, numbers: Array) -> Array:
        rows = self._standardised(numbers)
        return np.hstack([rows, np.ones((len(rows), 1))])


def _moved(weights: Array, rows: Array, iou: Array) -> Array:
    """Return weights of a logistic model that fit the IoU better and stay near the given ones."""
    moved = weights.copy()
    for _ in range(_STEPS):
        expected = expit(rows @ moved)
        slope = rows.T @ (expected - iou) + FIRM * (moved - weights)
        curvature = (rows.T * (expected * (1 - expected))) @ rows + FIRM * np.eye(len(moved))
        step = np.linalg.solve(curvature, slope)
        moved = moved - step
        if np.abs(step).max() < _SMALL:
            break
    return moved


def distinct(scores: Array, alike: Array, most: float = 0.3) -> List[int]:
    """Return the indices of proposals, best score first, without those that overlap with a better one.

    Parameters
    ----------
    alike : numpy.ndarray, shape (n, n)
        IoU of the proposals with each other.
    most : float
        IoU that is allowed.
    """
    kept: List[int] = []
    left = np.ones(len(scores), dtype=bool)
    for index in np.argsort(-scores, kind="stable"):
        if left[index]:
            kept.append(int(index))
            left &= alike[index] <= most
    return kept


@functools.lru_cache(maxsize=1)
def default_heads() -> Heads:
    """Return the shipped heads."""
    return Heads.of(HeadModel.model_validate(json.loads(DEFAULT.read_text(encoding="utf-8"))))
