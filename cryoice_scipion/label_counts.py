# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the labels of each micrograph, and check that they suffice for a training. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Set, Tuple

import numpy as np

from cryoice_scipion import convert
from cryoice_scipion.constants import BAD, FEWEST_GRADED, FEWEST_LABELS, GOOD
from cryoice_scipion.core.errors import SettingsError, counted
from cryoice_scipion.core.evaluation.validation_draw import draw_validation
from cryoice_scipion.core.grades.table import match_grades, read_grades
from cryoice_scipion.core.images.naming import matches_name, stem_of
from cryoice_scipion.streams import CoordinateReader

_NAMED = 5  # micrographs that a message names


class LabelCounts(NamedTuple):
    """Numbers of labelled coordinates on a micrograph."""

    good: int
    bad: int
    both: int  # bad ones at the position of a good one


def labels_by_micrograph(good: Any, bad: Any) -> Dict[str, LabelCounts]:
    """Return the numbers of good and bad coordinates by the stem of their micrograph.

    Parameters
    ----------
    good, bad : pyworkflow.object.Pointer
        Point to the sets of coordinates.

    Raises
    ------
    CryoIceError
        If two micrographs have the same stem.
    """
    found: Dict[str, List[Set[Tuple[int, int]]]] = {
        stem_of(row.path): [set(), set()] for row, _ in convert.labelled_micrographs((good.get(), bad.get()))
    }
    for index, pointer in enumerate((good, bad)):
        stems = {row.id: stem_of(row.path) for row in convert.read_micrographs(pointer.get().getMicrographs())}
        for key, picks in CoordinateReader(pointer).look().items():
            if stems.get(key) in found:
                found[stems[key]][index].update(zip(picks[1::3], picks[2::3]))
    return {stem: LabelCounts(len(one), len(two), len(one & two)) for stem, (one, two) in sorted(found.items())}


def complaints(
    labels: Dict[str, LabelCounts], held_out: Sequence[str], validation: float, background: bool
) -> List[str]:
    """Return why coordinates do not suffice for a training; see :func:`draw_validation`.

    Parameters
    ----------
    background : bool
        Whether the background of each micrograph gives good examples too.
    """
    number, shared = sum(one.bad for one in labels.values()), sum(one.both for one in labels.values())
    if number and shared == number:
        return ["All bad coordinates are also good coordinates. Choose other sets."]
    if number < FEWEST_LABELS:
        given = counted(number, "bad coordinate is", "bad coordinates are")
        return [f"{given} too few. A training needs {FEWEST_LABELS} or more."]
    free = {stem: one for stem, one in labels.items() if stem not in held_out}
    counts = {stem: np.array([one.good + background, one.bad]) for stem, one in free.items()}
    try:
        draw_validation(list(free), counts, validation, np.random.default_rng(0))
    except SettingsError:
        told = "; ".join(f"{word} on {_where(free, word)}" for word in (GOOD, BAD))
        return [
            "A training needs good and bad coordinates on two or more micrographs that are not held out: one of them "
            f"is for validation. Now they are: {told}. Mark places on another micrograph, or hold out fewer."
        ]
    return []


def _where(labels: Dict[str, LabelCounts], label: str) -> str:
    """Return the micrographs with coordinates of a label, each with their number."""
    names = [f"{stem} ({getattr(one, label)})" for stem, one in labels.items() if getattr(one, label)]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more or "none"


def grades_by_micrograph(micrographs: Any, table: Path) -> Dict[str, str]:
    """Return the grades of the micrographs of a set by their stem, without those that the table does not name.

    Raises
    ------
    CryoIceError
        When the table cannot be read, lacks a column, or has an unknown grade, an ambiguous name, or several grades
        for one micrograph.
    """
    paths = {row.stem: row.path for row in convert.read_micrographs(micrographs)}
    return match_grades(read_grades(table), paths).grades


def grade_complaints(grades: Dict[str, str], held_out: Sequence[str]) -> List[str]:
    """Return why graded micrographs do not suffice for a training; ``held_out`` has names and patterns."""
    if not grades:
        return ["Table of grades: it names none of the micrographs. Check the column 'micrograph'."]
    absent = [name for name in held_out if not any(matches_name(stem, name) for stem in grades)]
    if absent:
        return [f"Held-out micrographs: no graded micrograph has the name {', '.join(absent)}."]
    free = sum(not any(matches_name(stem, name) for name in held_out) for stem in grades)
    if free < FEWEST_GRADED:
        remedy = "Hold out fewer." if free < len(grades) else "Grade more."
        given = counted(free, "graded micrograph is", "graded micrographs are")
        return [f"{given} too few. A training needs {FEWEST_GRADED} or more. {remedy}"]
    return []
