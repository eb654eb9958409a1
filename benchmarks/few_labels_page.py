# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the page of results of few_labels.py, and the table of docs/explanation/training.md.

usage: python benchmarks/few_labels_page.py (only the table, from results/few_labels.json)
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Callable, Dict, List, Sequence

import numpy as np
from accuracy_page import HERE, filled, load

from cryoice_scipion.core.evaluation.tables import number as short
from cryoice_scipion.core.evaluation.tables import table

PAGE = HERE.parent / "docs" / "explanation" / "training.md"

NUMBERS = (5, 20, 50)  # of BAD patches; three times as many GOOD ones
SHIPPED, TUNED, SCRATCH = "untouched", "fine-tuned", "from nothing"
LAYERS = ("untouched", "combined", "new")


def page(result: Dict[str, Any]) -> str:
    """Return the page as Markdown."""
    groups: Dict[str, List[Dict[str, Any]]] = {}
    for name, row in result["simulated"].items():
        groups.setdefault(name.split()[0], []).append(row)
    lines = {f"{kind} ({len(rows)})": rows for kind, rows in groups.items()}
    lines[f"**mean ({len(result['simulated'])})**"] = list(result["simulated"].values())
    lines.update({f"{name} (half)": [row] for name, row in result["real"].items()})
    seen = "The shipped model was trained on the real ones, so the untouched model is nearly perfect there."
    if "unseen" in result:
        seen += (
            " In the rows *not seen*, another model takes its place: it has only learned from simulated micrographs "
            f"({result['unseen']})."
        )
    text = [
        "# Fine-tuning with few labels",
        "",
        "AUC of patches, BAD against GOOD, on micrographs without labels. The labels are 5, 20 or 50 BAD patches and "
        "three times as many GOOD ones. Each simulated session has a specimen and a microscope of its own, which no "
        "training has seen; the numbers in brackets are sessions. Of a real source, each half of the micrographs is "
        f"tested with labels from the other half; one half of EMPIAR-10017 has only 43 BAD patches. {seen}",
        "",
        "| data | untouched | " + " | ".join(f"{name}, {n}" for n in NUMBERS for name in (TUNED, SCRATCH)) + " |",
        "|---" * (2 + 2 * len(NUMBERS)) + "|",
    ]
    for name, rows in lines.items():
        values = [_mean(rows, NUMBERS[0], SHIPPED)]
        values += [_mean(rows, number, method) for number in NUMBERS for method in (TUNED, SCRATCH)]
        text.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    text += [
        "",
        "## Differences",
        "",
        "AUC of the fine-tuned model less that of the other, with 95 % intervals: over resampled sessions, or over "
        "resampled test micrographs of a real source.",
        "",
        "| data | less | " + " | ".join(f"{number} labels" for number in NUMBERS) + " |",
        "|---|---" + "|---" * len(NUMBERS) + "|",
    ]
    for name, by_number in result["differences"].items():
        for other in (SHIPPED, SCRATCH):
            cells = [interval(by_number[str(number)][other]["difference"]) for number in NUMBERS]
            text.append(f"| {name} | {other} | " + " | ".join(cells) + " |")
    sessions = list(result["simulated"].values())
    text += [
        "",
        "## The choice of the last layer",
        "",
        "Fine-tuning takes the *combined* layer, unless cross-validation shows that the *new* one is better by more "
        "than one standard error. Mean AUC over the simulated sessions if one layer were always taken, and how often "
        "it was chosen:",
        "",
        "| layer | " + " | ".join(f"{number} labels | chosen" for number in NUMBERS) + " |",
        "|---" * (1 + 2 * len(NUMBERS)) + "|",
    ]
    counts = {number: Counter(row[str(number)]["layer"] for row in sessions) for number in NUMBERS}
    for layer in LAYERS:
        times = {number: counts[number][layer] if layer != SHIPPED else "" for number in NUMBERS}
        cells = [f"{_mean(sessions, number, layer):.3f} | {times[number]}" for number in NUMBERS]
        text.append(f"| {layer} | " + " | ".join(cells) + " |")
    text += [
        "",
        "The features of the texture, how much each layer trusts the old one, the priors and the rule were chosen on "
        "the first 60 sessions and on the real micrographs. There, the results are a little optimistic. The *new "
        "sessions* above are the others.",
        "",
        f"`python benchmarks/few_labels.py` makes this page and `few_labels.json` (commit {result['commit']}, "
        f"{result['device']}).",
        "",
    ]
    return "\n".join(text)


def starting_points() -> str:
    """Return the mean AUC over the simulated sessions by number of labels: the shipped model, fine-tuned, a new one."""
    rows = list(load("few_labels")["simulated"].values())
    body = [
        [f"{size} BAD, {3 * size} GOOD", *(short(_mean(rows, size, name)) for name in (SHIPPED, TUNED, SCRATCH))]
        for size in NUMBERS
    ]
    caption = f"Mean AUC of patches over {len(rows)} simulated sessions, on micrographs without labels."
    return f"{table(['labels', 'shipped model', 'fine-tuned', 'new network'], body)}\n\n{caption}"


TABLES: Dict[str, Callable[[], str]] = {"few-labels": starting_points}


def main() -> None:
    """Write the table into the page."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), TABLES), encoding="utf-8")


def _mean(rows: Sequence[Dict[str, Any]], number: int, method: str) -> float:
    return float(np.mean([row[str(number)][method] for row in rows]))


def interval(values: Sequence[float]) -> str:
    """Return a difference and its interval."""
    return f"{values[0]:+.3f} ({values[1]:+.3f} to {values[2]:+.3f})"


if __name__ == "__main__":
    main()
