# SPDX-License-Identifier: GPL-3.0-or-later
"""The section of the report about grades: a bar of their counts, and a table of micrographs."""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, List, Sequence

from cryoice_scipion.constants import ALL_GRADES
from cryoice_scipion.core.images.palette import grade_colour
from cryoice_scipion.core.results.micrograph_fields import percent
from cryoice_scipion.core.results.run_sums import MicrographValues, RunSums

ROWS = 200  # of each grade, so that the page stays small


def grades_of(sums: RunSums, rejected: Sequence[str] = ()) -> Dict[str, Any]:
    """Return the bar and the table of the graded micrographs; nothing if none is graded.

    The table has the first micrographs of each grade, in the order of their ids.

    Parameters
    ----------
    rejected : sequence of str
        The grades that are rejected.
    """
    total = sum(sums.grades.values())
    if not total:
        return {}
    bar: List[Dict[str, Any]] = []
    for name in ALL_GRADES:
        count = sums.grades[name]
        if count:
            start, width = sum(part["width"] for part in bar), 100 * count / total
            words = f"{name} {count:,} ({percent(count / total)})"
            bar.append({"name": name, "colour": grade_colour(name), "start": start, "width": width, "words": words})
    rows, seen = [], Counter()  # type: List[Dict[str, Any]], Counter[str]
    for key in sorted(sums.micrographs):
        one = sums.micrographs[key]
        seen[one.grade] += 1
        if one.grade and seen[one.grade] <= ROWS:
            rows.append(_row(one))
    return {"bar": bar, "rows": rows, "left_out": total - len(rows), "most": ROWS, "rejected": ", ".join(rejected)}


def _row(one: MicrographValues) -> Dict[str, Any]:
    """Return a table row; ``rank`` is the position of the grade in the order of grades."""
    confidence = 0.0 if one.grade_confidence is None else one.grade_confidence
    return {
        "stem": one.stem,
        "grade": one.grade,
        "rank": ALL_GRADES.index(one.grade),
        "colour": grade_colour(one.grade),
        "confidence": f"{confidence:.2f}",
        "bad_area": "" if one.bad_area is None else percent(one.bad_area),
        "status": one.status,
        "reason": one.grade_reason,
    }
