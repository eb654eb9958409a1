# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute how likely the class of a region is right. No torch.

A logistic model of the evidence, with weights for each class, gives a score. A monotonic curve, fitted to regions that
the model was not fitted to, turns the score into a probability (isotonic regression; Zadrozny and Elkan 2002, doi
10.1145/775047.775151).
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import List, Sequence

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.core.config import Settings

DEFAULT = Path(__file__).with_name("default.json")
UNCERTAIN_BELOW = 0.5  # confidence


class ConfidenceModel(Settings):
    """Coefficients of the shipped model, as ``default.json`` holds them."""

    names: List[str]  # of the evidence, in order
    classes: List[str]
    mean: List[float]  # of the evidence
    scale: List[float]
    weights: List[List[float]]  # (classes, evidence); a class that is not here has their mean
    bias: List[float]  # of each class
    scores: List[float]  # weighted sums, ascending, and what they mean
    confidences: List[float]

    def scores_of(self, evidence: NDArray[np.float64], classes: Sequence[str]) -> NDArray[np.float64]:
        """Return the weighted sum of the evidence (regions, evidence) of each region; its class has the weights."""
        weights, bias = np.array(self.weights), np.array(self.bias)
        weights, bias = np.vstack([weights, weights.mean(axis=0)]), np.append(bias, bias.mean())
        index = [self.classes.index(name) if name in self.classes else len(self.classes) for name in classes]
        rows = (evidence - np.array(self.mean)) / np.array(self.scale)
        scores: NDArray[np.float64] = (rows * weights[index]).sum(axis=1) + bias[index]
        return scores

    def confidences_of(self, evidence: NDArray[np.float64], classes: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability that the class of each region is right."""
        return np.interp(self.scores_of(evidence, classes), self.scores, self.confidences)


@functools.lru_cache(maxsize=1)
def default_confidence() -> ConfidenceModel:
    """Return the shipped model."""
    return ConfidenceModel.model_validate(json.loads(DEFAULT.read_text(encoding="utf-8")))
