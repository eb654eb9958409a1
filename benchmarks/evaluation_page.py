# SPDX-License-Identifier: GPL-3.0-or-later
"""results/evaluation.md from results/evaluate_maps.json: python benchmarks/evaluation_page.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, List

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]
from cryoice_scipion.core.evaluation import tables  # noqa: E402

Row = Dict[str, Any]
_INTRODUCTION = """# How good the maps are

**[How good the verdicts are](verdicts.md)** says which picks and sessions come out right. This page is about the maps
that the verdicts are made from.

Made by `benchmarks/evaluate_maps.py`; the figures are in `benchmarks/results/evaluate_maps.json`. The model `{model}`
(recommended threshold {threshold:.3f}, cells of {map_sampling:g} Å), commit {commit}.

Maps are evaluated on cells of {cell:g} Å against label images: exact ones of simulated micrographs (sessions
never trained on), what [annotators](annotators.md), three of most, of real ones agree on. Border and what they are
not sure of are left out. AUC: cells of the class against all clean cells of the group. "found": share of the class
that the model calls bad at its threshold. In brackets: 95 % intervals by bootstrap over micrographs; of classes on a
few micrographs they are too narrow. Each data set is evaluated with its own data-set reference, as a screening of it
would be. **The model was trained on the real micrographs that are not marked as held out.** Single crystals,
crystalline ice, vacuum and raw frames (none was trained on) are also evaluated on further simulated micrographs, the
first three without other contamination. Some of these are entirely crystalline.
Simulated **micrographs without any ice are left out**, and above 1.72 Å/px those that are all film: nothing tells them
from ice without particles, and the model calls them clean. Real ones are in: three of the MicAssess ones (held out),
which make its figures of vacuum, of support and of all, and those of the last group.

The classical maps need no training: minus the local mean and the local standard deviation (Gaussian of 57 Å); the
Mahalanobis distance of 32 band and texture features, fitted on the clean cells of the three cleanest micrographs of
the set (it is told which these are); cisTEM's iciness, on the micrographs whose pixels are up to 1.75 Å alone. Each
simulated micrograph is a session of its own: those with bright particles are turned round beforehand, for all maps.
"below a classical map" gives the difference on the micrographs that both maps have, drawn together.
"""


def page(result: Row) -> str:
    """Return the page."""
    parts = [_INTRODUCTION.format(**result)]
    for name, group in result["groups"].items():
        parts.append(f"## {name[0].upper()}{name[1:]}\n\n{_group(group, by_micrograph=not name.startswith('sim'))}")
    shifts = ", ".join(f"{name} {0.0 - shift:.2f}" for name, shift in result["reference_shift"].items())
    parts.append(f"Log-odds of BAD were shifted by the data-set references: {shifts}.\n")
    return "\n".join(parts)


def _group(group: Row, by_micrograph: bool) -> str:
    model = group["model"]
    lines = [tables.class_table(model, group["classical"]), "", *tables.threshold_lines(model)]
    below = below_classical(group)
    lines += [f"- below a classical map: {'; '.join(below)}" if below else "- nowhere below a classical map"]
    if by_micrograph:
        rows = [{**row, "micrograph": row["micrograph"].split("/")[-1]} for row in group["by_micrograph"]]
        lines += ["", tables.micrograph_table(rows)]
    return "\n".join(lines) + "\n"


def below_classical(group: Row) -> List[str]:
    """Return where the model's AUC is below that of a classical map on the same micrographs."""
    return [
        f"{kind} by {name} ({tables.with_interval(figure)})"
        for name, kinds in group["model_minus"].items()
        for kind, figure in kinds.items()
        if figure["value"] is not None and figure["value"] < 0
    ]


def main() -> None:
    """Write the page anew from the JSON file."""
    result = json.loads((HERE / "results" / "evaluate_maps.json").read_text(encoding="utf-8"))
    (HERE / "results" / "evaluation.md").write_text(page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
