# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the tables of docs/accuracy.md from benchmarks/results/*.json: python benchmarks/accuracy_page.py."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]
from cryoice_scipion.core.evaluation.tables import NONE, number, percent, table, with_interval  # noqa: E402

PAGE = HERE.parent / "docs" / "accuracy.md"
_TABLE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.S)
CLEAN, BAD = "clean", "all on bad area or border"
SESSIONS = {
    "clean": "clean, unknown detectors and processing",
    "harsh": "clean, strong gain residuals and uneven light",
    "picks": "mixed",
    "half carbon": "carbon on about 60 % of each micrograph",
    "half frost": "frost on about 60 %",
    "half gold": "gold on about 60 %",
    "half poly": "crystalline ice on about 60 %",
    "half thick": "thick ice on about 60 %",
    "bad poly": "crystalline ice everywhere",
    "bad carbon": "carbon everywhere",
    "bad thick": "thick ice everywhere",
    "bad vacuum": "vacuum everywhere",
}
GROUPS = {
    "simulated, held out": "simulated",
    "simulated, single crystals": "simulated, single crystals only",
    "simulated, crystalline ice": "simulated, crystalline ice only",
    "simulated, vacuum": "simulated, vacuum only",
    "simulated, raw frames": "simulated, raw frames",
    "EMPIAR-10017": "EMPIAR-10017, six of seven trained on",
    "MicAssess": "MicAssess, nine of twelve trained on",
}
MODELS = {
    "the shipped model": "shipped model, last two layers refitted without the micrograph",
    "trained on simulated micrographs alone": "simulated micrographs, last two layers refitted without the micrograph",
    "trained on simulated micrographs alone, and the last two as well": "simulated micrographs only",
}


def load(name: str) -> Dict[str, Any]:
    """Return one result file."""
    result: Dict[str, Any] = json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return result


def picks() -> str:
    """Return the share of picks that is removed at the recommended threshold, by the label under the centre."""
    verdicts = load("verdicts")
    real, simulated = verdicts["real"]["now"], verdicts["simulated"]["test"]
    cut = f"{verdicts['pick_threshold']:g}"
    body = []
    for kind, row in simulated.items():
        cells = [f"{row['picks']:,}", with_interval(row["removed"][cut], share=True)]
        other = real.get(kind)
        cells += [f"{other['picks']:,}", with_interval(other["removed"][cut], share=True)] if other else ["0", NONE]
        body.append([kind, *cells])
    head = ["label under the centre", "simulated picks", "removed", "EMPIAR-10017 picks", "removed"]
    return table(head, body)


def thresholds() -> str:
    """Return the share of bad and of clean picks that each threshold removes."""
    verdicts = load("verdicts")
    real, simulated = verdicts["real"]["now"], verdicts["simulated"]["test"]
    body = [
        [
            f"{cut:g}",
            *(
                percent(rows[kind]["removed"][f"{cut:g}"]["value"])
                for rows in (simulated, real)
                for kind in (BAD, CLEAN)
            ),
        ]
        for cut in verdicts["thresholds"]
    ]
    head = ["threshold", "simulated: bad", "simulated: clean", "EMPIAR-10017: bad", "EMPIAR-10017: clean"]
    return table(head, body)


def distances() -> str:
    """Return the share of clean picks that is removed, by distance from bad area or border."""
    verdicts = load("verdicts")
    both = zip(verdicts["simulated_by_distance"], verdicts["real_by_distance"])
    body = [[one["distance"], percent(one["removed"]), percent(other["removed"])] for one, other in both]
    return table(["distance of the centre from bad area or border", "simulated", "EMPIAR-10017"], body)


def sessions() -> str:
    """Return how many sessions of each kind are flagged, and how good their maps are."""
    rows = {row["group"]: row for row in load("verdicts")["sessions"]}
    body = []
    for group, words in SESSIONS.items():
        row = rows[group]
        now = row["bounds"]["bound 0"]
        clean = percent(now["false_positive_area"]) + (
            f" ({percent(now['worst'])})" if now["worst"] is not None else ""
        )
        flagged = f"{row['flagged']} of {row['sessions']}"
        body.append([words, flagged, clean, percent(now["bad_found"])])
    head = ["sessions", "flagged as unusual", "false-positive area (worst micrograph)", "recall on bad area"]
    return table(head, body)


def maps() -> str:
    """Return AUC and recall by class and group of micrographs."""
    groups = load("evaluate_maps")["groups"]
    body: List[List[str]] = []
    for group, words in GROUPS.items():
        for name, row in groups[group]["model"]["by_class"].items():
            if name == "all" and len(groups[group]["model"]["by_class"]) == 2:
                continue  # the same as its one class
            figures = [str(row["micrographs"]), with_interval(row["auc"]), percent(row.get("found"))]
            body.append([words, name, *figures])
    return table(["micrographs", "class", "number", "AUC", "recall on bad area"], body)


def false_positives() -> str:
    """Return the share of clean area that is called bad, by group of micrographs."""
    groups = load("evaluate_maps")["groups"]
    body = []
    for group, words in GROUPS.items():
        clean = groups[group]["model"]["false_positive_area"]
        body.append([words, str(clean["micrographs"]), with_interval(clean, share=True), percent(clean["worst"])])
    return table(["micrographs", "number", "false-positive area", "worst micrograph"], body)


def left_out() -> str:
    """Return the AUC on real micrographs that the last layers were not fitted to."""
    bodies = load("leave_one_out")["bodies"]
    body = []
    for name, words in MODELS.items():
        for source, by_class in bodies[name]["together"].items():
            values = [number(by_class.get(kind)) for kind in ("contamination", "support", "aggregate")]
            body.append([words, source, *values])
    return table(["model", "micrographs", "contamination", "support", "aggregate"], body)


TABLES: Dict[str, Callable[[], str]] = {
    "picks": picks,
    "thresholds": thresholds,
    "distances": distances,
    "sessions": sessions,
    "maps": maps,
    "false-positives": false_positives,
    "left-out": left_out,
}


def filled(text: str, tables: Mapping[str, Callable[[], str]] = TABLES) -> str:
    """Return a page's text with its tables made anew."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{tables[found[2]]()}\n\n{found[3]}", text)


def main() -> None:
    """Write the tables into the page."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
