# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the effect of training on a project's own picks: writes results/tuned_on_picks.json and .md.

usage: python benchmarks/tuned_on_picks.py [--sessions N] [--seed S] [--keep DIR] [--output DIR]
Each session is simulated (one specimen, one microscope; any contamination, none on some micrographs) with the right
and the wrong picks of a picker. ``cryoice train`` learns from those of one half of its micrographs: tuning the shipped
model, and from nothing. Both, and the unchanged shipped model, are evaluated on the other half: picks and backgrounds,
and whole maps with the data-set reference, at the threshold that each model recommends.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import pandas as pd
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from about import about, record  # noqa: E402

from cryoice_scipion.constants import DEFAULT_MODEL  # noqa: E402
from cryoice_scipion.core.detectors.loading import load_detector  # noqa: E402
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model  # noqa: E402
from cryoice_scipion.core.errors import CryoIceError  # noqa: E402
from cryoice_scipion.core.evaluation.labelled_sets import Settings, evaluate_set  # noqa: E402
from cryoice_scipion.core.evaluation.labels import find_labelled  # noqa: E402
from cryoice_scipion.core.evaluation.map_metrics import shares_of  # noqa: E402
from cryoice_scipion.core.evaluation.tables import number, percent, table  # noqa: E402

MISTAKE = 2  # exit status: the picks do not do
NUMBER, SIDE, PIXEL_SIZE = 12, 1024, 2.0  # micrographs, px, Å/px
MODELS = ("shipped", "tuned", "from nothing")
FIGURES = {"auc": "AUC", "bad": "BAD found", "good": "GOOD lost", "area": "bad area found", "clean": "clean called bad"}


def cryoice(*words: object) -> None:
    """Run the command line; raise CryoIceError for a mistake that it names, stop when it fails otherwise."""
    command = [sys.executable, "-m", "cryoice_scipion.core", *map(str, words)]
    done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode == MISTAKE:
        raise CryoIceError("cryoice", done.stderr.strip().splitlines()[-1])
    if done.returncode:
        raise SystemExit(done.stderr)


def train(folder: Path, held_out: List[str]) -> None:
    """Tune the shipped model, and train from nothing, on one half of a session."""
    data = ["--good", folder / "good.star", "--bad", folder / "bad.star", "--micrographs", folder / "micrographs"]
    for name, start in (("tuned", ["--from", DEFAULT_MODEL]), ("from nothing", [])):
        cryoice("train", *data, *start, "--hold-out", *held_out, "--output", folder / name)


def evaluated(folder: Path, name: str, held_out: List[str]) -> Dict[str, Optional[float]]:
    """Return the figures of one model on the other half."""
    detector = load_detector(resolve_model(DEFAULT_MODEL) if name == "shipped" else folder / name)
    metrics = load_config(folder / ("tuned" if name == "shipped" else name)).metrics
    part = "before" if name == "shipped" else "test"
    maps = evaluate_set(detector, find_labelled(folder, held_out), Settings())
    shares = pd.DataFrame([shares_of(item.counts) for item in maps]).astype(
        {"found": float, "false_positive_area": float}
    )
    return {
        "auc": metrics.get(f"{part}_auc"),
        "bad": metrics.get(f"{part}_recall"),
        "good": metrics.get(f"{part}_false_positive_rate"),
        "area": float(shares["found"].mean()),
        "clean": float(shares["false_positive_area"].mean()),
    }


def session(folder: Path, seed: int) -> Optional[Dict[str, Any]]:
    """Return the figures of all models on one session; none where one half has no wrong picks, or no right ones."""
    drawn = ("--number", NUMBER, "--size", f"{SIDE}x{SIDE}", "--pixel-size", PIXEL_SIZE)
    cryoice("simulate", "--output", folder, "--one-session", "--seed", seed, *drawn, "--quiet")
    stems = [path.stem for path in sorted((folder / "micrographs").glob("*.mrc"))]
    held_out = stems[1::2]
    try:
        train(folder, held_out)
    except CryoIceError as error:
        tqdm.write(f"session {seed}: not trained: {error}")
        return None
    if "test_auc" not in load_config(folder / "tuned").metrics:
        tqdm.write(f"session {seed}: the picks of the half that is evaluated are all of one kind")
        return None
    return {name: evaluated(folder, name, held_out) for name in MODELS}


def page(result: Dict[str, Any]) -> str:
    """Return results/tuned_on_picks.md."""
    rows = []
    for name in MODELS:
        mean = {key: np.nanmean([one[name][key] for one in result["sessions"].values()]) for key in FIGURES}
        rows.append([name, number(float(mean["auc"])), *(percent(float(mean[key])) for key in list(FIGURES)[1:])])
    better = sum(one["tuned"]["auc"] > one["shipped"]["auc"] for one in result["sessions"].values())
    lines = [
        "# What training on a project's own picks changes",
        "",
        f"Made by `benchmarks/tuned_on_picks.py`, commit {result['commit']}: {len(result['sessions'])} simulated "
        f"sessions of {NUMBER} micrographs, picks of one half to learn from, the other half to judge on; means over "
        "sessions, each model at the threshold that it recommends. AUC, BAD found and GOOD lost are of picks and "
        "backgrounds, areas of whole maps.",
        "",
        table(["model", *FIGURES.values()], rows),
        "",
        f"The tuned model ranks better than the shipped one in {better} of them. They hold what the shipped model was "
        "taught to see: tuning is for what it gets wrong ([a few labels](few_labels.md)). The training says how good "
        "the model was before, on the same held-out micrographs.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=12)
    parser.add_argument("--seed", type=int, default=9100, help="of the first session; the next ones count on")
    parser.add_argument("--keep", type=Path, help="a folder where data and models stay; data are used again")
    parser.add_argument("--output", type=Path, help="a folder for both files instead of their places in the repository")
    args = parser.parse_args()
    result: Dict[str, Any] = {**about(), "sessions": {}}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in tqdm(range(args.seed, args.seed + args.sessions), desc="sessions"):
            row = session((args.keep or Path(scratch)).resolve() / str(seed), seed)
            if row is not None:
                result["sessions"][str(seed)] = row
    record(result, (args.output or HERE / "results") / "tuned_on_picks.json")
    text = page(result)
    (args.output or HERE / "results").joinpath("tuned_on_picks.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
