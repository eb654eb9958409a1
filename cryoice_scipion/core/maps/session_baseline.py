# SPDX-License-Identifier: GPL-3.0-or-later
"""The data-set reference (docs/explanation/sessions.md): how much a model's log-odds are off on this data set.

It depends on the first N micrographs by id and on nothing else: not on timing, batches, executors or kills.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Sequence

import numpy as np

from cryoice_scipion.core.config import ModelConfig
from cryoice_scipion.core.records import MapResult, Reference

PERCENTILE = 25  # over micrographs, of the median log-odds: robust to a data set that is mostly bad
MINIMUM = 3  # micrographs: never let one be its own only reference
BRIGHT = 0.25  # skewness above which a micrograph votes for bright particles (benchmarks/results/contrast_decision.md)
MAJORITY = 0.8  # share of the micrographs that must vote so before a data set is inverted


def first_mapped(ids: Sequence[int], mapped: Mapping[int, MapResult], number: int) -> Optional[List[int]]:
    """Return the first ``number`` of ``ids``, or all when they are fewer; None while one of these is not mapped.

    Parameters
    ----------
    ids : sequence of int
        All micrographs that are known and did not fail, sorted.
    mapped : mapping
        What is known about those that are mapped.
    """
    chosen = list(ids[:number])
    return chosen if all(key in mapped for key in chosen) else None


def vote(results: Sequence[MapResult], contrast: str) -> str:
    """Return "dark" or "bright": what was asked for, else dark unless the micrographs agree on bright."""
    if contrast != "auto":
        return contrast
    return "bright" if is_bright([result.skewness for result in results]) else "dark"


def has_contrast(mapped: MapResult, contrast: str) -> bool:
    """Return whether a micrograph was mapped with this contrast, "dark" or "bright"."""
    return mapped.inverted == (contrast == "bright")


def is_bright(skewness: Sequence[float]) -> bool:
    """Return whether a large majority of the micrographs says that particles are brighter than the ground.

    Fewer than ``MINIMUM`` micrographs are never taken for bright: one crystal with a bright fringe, on each of them,
    would be enough for a mistake.
    """
    votes = sum(value > BRIGHT for value in skewness)
    return len(skewness) >= MINIMUM and votes >= MAJORITY * len(skewness)


def freeze(chosen: Dict[int, MapResult], contrast: str, model: ModelConfig) -> Reference:
    """Return the reference over micrographs that were all mapped with ``contrast``.

    Parameters
    ----------
    model : ModelConfig
        Says what the same level is on the model's own held-out micrographs, where its log-odds are right.

    Notes
    -----
    Fewer than ``MINIMUM`` micrographs say nothing about a data set: the level is recorded, nothing is shifted.
    """
    medians = [
        result.median_logit
        for result in chosen.values()
        if result.median_logit is not None and np.isfinite(result.median_logit)
    ]
    session_logit = session_logit_of(medians) if medians else model.baseline_logit
    offset = offset_of(session_logit - model.baseline_logit, model.offset_limit) if len(medians) >= MINIMUM else 0.0
    return Reference(session_logit=session_logit, logit_offset=offset, contrast=contrast, micrographs=sorted(chosen))


def session_logit_of(medians: Sequence[float]) -> float:
    """Return the level of a data set: a low percentile over its micrographs of their median log-odds of BAD."""
    return float(np.percentile(medians, PERCENTILE))


def offset_of(excess: float, limit: float) -> float:
    """Return what is subtracted from the log-odds of a session whose level is ``excess`` above the model's own.

    Parameters
    ----------
    excess, limit : float
        Log-odds. The limit is the largest offset that clean sessions of unknown detectors were measured to need.

    Notes
    -----
    Beyond the limit nothing is subtracted: such a session is bad, or the model does not fit it, and subtracting would
    report a bad session as clean. Nothing is added to a session that looks cleaner than the model's own.
    """
    return excess if 0.0 < excess <= limit else 0.0


def is_unusual(session_logit: float, model: ModelConfig) -> bool:
    """Return whether a session looks worse to the model than clean and mixed sessions do, whatever the detector."""
    return session_logit - model.baseline_logit > model.offset_tolerance


def without(contrast: str) -> Reference:
    """Return what is used when no reference is wanted: no shift; contrast "auto" is dark."""
    return Reference(session_logit=0.0, logit_offset=0.0, contrast="dark" if contrast == "auto" else contrast)
