# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the measures of docs/accuracy.md from the cell counts of micrographs, with bootstrap intervals.

Percentile intervals (Efron & Tibshirani 1993, chapter 13): micrographs are drawn with replacement, since the cells of
one micrograph are not independent. The draws depend on the seed and the number of micrographs alone, so that two maps
of the same micrographs are compared on the same draws.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.constants import BORDER, CLASSES, GOOD
from cryoice_scipion.core.evaluation.cell_counts import CLEAN, CellCounts

DRAWS = 500
LEVEL = 95.0  # %, of intervals
LEAST_CLEAN = 0.05  # a micrograph's false-positive area counts if at least this share of its cells is clean
BAD_CLASSES = tuple(name for name in CLASSES if name not in (GOOD, BORDER))
ALL = "all"

Weights = NDArray[np.float64]
Row = Dict[str, Any]


@dataclasses.dataclass
class Estimate:
    """A metric and its interval; NaN where it is undefined."""

    value: float
    low: float
    high: float

    def to_json(self) -> Dict[str, Optional[float]]:
        """Return the three numbers, None where there is none."""
        return {name: _number(value) for name, value in dataclasses.asdict(self).items()}


def _number(value: float) -> Optional[float]:
    return round(float(value), 5) if np.isfinite(value) else None


def weights(number: int, seed: int = 0) -> Weights:
    """Return how often each micrograph is in each draw, shape (1 + DRAWS, number); the first row: each once."""
    rng = np.random.default_rng([seed, number])
    drawn = rng.multinomial(number, np.full(number, 1.0 / number), size=DRAWS) if number else np.zeros((DRAWS, 0))
    result: Weights = np.concatenate([np.ones((1, number)), drawn]).astype(np.float64)
    return result


def interval(values: NDArray[np.float64]) -> Estimate:
    """Return the metric (first value) with the interval of the draws (the other values); NaN draws are left out."""
    draws = values[1:][np.isfinite(values[1:])]
    tail = (100.0 - LEVEL) / 2.0
    low, high = np.percentile(draws, [tail, 100.0 - tail]) if draws.size else (np.nan, np.nan)
    return Estimate(float(values[0]), float(low), float(high))


def auc_draws(cell_counts: Sequence[CellCounts], name: str, drawn: Weights) -> NDArray[np.float64]:
    """Return the AUC of a bad class (or ``ALL`` of them) against clean, for each draw; equal scores count half."""
    code = None if name == ALL else CLASSES.index(name)
    if not cell_counts:
        return np.full(len(drawn), np.nan)
    bad = drawn @ np.stack([item.histogram(code) for item in cell_counts]).astype(np.float64)
    clean = drawn @ np.stack([item.histogram(CLEAN) for item in cell_counts]).astype(np.float64)
    below = np.cumsum(clean, axis=1) - clean / 2.0
    with np.errstate(invalid="ignore", divide="ignore"):
        value: NDArray[np.float64] = (bad * below).sum(axis=1) / (bad.sum(axis=1) * clean.sum(axis=1))
    return value


def auc(cell_counts: Sequence[CellCounts], name: str = ALL, seed: int = 0) -> Estimate:
    """Return the AUC over cells of a bad class, or of all of them, against clean."""
    return interval(auc_draws(cell_counts, name, weights(len(cell_counts), seed)))


def auc_difference(
    ours: Sequence[CellCounts], others: Sequence[CellCounts], name: str = ALL, seed: int = 0
) -> Estimate:
    """Return the AUC of one map minus that of another on the micrographs that both have, drawn together."""
    known = {item.name: item for item in others}
    both = [(item, known[item.name]) for item in ours if item.name in known]
    drawn = weights(len(both), seed)
    first, second = (auc_draws([pair[side] for pair in both], name, drawn) for side in (0, 1))
    return interval(first - second)


def by_class(cell_counts: Sequence[CellCounts], seed: int = 0) -> Dict[str, Row]:
    """Return, for all bad cells and for each class that is there: AUC, how many cells and micrographs, share found."""
    rows: Dict[str, Row] = {}
    for name in (ALL, *BAD_CLASSES):
        codes = [CLASSES.index(one) for one in (BAD_CLASSES if name == ALL else (name,))]
        counts = [sum(item.cells(code) for code in codes) for item in cell_counts]
        if not sum(counts):
            continue
        row: Row = {"cells": sum(counts), "micrographs": sum(count > 0 for count in counts)}
        row["auc"] = auc(cell_counts, name, seed).to_json()
        if all(item.predicted_bad is not None for item in cell_counts):
            found = sum((item.predicted_bad or {}).get(code, 0) for item in cell_counts for code in codes)
            row["found"] = _number(found / sum(counts))
        rows[name] = row
    return rows


def metrics_of_maps(cell_counts: Sequence[CellCounts], seed: int = 0) -> Row:
    """Return all metrics of one map over micrographs, as plain numbers for JSON.

    ``false_positive_area`` is the mean over micrographs that are clean by at least 5 %, with the worst one named;
    ``bad_area_error`` the mean over micrographs of |predicted bad share - bad share|; ``iou`` of all bad cells at
    the threshold; ``ece`` of P(BAD) over cells. Those that need a threshold or P(BAD) are there where these are.
    """
    result: Row = {
        "micrographs": len(cell_counts),
        "clean_cells": sum(item.clean for item in cell_counts),
        "bad_cells": sum(item.bad for item in cell_counts),
        "by_class": by_class(cell_counts, seed),
    }
    drawn = weights(len(cell_counts), seed)
    if cell_counts and all(item.predicted_bad is not None for item in cell_counts):
        shares = [shares_of(item) for item in cell_counts]
        result["iou"] = interval(_iou(cell_counts, drawn)).to_json()
        result["false_positive_area"] = _mean_and_worst(shares, "false_positive_area", drawn)
        result["bad_area_error"] = _mean_and_worst(shares, "bad_area_error", drawn)
    if cell_counts and all(item.calibration is not None for item in cell_counts):
        result["ece"] = interval(_ece(cell_counts, drawn)).to_json()
    return result


def shares_of(item: CellCounts) -> Row:
    """Return the shares of one micrograph; None where a share is undefined."""
    predicted_bad = item.predicted_bad or {}
    cells = item.clean + item.bad
    clean, found = predicted_bad.get(CLEAN, 0), sum(count for code, count in predicted_bad.items() if code != CLEAN)
    enough = item.clean > 0 and item.clean >= LEAST_CLEAN * cells
    return {
        "micrograph": item.name,
        "clean_cells": item.clean,
        "bad_cells": item.bad,
        "auc": auc_of_one(item),
        "false_positive_area": clean / item.clean if enough else None,
        "found": found / item.bad if item.bad else None,
        "bad_area": item.bad / cells if cells else None,
        "predicted_bad_area": (clean + found) / cells if cells else None,
        "bad_area_error": abs(clean + found - item.bad) / cells if cells else None,
    }


def auc_of_one(item: CellCounts) -> Optional[float]:
    """Return the AUC of all bad cells against the clean ones of one micrograph; None when it has only one kind."""
    return _number(float(auc_draws([item], ALL, np.ones((1, 1)))[0]))


def _mean_and_worst(shares: List[Row], key: str, drawn: Weights) -> Row:
    """Return the mean over micrographs with its interval, and the worst micrograph."""
    known = np.array([row[key] is not None for row in shares])
    values = np.array([row[key] or 0.0 for row in shares])
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (drawn @ values) / (drawn @ known.astype(np.float64))
    result: Row = dict(interval(means).to_json())
    result["micrographs"] = int(known.sum())
    if known.any():
        worst = int(np.where(known, values, -1.0).argmax())
        result["worst"], result["worst_micrograph"] = _number(values[worst]), shares[worst]["micrograph"]
    return result


def _iou(cell_counts: Sequence[CellCounts], drawn: Weights) -> NDArray[np.float64]:
    """Return the intersection over union of what is bad and what is predicted bad, for each draw."""
    hits = np.array([sum(n for code, n in (item.predicted_bad or {}).items() if code != CLEAN) for item in cell_counts])
    false = np.array([(item.predicted_bad or {}).get(CLEAN, 0) for item in cell_counts])
    bad = np.array([item.bad for item in cell_counts])
    with np.errstate(invalid="ignore", divide="ignore"):
        value: NDArray[np.float64] = (drawn @ hits) / (drawn @ (bad + false))
    return value


def _ece(cell_counts: Sequence[CellCounts], drawn: Weights) -> NDArray[np.float64]:
    """Return the expected calibration error (Guo et al. 2017, arXiv:1706.04599) over cells, for each draw."""
    counts = np.stack([item.calibration for item in cell_counts if item.calibration is not None])
    cells, sums, bad = np.moveaxis(np.tensordot(drawn, counts, axes=1), 1, 0)  # each (draws, bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        value: NDArray[np.float64] = np.abs(sums - bad).sum(axis=1) / cells.sum(axis=1)
    return value
