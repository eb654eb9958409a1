# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure and calibrate scores; BAD is the positive class throughout."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn import metrics as sk

from cryoice_scipion.core.evaluation.map_metrics import LEAST_CLEAN

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]
Weights = NDArray[Any]  # np.floating[Any] is not understood at run time before Python 3.9

CLEAN_LOST = 0.003  # share of clean area, on validation micrographs; on others, with outliers, it is about 1 %
OUTLIERS = 0.05  # share of the validation micrographs
COUNTS = ("good", "bad", "number")
_TEMPERATE = 0.25  # standard deviation of the prior of the logarithm of a temperature


def measure(p_bad: Scores, bad: Labels, threshold: float) -> Dict[str, float]:
    """Return AUC, AP, precision, recall, F1 (all for BAD), the false-positive rate, the ECE of P(BAD), and the counts.

    Parameters
    ----------
    p_bad : numpy.ndarray, shape (n,)
    bad : numpy.ndarray, bool, shape (n,)
    threshold : float
        On goodness, 1 - P(BAD): what is below it is predicted bad.
    """
    predicted = is_bad(p_bad, threshold)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(bad, predicted, average="binary", zero_division=0)
    both = bool(bad.any() and (~bad).any())
    return {
        "auc": float(sk.roc_auc_score(bad, p_bad)) if both else float("nan"),
        "ap": float(sk.average_precision_score(bad, p_bad)) if both else float("nan"),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "false_positive_rate": float(predicted[~bad].mean()) if (~bad).any() else float("nan"),
        "ece": expected_calibration_error(p_bad, bad),
        "good": float((~bad).sum()),
        "bad": float(bad.sum()),
    }


def in_words(measures: Mapping[str, float]) -> str:
    """Format the metrics of :func:`measure` as one line."""
    return ", ".join(f"{name} {shown(name, value, 3)}" for name, value in measures.items())


def shown(name: str, value: float, digits: int) -> str:
    """Format one metric as text; numbers of positions have no decimals."""
    return f"{value:.{0 if name in COUNTS else digits}f}"


def is_bad(p_bad: Scores, threshold: float) -> Labels:
    """Return which scores are predicted bad: goodness below the threshold, as in the screening."""
    predicted: Labels = 1.0 - p_bad < threshold
    return predicted


def expected_calibration_error(p_bad: Scores, bad: Labels, bins: int = 15) -> float:
    """Return the mean gap between P(BAD) and the share of bad in 15 bins (Guo et al. 2017, arXiv:1706.04599)."""
    bin_index = np.minimum((p_bad * bins).astype(int), bins - 1)
    gap = 0.0
    for index in np.unique(bin_index):
        rows = bin_index == index
        gap += rows.mean() * abs(float(p_bad[rows].mean()) - float(bad[rows].mean()))
    return float(gap)


def fit_temperature(odds_at: Callable[[float], Scores], bad: Labels, weights: Optional[Weights] = None) -> float:
    """Return the temperature T that makes sigmoid(odds_at(T)) most likely (Guo et al. 2017), within 0.2 to 10.

    Its logarithm has a Gaussian prior around 0. Otherwise, a model would become overconfident if all of few patches
    happen to be predicted correctly.

    Parameters
    ----------
    odds_at : callable
        Gives the log-odds of BAD, shape (n,), when the class logits are divided by a temperature.
    bad : numpy.ndarray, bool, shape (n,)
    weights : numpy.ndarray, shape (n,), optional
        Weight of each patch.
    """

    def loss(log_temperature: float) -> float:
        scaled = odds_at(float(np.exp(log_temperature)))
        losses = np.logaddexp(0.0, np.where(bad, -scaled, scaled))
        total = losses.sum() if weights is None else losses @ weights
        return float(total + 0.5 * (log_temperature / _TEMPERATE) ** 2)

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.2), np.log(10.0)), method="bounded").x))


def recommend_threshold(p_bad: Scores, bad: Labels, weights: Optional[Weights] = None, preferred: float = 0.5) -> float:
    """Return the threshold on goodness that maximises recall of BAD minus GOOD lost (Youden 1950).

    With few BAD patches, the best threshold depends on a single one of them. Among the thresholds within one standard
    error of the best (Breiman et al. 1984; proportions with the plus-four correction of Agresti & Coull 1998), the one
    nearest to the preferred threshold is therefore taken.

    Parameters
    ----------
    p_bad : numpy.ndarray, shape (n,)
    bad : numpy.ndarray, bool, shape (n,)
    weights : numpy.ndarray, shape (n,), optional
        Weight of each patch.
    preferred : float
        0.5 is right for calibrated probabilities.
    """
    goodness, counts = 1.0 - p_bad, np.ones(len(bad)) if weights is None else weights.astype(np.float64)
    values = np.unique(goodness)
    if len(values) < 2:
        return preferred
    cuts = np.unique(np.append((values[1:] + values[:-1]) / 2.0, preferred))
    recall, lost = (_share_below(goodness[part], counts[part], cuts) for part in (bad, ~bad))
    youden = recall - lost
    best = int(youden.argmax())
    error = np.hypot(_standard_error(recall[best], counts[bad].sum()), _standard_error(lost[best], counts[~bad].sum()))
    near = cuts[youden >= youden[best] - error]
    return float(np.clip(near[np.abs(near - preferred).argmin()], 0.01, 0.99))


def _share_below(values: Scores, counts: Weights, cuts: Scores) -> Scores:
    """Return the weighted share of the values below each cut; 0 without values."""
    order = np.argsort(values)
    below = np.append(0.0, np.cumsum(counts[order]))
    shares: Scores = below[np.searchsorted(values[order], cuts)] / max(below[-1], 1e-12)
    return shares


def threshold_for_clean_area(micrographs: Sequence[Tuple[Scores, Labels]]) -> float:
    """Return the threshold on goodness nearest to 0.5 that predicts at most ``CLEAN_LOST`` of clean area bad.

    This is for maps, because most of the area of most micrographs is clean. Youden's point weights both kinds of error
    equally and loses ten times as much clean area.

    Parameters
    ----------
    micrographs : sequence of (ndarray, ndarray)
        P(BAD) of the cells of each, and which of them are bad. Micrographs with little clean area are left out. So is
        the share ``OUTLIERS`` of micrographs that lose most: a model that is wrong on them is so at any threshold.
    """
    cuts = np.linspace(0.5, 0.01, 491)
    scores = [np.sort(p_bad[~bad]) for p_bad, bad in micrographs if (~bad).sum() > LEAST_CLEAN * len(bad)]
    if not scores:
        return 0.5
    lost = np.stack([1.0 - np.searchsorted(values, 1.0 - cuts, side="right") / len(values) for values in scores])
    kept = np.sort(lost, axis=0)[: max(1, int(len(lost) * (1 - OUTLIERS)))]
    fit = cuts[kept.mean(axis=0) <= CLEAN_LOST]
    return float(fit[0]) if len(fit) else 0.01


def _standard_error(share: float, number: float) -> float:
    corrected = (share * number + 2.0) / (number + 4.0)
    return float(np.sqrt(corrected * (1.0 - corrected) / (number + 4.0)))
