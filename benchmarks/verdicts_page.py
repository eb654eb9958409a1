# SPDX-License-Identifier: GPL-3.0-or-later
"""results/verdicts.md from results/verdicts.json: python benchmarks/verdicts_page.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]
from cryoice_scipion.core.evaluation import tables  # noqa: E402

Row = Dict[str, Any]
_INTRODUCTION = """# How good the verdicts are

Made by `benchmarks/verdicts.py`; the figures are in `benchmarks/results/verdicts.json`. Model `{model}`, thresholds on
goodness: {mask_threshold:g} for masks, {pick_threshold:g} for picks. Commit {commit}.
[Evaluation](evaluation.md) has the maps. [Scoring](../../docs/explanation/scoring.md) describes the rule for picks.

A pick is counted by the label under its centre: a class of bad area, the border, or clean. Clean picks with bad area
or border within 80 Å of the centre are counted apart. Picks on doubtful labels are left out. In brackets: 95 %
intervals by bootstrap over micrographs.
"""
CARD_TITLE = "## Verdicts on picks"


def page(result: Row) -> str:
    """Return the page."""
    parts = [_INTRODUCTION.format(commit=result["about"]["commit"], **result)]
    if "real" in result:
        parts.append(_real(result))
    parts.append(_simulated(result))
    parts.append(_sessions(result["sessions"], result))
    if "real_sessions" in result:
        parts.append(_real_sessions(result["real_sessions"]))
    return "\n".join(parts)


def _real(result: Row) -> str:
    now, before = result["real"]["now"], result["real"]["before"]
    merged = {
        kind: {**row, "removed": {"before": before[kind]["removed"][f"{result['mask_threshold']:g}"], **row["removed"]}}
        for kind, row in now.items()
    }
    names = ["before", *(f"{cut:g}" for cut in result["thresholds"])]
    head = ["under the centre", "picks", *names]
    body = [
        [kind, f"{row['picks']:,}", *(tables.with_interval(row["removed"][name], share=True) for name in names)]
        for kind, row in merged.items()
    ]
    margins = ", ".join(f"{row['kept']:,} with {row['margin']:g} Å" for row in result["real_margins"])
    return f"""## Picks on real micrographs

crYOLO, DeepPicker and Topaz on seven micrographs of EMPIAR-10017, labels by three annotators, box size 180 px
(particle diameter 212 Å). The model was trained on six of these micrographs, and the pick threshold was chosen on
these picks, so these figures are optimistic. Share of the picks removed at each threshold; "before" is the earlier
rule (mean of P(BAD) over the box) at its threshold, {result["mask_threshold"]:g}.

{tables.table(head, body)}

At {result["pick_threshold"]:g}, by distance:

{tables.distance_table(result["real_by_distance"])}

Of {result["real_margins"][0]["picks"]:,} picks inside the frame, these are kept with a margin: {margins}.
"""


def _simulated(result: Row) -> str:
    return f"""## Picks on simulated sessions

20 sessions of 4 micrographs of 0.9 to 5.2 Å/px, each session of another specimen and microscope, and none used to
choose the threshold. Picks are isolated particles, what a blob picker takes on bad areas, and 60 random positions on
each micrograph.

{tables.pick_table(result["simulated"]["test"], result["thresholds"])}

The aim of at most 0.5 % of clean picks is missed here ({_lost(result)} at {result["pick_threshold"]:g}). A few
micrographs on which the map is wrong, with unevenly thick ice or vacuum, have most of them; most micrographs lose none.

At {result["pick_threshold"]:g}, by distance:

{tables.distance_table(result["simulated_by_distance"])}

**The threshold for picks** is the highest one, in steps of 0.01, that removes at most 0.4 % of the clean real picks,
and at most 0.5 percentage points more of the clean picks of 20 other simulated sessions than the threshold of the mask
does: {result["pick_threshold"]:g}. It is never below that of the mask, so that no pick centred in the mask is kept.
"""


def _lost(result: Row) -> str:
    """Return the share of clean simulated picks that is removed at the recommended threshold."""
    return tables.percent(result["simulated"]["test"]["clean"]["removed"][f"{result['pick_threshold']:g}"]["value"])


def _sessions(rows: Sequence[Row], result: Row) -> str:
    names = list(rows[0]["bounds"])
    body: List[List[str]] = []
    for row in rows:
        line = [row["group"], str(row["sessions"]), " / ".join(f"{value:.1f}" for value in row["excess"])]
        line.append(str(row["flagged"]))
        for name in names:
            one = row["bounds"][name]
            words = []
            if one["false_positive_area"] is not None:
                words.append(f"{tables.percent(one['false_positive_area'])} (worst {tables.percent(one['worst'])})")
            if one["bad_found"] is not None:
                words.append(f"found {tables.percent(one['bad_found'])}")
            line.append("; ".join(words))
        body.append(line)
    head = ["sessions", "number", "excess: least / median / most", "flagged", *names]
    return f"""## Sessions

*picks*: as above. *clean*: 30 clean sessions with detectors and processing outside of the model's training (MTF,
dose, B-factor, filters, 120 kV, 0.6 to 7.6 Å/px). *harsh*: clean ones that also have up to twice the gain residuals of
training, and uneven light. *bad X*: X covers every micrograph from edge to edge. *half X*: about 60 % of each.
Three or four micrographs each. The excess is the level of the session (25th percentile over micrographs of their
median log-odds of BAD) above the model's own. A session is flagged as unusual beyond an excess of
{result["offset_tolerance"]:g}.

Each further column has the false-positive area on clean area (mean, and the worst micrograph) and the share of bad area
found, when offsets up to a bound are subtracted from the log-odds; "before" is the earlier, unbounded rule.

{tables.table(head, body)}

The aim of at most 3 % false-positive area on the worst micrograph of clean sessions is missed on one micrograph.

**The shipped model's bound is zero.** The clean sessions need no offset. Some harsh ones would need one. But sessions
that are bad over most of each micrograph have the same excess, and any bound that helps the harsh ones hides a part of
those. A harsh session with a large excess is flagged instead. The model does not see film, thick ice or vacuum from
edge to edge, with any offset. Such sessions have the level of clean ones, and are not flagged.
"""


def _real_sessions(rows: Sequence[Row]) -> str:
    body = [
        [
            row["session"],
            str(row["micrographs"]),
            f"{row['excess']:.1f}",
            "yes" if row["unusual"] else "no",
            tables.percent(row["bad_area"]),
            tables.percent(row["bad_area_in_a_mixed_session"]),
        ]
        for row in rows
    ]
    head = ["session", "micrographs", "excess", "flagged", "bad area", "bad area in a mixed session"]
    return f"""## Real micrographs as sessions

{tables.table(head, body)}
"""


def card_section(result: Row) -> str:
    """Return what the model card says of verdicts on picks."""
    parts = [
        CARD_TITLE,
        f"Share of the picks that a threshold removes. {result['pick_threshold']:g} is recommended for picks, "
        f"{result['mask_threshold']:g} for masks.",
    ]
    kinds = {"simulated sessions that were not trained on": ("simulated", "test", "simulated_by_distance")}
    if "real" in result:
        kinds["EMPIAR-10017, three pickers (six of seven micrographs trained on)"] = ("real", "now", "real_by_distance")
    shown = {result["mask_threshold"], result["pick_threshold"], 0.3, 0.5}
    cuts = [cut for cut in result["thresholds"] if cut in shown]
    for title, (group, part, distances) in kinds.items():
        parts += [
            f"{title[0].upper()}{title[1:]}:",
            tables.pick_table(result[group][part], cuts),
            f"At {result['pick_threshold']:g}:",
            tables.distance_table(result[distances]),
        ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write the page anew from the JSON file."""
    result = json.loads((HERE / "results" / "verdicts.json").read_text(encoding="utf-8"))
    (HERE / "results" / "verdicts.md").write_text(page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
