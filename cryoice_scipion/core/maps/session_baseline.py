# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide the contrast of a session, and measure its baseline: the level of the model's log-odds on this data set.

It depends on the first N micrographs by id only: not on timing, batches, executors or kills. The method is described in
docs/explanation/sessions.md.
"""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Mapping, Optional, Sequence

import numpy as np

from cryoice_scipion.core.config import ModelConfig
from cryoice_scipion.core.records import MapResult, Reference

PERCENTILE = 25  # over micrographs, of the median log-odds: robust to a data set that is mostly bad
MINIMUM = 3  # micrographs; fewer do not represent a data set
BRIGHT = 0.25  # skewness above which a micrograph votes for bright particles (benchmarks/results/contrast_decision.md)
MAJORITY = 0.8  # share of the micrographs that must vote for bright before a data set is inverted


@dataclasses.dataclass(frozen=True)
class BaselineStep:
    """The next micrographs to map for the session reference, or the reference."""

    to_map: List[int]  # ids of the micrographs to map next
    contrast: str  # to map them with: "dark", "bright", or "auto" before the vote
    is_decided: bool = False  # whether enough micrographs are mapped, so that ``contrast`` is final for them
    reference: Optional[Reference] = None  # None while some micrographs are still to be mapped


class SessionBaseline:
    """Choose the micrographs that count, decide the contrast, and freeze the reference over them.

    Call :meth:`step` and map the micrographs that it names, until it returns the reference.
    """

    def __init__(self, number: int, contrast: str, model: ModelConfig) -> None:
        """Take the settings.

        Parameters
        ----------
        number : int
            How many micrographs count; 0: nothing is measured or subtracted, and contrast "auto" is dark.
        contrast : str
            "dark", "bright", or "auto" for a vote.
        model : ModelConfig
            The model that maps the micrographs.
        """
        self.number, self.contrast, self.model = number, contrast, model

    def step(self, ids: Sequence[int], mapped: Mapping[int, MapResult], closed: bool = True) -> BaselineStep:
        """Return the micrographs to map next, or the reference if none is missing.

        Parameters
        ----------
        ids : sequence of int
            All micrographs that are known and did not fail, sorted.
        mapped : mapping
            The results of those that are mapped, by id.
        closed : bool
            Whether no further micrographs will come, so that fewer than ``number`` are enough.
        """
        if not self.number:
            contrast = "dark" if self.contrast == "auto" else self.contrast
            return BaselineStep([], contrast, True, Reference(0.0, 0.0, contrast))
        chosen = list(ids[: self.number])
        missing = [key for key in chosen if key not in mapped]
        if missing or not chosen or (len(chosen) < self.number and not closed):
            return BaselineStep(missing, self.contrast)
        results = {key: mapped[key] for key in chosen}
        contrast = vote(list(results.values()), self.contrast)
        wrong = [key for key, result in results.items() if not has_contrast(result, contrast)]
        return BaselineStep(wrong, contrast, True, None if wrong else freeze(results, contrast, self.model))


def vote(results: Sequence[MapResult], contrast: str) -> str:
    """Return the requested contrast; for "auto" dark, unless a large majority of the micrographs is bright."""
    if contrast != "auto":
        return contrast
    return "bright" if is_bright([result.skewness for result in results]) else "dark"


def has_contrast(mapped: MapResult, contrast: str) -> bool:
    """Return whether a micrograph was mapped with this contrast, "dark" or "bright"."""
    return mapped.inverted == (contrast == "bright")


def is_bright(skewness: Sequence[float]) -> bool:
    """Return whether a large majority of the micrographs has particles that are brighter than the ice.

    Fewer than ``MINIMUM`` micrographs are never bright: one crystal with a bright fringe on each of them would be
    enough for a mistake.
    """
    votes = sum(value > BRIGHT for value in skewness)
    return len(skewness) >= MINIMUM and votes >= MAJORITY * len(skewness)


def freeze(chosen: Dict[int, MapResult], contrast: str, model: ModelConfig) -> Reference:
    """Return the reference over micrographs that were all mapped with ``contrast``.

    Parameters
    ----------
    model : ModelConfig
        Holds the baseline of the micrographs that the model was validated on, where its log-odds are right.

    Notes
    -----
    With fewer than ``MINIMUM`` micrographs the baseline is recorded, and nothing is subtracted.
    """
    medians = [
        result.median_logit
        for result in chosen.values()
        if result.median_logit is not None and np.isfinite(result.median_logit)
    ]
    session_logit = session_logit_of(medians) if medians else model.baseline_logit
    offset = offset_of(excess_of(session_logit, model), model.offset_limit) if len(medians) >= MINIMUM else 0.0
    return Reference(session_logit=session_logit, logit_offset=offset, contrast=contrast, micrographs=sorted(chosen))


def session_logit_of(medians: Sequence[float]) -> float:
    """Return a data set's baseline: a low percentile over its micrographs of their median log-odds of BAD."""
    return float(np.percentile(medians, PERCENTILE))


def excess_of(session_logit: float, model: ModelConfig) -> float:
    """Return how far the baseline of a session is above that of the model, in log-odds."""
    return session_logit - model.baseline_logit


def offset_of(excess: float, limit: float) -> float:
    """Return the log-odds to subtract in a session whose baseline is ``excess`` above the model's own.

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
    """Return whether the baseline of a session is higher than that of any clean or mixed session."""
    return excess_of(session_logit, model) > model.offset_tolerance
