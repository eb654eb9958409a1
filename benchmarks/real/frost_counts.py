# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the regions of a screening with deposits counted by eye on real micrographs; writes results/frost_counts.md.

usage: python benchmarks/real/frost_counts.py RUN [RUN ...]
A RUN is the output folder of ``cryoice screen``. Together they hold the micrographs of frost_by_eye.csv: positions (px)
of frost and other deposits, marked on the plain pictures by one reader, who had seen the overlays. overlays_by_eye.csv
has what was seen on each of the nineteen micrographs with the regions drawn on it.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Dict, List, Sequence

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from about import about  # noqa: E402

from cryoice_scipion.core.results.run_folder import REGIONS  # noqa: E402

CONTAMINATION = "contamination"
PAGE = HERE.parent / "results" / "frost_counts.md"
Row = Dict[str, str]


def main(runs: Sequence[Path]) -> None:
    """Write the page, and print its table."""
    regions = [row for run in runs for row in rows(run / REGIONS) if row["likeliest"] == CONTAMINATION]
    marks = rows(HERE / "frost_by_eye.csv")
    names = list(dict.fromkeys(mark["micrograph"] for mark in marks))
    table = [counts(name, marks, regions) for name in names]
    total = [sum(column) for column in zip(*table)]
    lines = [*HEAD, *[line(name[:28], row) for name, row in zip(names, table)], line("all", total), *NOTES]
    seen = rows(HERE / "overlays_by_eye.csv")
    lines += [f"| {row['micrograph'][:28]} | {row['judgement']} | {row['seen']} |" for row in seen]
    lines += ["", f"`python benchmarks/real/frost_counts.py RUN ...` makes this page (commit {about()['commit']}).", ""]
    PAGE.write_text("\n".join(lines), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


def rows(path: Path) -> List[Row]:
    """Return the rows of a table."""
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def counts(name: str, marks: Sequence[Row], regions: Sequence[Row]) -> List[int]:
    """Return clear marks, regions with a class, all regions, clear marks found, faint marks found, empty regions."""
    own = [row for row in regions if row["micrograph"] == name]
    here = [mark for mark in marks if mark["micrograph"] == name]
    found = [any(holds(row, mark) for row in own) for mark in here]
    clear = [mark["clear"] == "1" for mark in here]
    return [
        sum(clear),
        sum(row["class"] == CONTAMINATION for row in own),
        len(own),
        sum(one and is_clear for one, is_clear in zip(found, clear)),
        len(here) - sum(clear),
        sum(one and not is_clear for one, is_clear in zip(found, clear)),
        sum(not any(holds(row, mark) for mark in here) for row in own),
    ]


def holds(region: Row, mark: Row) -> bool:
    """Return whether a mark lies in the box of a region."""
    across, down = (float(mark[axis]) - float(region[axis]) for axis in "xy")
    return 0 <= across <= float(region["width"]) and 0 <= down <= float(region["height"])


def line(name: str, row: Sequence[int]) -> str:
    """Return a row of the table as Markdown."""
    return f"| {name} | {' | '.join(map(str, row))} |"


HEAD = [
    "# Deposits on real micrographs, counted by eye",
    "",
    "One reader marked frost and other deposits on five real micrographs: four MicAssess examples of about 8 Å/px, and "
    "one of EMPIAR-10017. *Clear* ones stand out at first sight; *faint* ones might also be something else. A mark is "
    "found if it lies in the box of a region whose likeliest class is contamination, also where the class is "
    "`uncertain`. The reader had seen the overlays before, and there was no second reader.",
    "",
    "| micrograph | clear, by eye | regions with a class | all regions | clear ones found | faint, by eye | faint ones "
    "found | regions without a mark |",
    "|---|---|---|---|---|---|---|---|",
]
NOTES = [
    "",
    "## All nineteen overlays",
    "",
    "Each picture was looked at with its bad area, boxes and classes.",
    "",
    "| micrograph | judgement | what was seen |",
    "|---|---|---|",
]

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main([Path(name) for name in sys.argv[1:]])
