# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the gain from 5, 20 and 50 labelled BAD patches: writes results/few_labels.json and results/few_labels.md.

usage: python benchmarks/few_labels.py [--model NAME|DIR] [--unseen DIR] [--sessions N] [--build DIR]
Simulated: sessions of a specimen and a microscope that no training has seen, each with one or two kinds of
contamination; labels are taken from half of its micrographs, and what is learned is evaluated on the other half
(patches, GOOD and BAD alike). Real: labels from half of a data set's micrographs, evaluated on the other half; since
the shipped model has seen them, one trained on simulated micrographs alone takes its place (--unseen;
``--simulated-only`` of train_default_model.py; without it, what was found before is kept). Compared: the model as it
is; fine-tuned on the labels (``cryoice train --from``); the patch + FFT network trained on them from scratch.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional

import mrcfile
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from about import about, record, recorded  # noqa: E402
from train_default_model import BUILD, REAL  # noqa: E402

from cryoice_scipion.constants import BAD, DEFAULT_MODEL, GOOD  # noqa: E402
from cryoice_scipion.core.config import PatchConfig, TrainConfig  # noqa: E402
from cryoice_scipion.core.detectors.loading import load_detector  # noqa: E402
from cryoice_scipion.core.detectors.model_folder import resolve_model  # noqa: E402
from cryoice_scipion.core.detectors.network_detector import NetworkDetector  # noqa: E402
from cryoice_scipion.core.simulation.config import SceneConfig  # noqa: E402
from cryoice_scipion.core.simulation.scene import simulate  # noqa: E402
from cryoice_scipion.core.training.fine_tuning import fit_head  # noqa: E402
from cryoice_scipion.core.training.patches.fit import bad_log_odds, fit, predict  # noqa: E402
from cryoice_scipion.core.training.patches.patch_set import EMBEDDING, PatchSet, cut_patches  # noqa: E402
from cryoice_scipion.core.training.points import from_label_images  # noqa: E402

NUMBERS = (5, 20, 50)  # of BAD patches; three times as many GOOD ones
KINDS = ("single", "poly", "frost", "ethane", "carbon", "gold", "thick", "aggregate", "dirt", "vacuum")
# Data sets of real micrographs: their files, and what is BAD in them; none: all that is not GOOD
REAL_SETS = {
    "EMPIAR-10017": ("Falcon*.mrc", None),
    "MicAssess, ice crystals and dirt": ("[12]*.mrc", "contamination"),
}
MICROGRAPHS, SIDE, PIXEL_SIZE, SEED = 8, 768, 2.0, 4242
PLAIN = {"border": "none", "border_px": [0, 0, 0, 0], "inverted": False, "low_pass": None}


def write_session(folder: Path, kind: str, seed: int) -> None:
    """Simulate the micrographs of one specimen in one session; only defocus and what lies where differ."""
    rng = np.random.default_rng([SEED, seed])
    session = SceneConfig.random(rng, SIDE, SIDE, PIXEL_SIZE, kinds=[kind])
    session = session.model_copy(update=PLAIN)
    for name in ("micrographs", "labels"):
        (folder / name).mkdir(parents=True)
    for index in range(MICROGRAPHS):
        area = float(rng.uniform(0.15, 0.5)) if kind != "dirt" else 0.05
        changes = {"defocus_um": session.defocus_um * float(rng.uniform(0.8, 1.2)), "areas": [area]}
        scene = simulate(session.model_copy(update=changes), rng)
        for name, array, sampling in (("micrographs", scene.pixels, 1), ("labels", scene.labels[::4, ::4], 4)):
            with mrcfile.new(folder / name / f"m{index}.mrc") as mrc:
                mrc.set_data(array.astype(np.float32 if name == "micrographs" else np.int8))
                mrc.voxel_size = PIXEL_SIZE * sampling


def cut(folder: Path, detector: NetworkDetector, stems: List[str], kind: Optional[str] = None) -> PatchSet:
    """Return the patches of places drawn from the label images of some micrographs, of all kinds or GOOD and one."""
    items = [item for item in from_label_images(folder, 40, SEED) if item.stem in stems]
    if kind:
        items = [dataclasses.replace(item, points=_of_kind(item.points, kind)) for item in items]
    # A user says that a place is bad, not of which kind it is.
    items = [dataclasses.replace(item, points=_two_classes(item.points)) for item in items]
    return cut_patches(items, PatchConfig(jitter_copies=0), progress=False, embedder=detector)


def _of_kind(points: pd.DataFrame, kind: str) -> pd.DataFrame:
    return points[points["label"].isin([GOOD, kind])].reset_index(drop=True)


def _two_classes(points: pd.DataFrame) -> pd.DataFrame:
    return points.assign(label=np.where(points["label"] == GOOD, GOOD, BAD))


def chosen(patches: PatchSet, number: int, rng: np.random.Generator) -> PatchSet:
    """Return ``number`` BAD patches and three times as many GOOD ones, by chance."""
    bad = (patches.table["label"] != GOOD).to_numpy()
    rows = [rng.permutation(np.flatnonzero(part))[:size] for part, size in ((bad, number), (~bad, 3 * number))]
    return subset(patches, np.sort(np.concatenate(rows)))


def subset(patches: PatchSet, rows: np.ndarray) -> PatchSet:
    """Return some of the patches."""
    further = {kind: array[rows] for kind, array in patches.further.items()}
    table = patches.table.iloc[rows].reset_index(drop=True)
    return PatchSet(patches.real[rows], table, patches.sampling, [], further)


def auc(network: Any, patches: PatchSet, kinds: List[str], temperature: float = 1.0) -> float:
    """Return the AUC of BAD among patches."""
    logits = predict(network, patches.views(kinds), np.arange(len(patches.real)), "cpu")
    odds = bad_log_odds(torch.from_numpy(logits / temperature)).numpy()
    return float(roc_auc_score(patches.table["label"] != GOOD, odds))


def learned(patches: PatchSet, model: str, tune: bool) -> Any:
    """Return a network fitted to few patches: a quarter of them, of all micrographs, says when to stop."""
    bad = (patches.table["label"] != GOOD).to_numpy()
    last = np.zeros(len(bad), bool)
    for part in (bad, ~bad):
        last[np.flatnonzero(part)[::4]] = True
    table = patches.table.assign(split=np.where(last, "validation", "train"))
    if tune:
        config = TrainConfig(base=model)
        return fit_head(patches.views([EMBEDDING]), table, config, "cpu", lambda _: None, False).network
    config = TrainConfig(epochs=40, patience=8, batch=16)
    return fit(patches.views(["patch", "fft"]), table, config, "cpu", lambda _: None, False).network


def evaluate(train: PatchSet, test: PatchSet, detector: NetworkDetector, model: str) -> Dict[str, float]:
    """Return the AUC of the shipped model, and of what is learned from few labels, by name."""
    result = {"shipped": auc(detector.network, test, [EMBEDDING], detector.config.temperature)}
    rng = np.random.default_rng(SEED)
    for number in NUMBERS:
        few = chosen(train, number, rng)
        result[f"fine-tuned, {number}"] = auc(learned(few, model, True), test, [EMBEDDING])
        result[f"from nothing, {number}"] = auc(learned(few, model, False), test, ["patch", "fft"])
    return result


def page(result: Dict[str, Any]) -> str:
    """Return results/few_labels.md."""
    groups: Dict[str, List[Dict[str, float]]] = {}
    for name, row in result["simulated"].items():
        groups.setdefault(name.split()[0], []).append(row)
    rows = {f"{kind} ({len(items)})": _mean(items) for kind, items in groups.items()}
    rows[f"**mean ({len(result['simulated'])})**"] = result["simulated mean"]
    columns = list(result["simulated mean"])

    def table(lines: Dict[str, Dict[str, float]], untuned: str) -> List[str]:
        return [
            "| " + " | ".join(["data", untuned, *columns[1:]]) + " |",
            "|---" * (len(columns) + 1) + "|",
            *(f"| {name} | " + " | ".join(f"{row[key]:.3f}" for key in columns) + " |" for name, row in lines.items()),
        ]

    lines = [
        "# What a few labels are good for",
        "",
        f"Made by `benchmarks/few_labels.py`, commit {result['commit']}: AUC of patches, BAD against GOOD, on micro"
        "graphs that no label is from, by the number of BAD patches (and three times as many GOOD). Simulated: each "
        "session has a specimen and a microscope of its own, which no training has seen; in brackets: sessions.",
        "",
        *table(rows, "shipped"),
        "",
    ]
    if result["real"]:
        lines += [
            "Real micrographs, labels from one half of each data set, evaluated on the other half; BAD is all that "
            "is not GOOD, most of it carbon, or what is named. Those of MicAssess are of a specimen each. Instead of "
            "the shipped model, which has seen them, one that was trained on simulated ones alone "
            f"(commit {result['real commit']}), as it is and fine-tuned:",
            "",
            *table(result["real"], "untuned"),
            "",
        ]
    return "\n".join(lines)


def _mean(rows: List[Dict[str, float]]) -> Dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def main() -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--unseen", type=Path, help="a model folder trained on simulated micrographs alone")
    parser.add_argument("--sessions", type=int, default=2 * len(KINDS))
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--output", type=Path, help="a folder for both files instead of their places in the repository")
    args = parser.parse_args()
    detector = load_detector(resolve_model(args.model))
    result: Dict[str, Any] = {**about(), "model": detector.config.name, "simulated": {}}
    with tempfile.TemporaryDirectory() as scratch:
        for session in tqdm(range(args.sessions), desc="sessions"):
            kind = KINDS[session % len(KINDS)]
            folder = Path(scratch) / str(session)
            write_session(folder, kind, session)
            stems = [f"m{index}" for index in range(MICROGRAPHS)]
            train, test = (cut(folder, detector, part) for part in (stems[:4], stems[4:]))
            labels = [(item.table["label"] != GOOD).to_numpy() for item in (train, test)]
            if any(item.sum() < max(NUMBERS) or (~item).sum() < 3 * max(NUMBERS) for item in labels):
                tqdm.write(f"session {session} ({kind}): too few places of a kind")
                continue
            result["simulated"][f"{kind} {session}"] = row = evaluate(train, test, detector, args.model)
            tqdm.write(f"{kind}: " + ", ".join(f"{name} {value:.3f}" for name, value in row.items()))
    target = args.output or HERE / "results"
    written = target / "few_labels.json"
    before = recorded(written)
    if not args.unseen:  # what was found with such a model before is kept
        result["real"], result["real commit"] = before.get("real", {}), before.get("real commit")
    else:
        result["real"], result["real commit"] = {}, result["commit"]
        unseen, real = load_detector(args.unseen), args.build / REAL
        for name, (files, kind) in REAL_SETS.items():
            stems = [path.stem for path in sorted((real / "micrographs").glob(files))]
            halves = [cut(real, unseen, part, kind) for part in (stems[::2], stems[1::2])]
            for title, train, test in ((f"{name}: one half", *halves), (f"{name}: the other", *halves[::-1])):
                result["real"][title] = row = evaluate(train, test, unseen, str(args.unseen))
                print(f"{title}: " + ", ".join(f"{key} {value:.3f}" for key, value in row.items()))
                print("BAD, GOOD:", [np.bincount(part.table["label"] == GOOD).tolist() for part in (train, test)])
    result["simulated mean"] = _mean(list(result["simulated"].values()))
    target.mkdir(parents=True, exist_ok=True)
    record(result, written)
    (args.output or HERE / "results").joinpath("few_labels.md").write_text(page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
