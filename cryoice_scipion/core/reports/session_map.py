# SPDX-License-Identifier: GPL-3.0-or-later
"""The section of the report with the map of the session: similar micrographs are near each other."""

from __future__ import annotations

from typing import Any, Dict, List

from cryoice_scipion.core.images.palette import KEPT, NEUTRAL, REJECTED, grade_colour
from cryoice_scipion.core.results.micrograph_fields import in_words
from cryoice_scipion.core.results.run_sums import MicrographValues, RunSums
from cryoice_scipion.core.results.session_map import session_map

POINTS = 2000  # most that are drawn, so that the page stays small
_EDGE = 3.0  # of the 100 units of the picture


def session_map_of(sums: RunSums) -> Dict[str, Any]:
    """Return the points of the map in a square of 100 by 100 units; nothing if too few micrographs are measured."""
    found = session_map({key: one.deviations for key, one in sums.micrographs.items() if one.deviations})
    if not found.ids:
        return {}
    scaled = _EDGE + (100 - 2 * _EDGE) * found.scaled()
    step = -(-len(found.ids) // POINTS)
    points: List[Dict[str, Any]] = []
    for key, (x, y) in list(zip(found.ids, scaled))[::step]:
        one = sums.micrographs[key]
        near = ", ".join(sums.micrographs[other].stem for other in found.neighbours[key])
        words = f"{one.stem}: {in_words(one.shown)}. Most similar: {near}."
        points.append({"x": f"{x:.1f}", "y": f"{100 - y:.1f}", "colour": _colour(one), "words": words})
    legend = {_name(sums.micrographs[key]): _colour(sums.micrographs[key]) for key in found.ids}
    return {
        "points": points,
        "legend": sorted(legend.items()),
        "number": len(found.ids),
        "explained": f"{100 * found.explained:.0f}\u00a0%",
    }


def _name(one: MicrographValues) -> str:
    return one.grade or one.status


def _colour(one: MicrographValues) -> str:
    if one.grade:
        return grade_colour(one.grade)
    return {"accepted": KEPT, "discarded": REJECTED}.get(one.status, NEUTRAL)
