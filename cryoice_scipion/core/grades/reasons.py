# SPDX-License-Identifier: GPL-3.0-or-later
"""Say in one sentence why a micrograph has its grade: the evidence that counts most for it."""

from __future__ import annotations

from typing import Dict, List, Mapping, Tuple

from cryoice_scipion.constants import DECENT, GOOD_GRADES, GRADE_OF_CLASS, GREAT

_MENTIONED = 2  # pieces of evidence
_COUNTS = 0.3  # logits: evidence that adds less is not mentioned
_SHOWN = 0.005  # share of the area
_CLASSES = {
    "crystalline": "crystalline ice",
    "contamination": "contamination",
    "thick": "thick ice",
    "support": "film",
    "aggregate": "aggregates",
    "vacuum": "no ice",
}
#: What a piece of evidence means if it is low, and if it is high; empty: nothing that explains a bad grade.
_MEANINGS: Dict[str, Tuple[str, str]] = {
    "odds_low": ("", "P(BAD) raised even in the best places"),
    "odds_middle": ("", "P(BAD) raised in most places"),
    "odds_high": ("", "P(BAD) high in some places"),
    "outlier": ("", "unlike its session"),
    "brightness": ("darker than its session", "brighter than its session"),
    "variance": ("less contrast than its session", "more contrast than its session"),
    **dict.fromkeys(("power_1", "power_2"), ("less coarse structure than its session", "more coarse structure")),
    **dict.fromkeys(("power_4", "power_5"), ("less fine structure than its session", "more fine structure")),
    "patchy_brightness": ("evenly bright", "unevenly bright"),
    "patchy_variance": ("even contrast", "uneven contrast"),
    "cells_middle": ("", "unlike its session in most places"),
    "cells_high": ("", "unlike its session in some places"),
}


def reason_of(
    grade: str, weighed: Mapping[str, float], standardised: Mapping[str, float], shares: Mapping[str, float]
) -> str:
    """Return why a micrograph has a grade.

    Parameters
    ----------
    grade : str
        One of ``constants.GRADES``.
    weighed : mapping
        What each known piece of evidence adds to the logit of this grade.
    standardised : mapping
        The evidence, in standard deviations from its mean over the micrographs that the grader was fitted to.
    shares : mapping
        Expected share of the area by class.
    """
    # A bad grade has the areas of its own classes as reason: vacuum is none for "film".
    named = [item for item in shares.items() if grade in (*GOOD_GRADES, GRADE_OF_CLASS[item[0]])]
    found = sorted(named, key=lambda item: -item[1])
    areas = [f"{_CLASSES[name]} on {100 * share:.0f} %" for name, share in found if share >= _SHOWN][:_MENTIONED]
    if grade == GREAT:
        return _sentence(areas or ["no bad area"])
    if grade == DECENT and areas:
        return _sentence(areas)
    strongest = sorted((name for name in weighed if weighed[name] >= _COUNTS), key=lambda name: -weighed[name])
    meanings = [_MEANINGS[name][standardised[name] > 0] for name in strongest if name in _MEANINGS]
    other = list(dict.fromkeys(meaning for meaning in meanings if meaning))[:_MENTIONED]
    return _sentence([*areas[:1], *other] or ["no single reason"])


def unsure_reason(probabilities: Mapping[str, float]) -> str:
    """Return between which grades the decision is."""
    first, second = sorted(probabilities.items(), key=lambda item: -item[1])[:2]
    return f"Between {first[0]} ({first[1]:.2f}) and {second[0]} ({second[1]:.2f})."


def _sentence(parts: List[str]) -> str:
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."
