# SPDX-License-Identifier: GPL-3.0-or-later
"""Screen picks of Topaz's pretrained detector on the seven real micrographs: results/topaz_picks.json and .md.

usage: python benchmarks/real/topaz_picks.py [--topaz COMMAND] [--build DIR] [--least SCORE] [--output DIR]
Needs ../shared/real and the program topaz (package topaz-em), which may be in an environment of its own. It picks once,
in some minutes; its table is kept in the build folder. The commands are those of a user: topaz preprocess, topaz
extract, cryoice screen.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]
from about import about, record  # noqa: E402
from label_picks import RAW, label_points  # noqa: E402
from rasterise import load_annotations  # noqa: E402

from cryoice_scipion.constants import CLASSES, GOOD  # noqa: E402
from cryoice_scipion.core.cli import main as cryoice  # noqa: E402
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, X, Y, read_picks  # noqa: E402
from cryoice_scipion.core.images.naming import stem_of  # noqa: E402

BINNING, RADIUS = 4, 11  # 7.1 Å/px, as its detectors expect; px of the binned image: 78 Å
DIAMETER = 160.0  # Å, of β-galactosidase
MODEL = "resnet16"
ORDER = (GOOD, *(f"near {name}" for name in CLASSES), *(name for name in CLASSES if name != GOOD), "doubtful")


def pick(topaz: List[str], micrographs: Path, build: Path) -> Path:
    """Return Topaz's table of picks, in px of the micrographs."""
    table, binned = build / "topaz.txt", build / "binned"
    if not table.is_file():
        binned.mkdir(parents=True, exist_ok=True)
        files = [str(path) for path in sorted(micrographs.glob("*.mrc"))]
        subprocess.run([*topaz, "preprocess", "-s", str(BINNING), "-d", "-1", "-o", f"{binned}/", *files], check=True)
        words = ["extract", "-m", MODEL, "-r", str(RADIUS), "-x", str(BINNING), "-d", "-1", "-o", str(table)]
        subprocess.run([*topaz, *words, *(str(path) for path in sorted(binned.glob("*.mrc")))], check=True)
    return table


def with_least_score(table: Path, least: float, build: Path) -> Path:
    """Write the picks with at least this score; Topaz's own table has every local maximum."""
    picks = pd.read_csv(table, sep="\t")
    chosen = build / "picks.txt"
    picks[picks["score"] >= least].to_csv(chosen, sep="\t", index=False)
    return chosen


def count(run: Path) -> List[Dict[str, Any]]:
    """Return kept and rejected picks by what annotators see under them."""
    parts = []
    for verdict in ("kept", "rejected"):
        table = read_picks(run / "coordinates" / f"{verdict}.star").table
        for name, part in table.groupby(MICROGRAPH):
            drawn = load_annotations(stem_of(str(name)))
            labels = label_points(part[[X, Y]].to_numpy(float), drawn, DIAMETER / 2 / 1.77)
            parts.append(pd.DataFrame({"label": labels, "verdict": verdict}))
    counts = pd.concat(parts).value_counts(["label", "verdict"]).unstack(fill_value=0)
    return [
        {"label": label, **{verdict: int(counts.loc[label, verdict]) for verdict in ("kept", "rejected")}}
        for label in ORDER
        if label in counts.index
    ]


def page(result: Dict[str, Any]) -> str:
    """Return the result page."""
    rows = [f"| {row['label']} | {row['kept']} | {row['rejected']} |" for row in result["picks"]]
    total = [sum(row[verdict] for row in result["picks"]) for verdict in ("kept", "rejected")]
    return "\n".join(
        [
            "# Picks of Topaz on real micrographs",
            "",
            f"Made by `benchmarks/real/topaz_picks.py`, commit {result['about']['commit']}. Picks of Topaz "
            f"{result['topaz']} with its pretrained detector {MODEL} and a score of at least "
            f"{result['least_score']:g}, on the seven micrographs of EMPIAR-10017, screened with the default model and "
            "threshold. Rows: what annotators see under the centre; *near* means an outline within "
            f"{DIAMETER / 2:g} Å of the centre. Six of the micrographs were in the training set of the default model; "
            "see [leave_one_out](leave_one_out.md) for micrographs that a model has not seen.",
            "",
            "| what is under the pick | kept | rejected |",
            "|---|---|---|",
            *rows,
            f"| all | {total[0]} | {total[1]} |",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topaz", default="topaz", help="the command, with arguments if needed")
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build" / "topaz_picks")
    parser.add_argument("--least", type=float, default=0.0, help="smallest score of a pick (default: 0)")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results")
    args = parser.parse_args()
    args.build.mkdir(parents=True, exist_ok=True)
    topaz, micrographs, run = shlex.split(args.topaz), args.build / "real" / "empiar10017", args.build / "run"
    if not micrographs.is_dir():
        subprocess.run([sys.executable, str(RAW.parent / "prepare.py"), str(args.build / "real")], check=True)
    picks = with_least_score(pick(topaz, micrographs, args.build), args.least, args.build)
    words = ["--coordinates", str(picks), "--particle-diameter", f"{DIAMETER:g}", "--device", "cpu"]
    status = cryoice(
        ["screen", str(micrographs), "--output", str(run), *words, *(["--resume"] if run.is_dir() else [])]
    )
    if status:
        raise SystemExit(status)
    said = subprocess.run([*topaz, "--version"], capture_output=True, text=True, check=True)
    version = (said.stdout + said.stderr).split()[-1]
    result = {"about": about(), "topaz": version, "least_score": args.least, "picks": count(run)}
    record(result, args.output / "topaz_picks.json")
    (args.output / "topaz_picks.md").write_text(page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
