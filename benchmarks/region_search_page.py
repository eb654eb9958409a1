# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the page of results of region_search.py."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from cryoice_scipion.core.regions.layers import CLASSES


def page(result: Dict[str, Any]) -> str:
    """Return the page as Markdown."""
    few, found = result["few_labels"], result["proposals"]
    lines = [
        "# Search for regions from few labels",
        "",
        "How well does `cryoice regions --labels` find a class that neither detector nor heads know? AP50 of the class "
        "on sessions without labels, with 95 % intervals from resampled sessions.",
        "",
        "| class | true regions | sessions | components | before labels | 1 label | 5 labels | 20 labels |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in few.items():
        cells = [_interval(row["1"]["components"]["first"]), _interval(row["1"]["untouched"]["first"])]
        cells += [_interval(row[str(number)]["untouched"]["second"]) for number in (1, 5, 20)]
        lines.append(f"| {name} | {row['true']} | {row['sessions']} | {' | '.join(cells)} |")
    lines += [
        *_differences("the heads before the labels", few, "untouched"),
        *_differences("components", few, "components"),
        "",
        "## Proposals",
        "",
        "Share of true regions with a proposal of IoU above 0.5. "
        f"There are {found['number']['tree']:.0f} proposals a micrograph from the component tree, and "
        f"{found['number']['selective_search']:.0f} from Selective Search.",
        "",
        "| class | true regions | Selective Search | component tree | difference |",
        "|---|---|---|---|---|",
        *[
            f"| {name} | {found[name]['true']} | {_interval(found[name]['first'])} | "
            f"{_interval(found[name]['second'])} | {_interval(found[name]['difference'])} |"
            for name in CLASSES
        ],
        "",
        "## Method",
        "",
        "The micrographs are those of [grades](grades.md), with the true regions of [regions](regions.md). "
        "The class is left out in two ways: the logit of *good* takes up that of the class, as if the "
        "detector took the class for good, and the heads are fitted without micrographs that show it. The "
        "network itself was trained with the class, so its other logits may still show it. Labels are 1, 5 or "
        "20 regions of sessions 6 to 11 of each group; the mean of five random draws is given. Tested are "
        "sessions 12 to 19, on the micrographs with the class and three others of each session. How labels "
        "move the heads was chosen on sessions 6 to 11 with contamination and crystalline.",
        "",
        "*Components* are connected cells at the shipped threshold, ranked by mean P(BAD). *Before labels* ranks "
        "proposals by the probability that they are bad and by their expected IoU.",
        "",
        f"`python benchmarks/region_search.py` makes this page and `region_search.json` (commit "
        f"{result['about']['commit']}, {result['about']['device']}). It needs the build folder of `grades.py`, and the "
        "package selectivesearch.",
        "",
    ]
    return "\n".join(lines)


def _differences(other: str, few: Dict[str, Any], key: str) -> List[str]:
    """Return the table of the differences from another method."""
    lines = ["", f"Difference from {other}:", "", "| class | 1 label | 5 labels | 20 labels |", "|---|---|---|---|"]
    for name, row in few.items():
        cells = [_interval(row[str(number)][key]["difference"]) for number in (1, 5, 20)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _interval(values: Sequence[float]) -> str:
    value, low, high = values
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
