# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the contribution of each view: writes results/ablation.json and results/ablation.md.

usage: python benchmarks/ablation.py [--build DIR] [--micrographs N] [--epochs N]
The patch networks, each trained on the same patches of simulated micrographs and evaluated on the same held-out ones
(those that ``make default-model`` holds out, of sessions of their own). The build folder of ``make default-model`` is
needed. For the maps of the shipped model beside the classical ones on the same data, see evaluate_maps.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from about import about  # noqa: E402
from train_default_model import BUILD  # noqa: E402

from cryoice_scipion.constants import GOOD  # noqa: E402
from cryoice_scipion.core.config import PatchConfig, TrainConfig  # noqa: E402
from cryoice_scipion.core.detectors.choice import views_of  # noqa: E402
from cryoice_scipion.core.training.patches.fit import bad_log_odds, fit, predict  # noqa: E402
from cryoice_scipion.core.training.patches.joining import join  # noqa: E402
from cryoice_scipion.core.training.patches.patch_set import ALL_VIEWS, PatchSet, cut_patches  # noqa: E402
from cryoice_scipion.core.training.points import from_label_images  # noqa: E402

HELD_OUT, VALIDATION = 15, 10  # micrographs of each set: the first, and the ones after them
# name, network, views
ROWS = (
    ("patch (by the micrograph)", "patch_fft", ["patch"]),
    ("its FFT", "patch_fft", ["fft"]),
    ("both: the seed", "patch_fft", ["patch", "fft"]),
    ("patch (by its surroundings)", "patch_spectrum", ["local"]),
    ("patch, both normalisations", "patch_spectrum", ["patch", "local"]),
    ("spectrum of 256 Å", "patch_spectrum", ["spectrum"]),
    ("patch + spectrum", "patch_spectrum", ["patch", "spectrum"]),
    ("patch, both normalisations + spectrum", "patch_spectrum", ["patch", "local", "spectrum"]),
    ("the same + FFT", "patch_spectrum", ["patch", "local", "fft", "spectrum"]),
    ("the same + 1024 Å around", "patch_spectrum", ["patch", "local", "coarse", "fft", "spectrum"]),
)
FULL = ["patch", "local", "spectrum"]


def cut(folder: Path, number: int, sampling: float) -> PatchSet:
    """Return the patches of the first micrographs of a set; a column says what they are for."""
    items = from_label_images(folder, 10, 0)[:number]
    views = ALL_VIEWS if sampling == 4.0 else ["patch", "fft"]
    patches = cut_patches(items, PatchConfig(jitter_copies=0, sampling=sampling), views=views)
    order = {item.stem: place for place, item in enumerate(items)}
    place = patches.table["micrograph"].map(order)
    split = np.where(place < HELD_OUT, "test", np.where(place < HELD_OUT + VALIDATION, "validation", "train"))
    patches.table["split"] = split
    return patches


def evaluate(
    patches: PatchSet, network: str, views: List[str], epochs: int, background: bool = True
) -> Dict[str, float]:
    """Train one network; return AUC of all and by class, and the clean empty area called bad, on held-out patches."""
    config = TrainConfig(network=network, views=views, epochs=epochs, patience=epochs)
    kinds, table = views_of(config), patches.table
    if not background:
        empty = (table["label"] == GOOD) & (table["origin"] != "particle") & (table["split"] != "test")
        table = table.assign(split=table["split"].mask(empty, "left out"))
    network_ = fit(patches.views(kinds), table, config, "cpu", lambda _: None, False).network
    rows = np.flatnonzero(table["split"] == "test")
    logits = predict(network_, patches.views(kinds), rows, "cpu")
    odds = bad_log_odds(torch.from_numpy(logits)).numpy()
    return figures(table.iloc[rows], odds)


def figures(table: pd.DataFrame, odds: np.ndarray) -> Dict[str, float]:
    """Return AUCs, and the share of clean empty places called bad where 5 % of particles are."""
    label = table["label"].to_numpy()
    good, particle = label == GOOD, (table["origin"] == "particle").to_numpy()
    result = {"all": float(roc_auc_score(~good, odds))}
    for kind in sorted(set(label[~good])):
        rows = good | (label == kind)
        result[kind] = float(roc_auc_score(~good[rows], odds[rows]))
    cut_at = float(np.quantile(odds[good & particle], 0.95))
    result["empty called bad"] = float((odds[good & ~particle] > cut_at).mean())
    return result


def table_of(rows: List[Tuple[str, Dict[str, float]]]) -> List[str]:
    """Return Markdown lines."""
    names = list(rows[0][1])
    lines = ["| views | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for title, values in rows:
        cells = [f"{100 * values[name]:.1f} %" if "called" in name else f"{values[name]:.3f}" for name in names]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def page(result: Dict[str, Any]) -> str:
    """Return results/ablation.md."""
    fine = result["rows at 1 Å/px"]
    lines = [
        "# What each view is good for",
        "",
        f"Made by `benchmarks/ablation.py`, commit {result['commit']}: AUC of held-out patches of simulated micro"
        f"graphs ({HELD_OUT} of each set; {result['patches']} patches of {result['micrographs']} micrographs in "
        f"all, for training, too), {result['epochs']} epochs. The last column: the share of clean empty places called "
        "bad where 5 % of particles are.",
        "",
        "Patches of 64 px at 4 Å/px, micrographs of 1 to 2 Å/px:",
        "",
        *table_of(list(result["rows"].items())),
        "",
        "Patches of 64 px at 1 Å/px, micrographs of 1 Å/px (and the same places seen at 4 Å/px):",
        "",
        *table_of(list(fine.items())),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--micrographs", type=int, default=120, help="of each set")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--output", type=Path, help="a folder for both files instead of their places in the repository")
    args = parser.parse_args()
    parts = [cut(args.build / name, args.micrographs, 4.0) for name in ("sim_1.0", "sim_1.5", "sim_2.0")]
    patches = join(parts)
    result: Dict[str, Any] = {**about(), "epochs": args.epochs, "patches": len(patches.real), "rows": {}}
    result["micrographs"] = int(patches.table["micrograph"].nunique())
    for title, network, views in tqdm(ROWS, desc="trainings"):
        result["rows"][title] = evaluate(patches, network, views, args.epochs)
    result["rows"]["both normalisations + spectrum, no backgrounds"] = evaluate(
        patches, "patch_spectrum", FULL, args.epochs, background=False
    )
    fine = cut(args.build / "sim_1.0", args.micrographs, 1.0)
    rows: Dict[str, Any] = {}
    for title, network, views in ROWS[:3]:
        rows[f"{title}, 1 Å/px"] = evaluate(fine, network, views, args.epochs)
    for title, network, views in (ROWS[2], ROWS[7]):
        rows[f"{title}, 4 Å/px"] = evaluate(parts[0], network, views, args.epochs)
    result["rows at 1 Å/px"] = rows
    target: Optional[Path] = args.output
    (target or HERE / "results").mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    ((target or HERE / "results") / "ablation.json").write_text(text, encoding="utf-8")
    ((target or HERE / "results") / "ablation.md").write_text(page(result), encoding="utf-8")
    print(page(result))


if __name__ == "__main__":
    main()
