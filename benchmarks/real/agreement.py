# SPDX-License-Identifier: GPL-3.0-or-later
"""How well the annotators of the real micrographs agree: prints a table, and writes results/annotators.md.

usage: python benchmarks/real/agreement.py
Each annotator is evaluated like a model, against what the others agree on: the score is the certainty that a cell
of 32 Å is bad. It says what can be asked of a model.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import numpy as np
from rasterise import (
    ANNOTATIONS,
    BAD_FROM,
    UNSURE,
    Annotation,
    annotated,
    by_cell,
    draw,
    label_image,
    load_annotations,
)
from sklearn.metrics import roc_auc_score

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from about import about  # noqa: E402

from cryoice_scipion.constants import BORDER, CLASSES, GOOD  # noqa: E402

CELL = 32.0  # Å, as the maps of the U-Net
HEAD = """# How well annotators agree

Made by `benchmarks/real/agreement.py`, commit {commit}. Each annotator of the real micrographs against what the other
two agree on, in cells of {cell:.0f} Å: AUC of how sure it is that a cell is bad / share of the bad area that it calls
bad / share of the clean area that it calls bad. None is an experimentalist: they are instances of an AI model that
looked at enlarged pictures. The second and the third saw neither other outlines nor a map of ours. The first drew
crystals with a wide margin, which the others did not: a place is bad for training and in all figures where
the three are sure of it by half in the mean, and left out between a quarter and a half. The micrographs that are bad
from edge to edge were annotated by the first alone.

| micrograph | bad area | {names} |
|---|---|{rule}
"""


def score(annotation: Annotation, step: float) -> np.ndarray:
    """Return how sure one annotator is of each cell (rows, columns); border counts as good."""
    codes, sure = draw(annotation, step)
    sure[codes == CLASSES.index(BORDER)] = 0
    return np.asarray(by_cell(sure).mean(axis=(1, 3)))


def compare(one: Annotation, others: Sequence[Annotation]) -> Tuple[Optional[float], Optional[float], float]:
    """Return AUC, bad area found and clean area called bad of one annotator against what others agree on."""
    step = CELL / one.pixel_size
    labels = label_image(others, step)
    sure = score(one, step)
    good = labels == CLASSES.index(GOOD)
    bad = ~good & ~np.isin(labels, (CLASSES.index(BORDER), UNSURE))
    clean = float((sure[good] >= BAD_FROM).mean())
    if not bad.any():
        return None, None, clean
    auc = float(roc_auc_score(np.repeat([True, False], [bad.sum(), good.sum()]), np.r_[sure[bad], sure[good]]))
    return auc, float((sure[bad] >= BAD_FROM).mean()), clean


def row(stem: str, drawn: List[Annotation]) -> str:
    """Return one line of the table."""
    labels = label_image(drawn, CELL / drawn[0].pixel_size)
    bad = ~np.isin(labels, (CLASSES.index(GOOD), CLASSES.index(BORDER), UNSURE))
    cells = []
    for place, one in enumerate(drawn):
        auc, found, clean = compare(one, drawn[:place] + drawn[place + 1 :])
        shown = "–" if auc is None else f"{auc:.3f} / {100 * found:.0f} %"
        cells.append(f"{shown} / {100 * clean:.1f} %")
    return f"| {stem} | {100 * bad.mean():.1f} % | {' | '.join(cells)} |"


def main() -> None:
    """Write the page."""
    annotators = sorted(path.name for path in ANNOTATIONS.iterdir() if path.is_dir())
    rows = [
        row(stem, drawn) for stem in annotated() for drawn in [load_annotations(stem)] if len(drawn) == len(annotators)
    ]
    head = HEAD.format(commit=about()["commit"], cell=CELL, names=" | ".join(annotators), rule="---|" * len(annotators))
    page = head + "\n".join(rows) + "\n"
    (HERE.parent / "results" / "annotators.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
