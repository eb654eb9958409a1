# SPDX-License-Identifier: GPL-3.0-or-later
"""The spot test: how long it takes, how often it is wrong on noise, what it finds on simulated micrographs.

usage: python benchmarks/bench_spots.py [--rows 4096 --columns 4096 --pixel-size 1.0] [--simulated DIR] [--output FILE]
DIR is a folder of ``cryoice simulate``. One thread. "Without fringes" are the micrographs on which nothing was drawn
that has a lattice; on the others, clean cells beside a crystal share windows with it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import mrcfile
import numpy as np
import torch
from about import about, record
from sklearn.metrics import roc_auc_score

from cryoice_scipion.constants import CLASSES, GOOD
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.detectors.spots import FALSE_ALARMS, SpotDetector, micrograph_evidence
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.views.spot_statistics import combine
from cryoice_scipion.core.views.spots import SCALES
from cryoice_scipion.core.views.windows import CELL

CPU = torch.device("cpu")
WITH_FRINGES = {"single", "poly", "frost", "gold", "ethane"}


def seconds(shape: Tuple[int, int], pixel_size: float) -> Tuple[float, float]:
    """Return the shortest of five times for one micrograph that is in memory: on the clock, and of the processor."""
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    detector = SpotDetector(load_config(resolve_model("spots")), CPU)
    border = np.zeros(shape, dtype=bool)
    times = []
    for _ in range(5):
        start, used = time.perf_counter(), time.process_time()
        detector.map(image, pixel_size, border)
        times.append((time.perf_counter() - start, time.process_time() - used))
    return min(clock for clock, _ in times), min(processor for _, processor in times)


def false_alarms(number: int = 20, side: int = 2048) -> Dict[str, float]:
    """Return the share of windows of white noise below nominal p-values, by scale, and of cells with all scales."""
    border = np.zeros((side, side), dtype=bool)
    found: List[np.ndarray] = []
    for seed in range(number):
        image = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)
        found.append(micrograph_evidence(image, 1.0, border, CPU).log_p)
    planes = np.stack(found, axis=1)
    result = {}
    for plane, scale, step in zip(planes, SCALES, (1, 2, 4)):
        for nominal in (1e-2, 1e-3):
            result[f"white noise, {scale:.0f} Å windows, at p < {nominal:g}"] = float(
                (plane[:, ::step, ::step] < np.log(nominal)).mean()
            )
    called = combine(planes) < np.log(FALSE_ALARMS)
    return {**result, f"white noise, cells called (nominal {FALSE_ALARMS:g})": float(called.mean())}


def labels_of(path: Path, sampling: float, shape: Tuple[int, int]) -> np.ndarray:
    """Return the class that more than half of each cell has, else -1."""
    labels, step = mrcfile.read(path).astype(int), round(CELL / sampling)
    rows, columns = shape[0] * step, shape[1] * step
    pad = ((0, max(0, rows - labels.shape[0])), (0, max(0, columns - labels.shape[1])))
    tiles = np.pad(labels, pad, mode="edge")[:rows, :columns].reshape(shape[0], step, shape[1], step)
    shares = np.stack([(tiles == code).mean(axis=(1, 3)) for code in range(len(CLASSES))])
    return np.where(shares.max(axis=0) > 0.5, shares.argmax(axis=0), -1)


def simulated(folder: Path) -> Dict[str, float]:
    """Return AUC and shares over the cells of simulated micrographs that can be tested."""
    summary = json.loads((folder / "simulation.json").read_text(encoding="utf-8"))
    evidence, labels, quiet, tested = [], [], [], 0
    for one in summary["micrographs"]:
        path = folder / "micrographs" / one["micrograph"]
        loaded = load_micrograph(str(path), summary["pixel_size"])
        log_p = micrograph_evidence(loaded.image, loaded.pixel_size, loaded.border, CPU).log_p
        inside = np.isfinite(log_p).any(axis=0)
        tested += bool(inside.any())
        truth = labels_of(folder / "labels" / path.name, summary["label_sampling"], inside.shape)
        evidence.append(log_p[:, inside])
        labels.append(truth[inside])
        quiet.append(np.full(int(inside.sum()), not WITH_FRINGES & set(one["kinds"])))
    log_p, truth, without = np.concatenate(evidence, axis=1), np.concatenate(labels), np.concatenate(quiet)
    score, clean, ice = -combine(log_p), truth == CLASSES.index(GOOD), truth == CLASSES.index("crystalline")
    called = score > -np.log(FALSE_ALARMS)
    result = {
        "simulated, micrographs": float(len(labels)),
        "simulated, of these testable": float(tested),
        "AUC, crystalline against clean without fringes": auc(score, ice, clean & without),
        "AUC, crystalline against all clean": auc(score, ice, clean),
        "crystalline cells called": float(called[ice].mean()),
        "clean cells called, without fringes": float(called[clean & without].mean()),
        "clean cells called, all": float(called[clean].mean()),
    }
    for plane, scale in zip(np.nan_to_num(log_p), SCALES):
        result[f"AUC, {scale:.0f} Å only"] = auc(-plane, ice, clean & without)
    return result


def auc(score: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the area under the ROC curve of two groups of cells."""
    chosen = positive | negative
    return float(roc_auc_score(positive[chosen], score[chosen]))


def main() -> None:
    """Run the benchmark, print and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--pixel-size", type=float, default=1.0)
    parser.add_argument("--simulated", type=Path, metavar="DIR")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    name = f"{args.rows}×{args.columns} px at {args.pixel_size} Å/px"
    clock, processor = seconds((args.rows, args.columns), args.pixel_size)
    measured = {f"seconds, {name}": clock, f"seconds of processor, {name}": processor, **false_alarms()}
    if args.simulated:
        measured.update(simulated(args.simulated))
    result: Dict[str, Any] = {**about(), "torch": torch.__version__, "threads": 1, "measured": measured}
    record(result, args.output)


if __name__ == "__main__":
    main()
