# SPDX-License-Identifier: GPL-3.0-or-later
"""Average precision and panoptic quality of regions, with intervals over sessions."""

from __future__ import annotations

import dataclasses
from typing import Callable, Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

MATCH = 0.5  # IoU of a found region with a true one of the same class

Numbers = NDArray[np.float64]


@dataclasses.dataclass
class Found:
    """The regions that a method finds on one micrograph."""

    labels: NDArray[np.int32]
    classes: List[str]
    scores: Numbers  # what they are ranked by
    counted: NDArray[np.bool_]  # whether panoptic quality counts them


@dataclasses.dataclass
class Matches:
    """Regions of one class over many micrographs, and whether each matches a true one."""

    session: NDArray[np.int64]
    score: Numbers
    iou: Numbers  # of the match; 0: none
    counted: NDArray[np.bool_]
    counted_iou: Numbers  # of the match among the counted ones
    true_session: NDArray[np.int64]  # session of each true region


def overlaps(labels: NDArray[np.int32], truth: NDArray[np.int32]) -> Numbers:
    """Return the IoU of each region (rows) with each true one (columns)."""
    n, m = int(labels.max(initial=0)), int(truth.max(initial=0))
    table = np.bincount((labels * (m + 1) + truth).ravel(), minlength=(n + 1) * (m + 1)).reshape(n + 1, m + 1)
    both = table[1:, 1:].astype(np.float64)
    union = table[1:].sum(axis=1)[:, None] + table[:, 1:].sum(axis=0)[None] - both
    return both / np.maximum(union, 1)


def match(found: Sequence[Found], truths: Sequence[object], sessions: Sequence[int], name: str) -> Matches:
    """Match the regions of a class, best score first; each true region is matched once."""
    columns: List[Tuple[int, float, float, bool, float]] = []
    true_session: List[int] = []
    for one, truth, session in zip(found, truths, sessions):
        true = [number for number, kind in truth.classes.items() if kind == name]  # type: ignore[attr-defined]
        true_session += [session] * len(true)
        mine = np.flatnonzero([kind == name for kind in one.classes])
        if not len(mine):
            continue
        table = overlaps(one.labels, truth.labels)[mine]  # type: ignore[attr-defined]
        table = table[:, [number - 1 for number in true]] if table.size else np.zeros((len(mine), 0))
        matched = _greedy(table, one.scores[mine])
        within = one.counted[mine]
        panoptic = _greedy(np.where(within[:, None], table, 0.0), one.scores[mine])
        columns += list(zip([session] * len(mine), one.scores[mine], matched, within, panoptic))
    arrays = list(zip(*columns)) if columns else [(), (), (), (), ()]
    return Matches(
        np.array(arrays[0], dtype=np.int64),
        np.array(arrays[1], dtype=np.float64),
        np.array(arrays[2], dtype=np.float64),
        np.array(arrays[3], dtype=bool),
        np.array(arrays[4], dtype=np.float64),
        np.array(true_session, dtype=np.int64),
    )


def _greedy(table: Numbers, scores: Numbers) -> Numbers:
    matched, left = np.zeros(len(table)), table.copy()
    for row in np.argsort(-scores, kind="stable"):
        if left.shape[1] and left[row].max() > MATCH:
            column = int(left[row].argmax())
            matched[row] = left[row, column]
            left[:, column] = 0
    return matched


def average_precision(hits: NDArray[np.bool_], scores: Numbers, true: int) -> float:
    """Return the area under precision (its upper envelope) over recall."""
    if not true:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hits[order])
    precision = right / np.arange(1, len(order) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits[order]].sum() / true)


def ap_of(matches: Matches, weights: NDArray[np.int64]) -> float:
    """Return AP50; ``weights`` says how often each session counts."""
    times = weights[matches.session]
    hits, scores = np.repeat(matches.iou > 0, times), np.repeat(matches.score, times)
    return average_precision(hits, scores, int(weights[matches.true_session].sum()))


def pq_of(matches: Matches, weights: NDArray[np.int64]) -> float:
    """Return the panoptic quality of the counted regions."""
    times = weights[matches.session] * matches.counted
    hit = matches.counted_iou > 0
    right, wrong = float(times[hit].sum()), float(times[~hit].sum())
    missed = float(weights[matches.true_session].sum()) - right
    total = right + 0.5 * wrong + 0.5 * missed
    return float((times * matches.counted_iou).sum() / total) if total else float("nan")


def paired_means(arrays: Sequence[NDArray[np.float64]]) -> Dict[str, List[float]]:
    """Return the means of two arrays, a value for each session in both, and their difference; see :func:`paired`."""
    values = [lambda times, one=one: float((times * one).sum() / times.sum()) for one in arrays]
    return paired(values, len(arrays[0]))


def paired(
    values: Sequence[Callable[[NDArray[np.int64]], float]], sessions: int, resampled: int = 1000
) -> Dict[str, List[float]]:
    """Return the values of two methods and their difference, each with a 95 % interval over resampled sessions."""
    rng = np.random.default_rng(0)
    everything = np.array([value(np.ones(sessions, dtype=np.int64)) for value in values])
    draws = [np.bincount(rng.integers(0, sessions, sessions), minlength=sessions) for _ in range(resampled)]
    table = np.array([[value(draw) for value in values] for draw in draws])
    rows = {"first": (everything[0], table[:, 0]), "second": (everything[1], table[:, 1])}
    rows["difference"] = (everything[1] - everything[0], table[:, 1] - table[:, 0])
    return {
        name: [round(float(v), 4) for v in (whole, *np.nanquantile(some, [0.025, 0.975]))]
        for name, (whole, some) in rows.items()
    }
