# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeping freed memory (core/cli/memory.py) gains, and what it costs: training steps, and maps of one micrograph.

usage: python benchmarks/bench_memory.py [--rows 4096 --columns 4096 --rounds 3 --output results.json]
Both ways in turn, each in a process of its own; the shortest of all rounds counts.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List

import numpy as np
import torch
from about import about, record

from cryoice_scipion.constants import CLASSES, DEFAULT_MODEL, GOOD
from cryoice_scipion.core.cli.memory import keep_memory
from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import resolve_model
from cryoice_scipion.core.detectors.unet import UNet
from cryoice_scipion.core.training.unet.crops import Cropper
from cryoice_scipion.core.training.unet.fit import UNetRun
from cryoice_scipion.core.training.unet.training_micrographs import TrainingMicrograph
from cryoice_scipion.core.views.micrograph import SPECTRAL_FEATURES

_SIDE, _FIELDS, _MAPS = 768, 24, 4  # px of the context view; fields of an epoch, four steps of six; maps


def measure(rows: int, columns: int) -> Dict[str, float]:
    """Return the shortest time of a training step and of a map in this process, s, and its memory, MB."""
    rng = np.random.default_rng(0)
    spectrum = rng.normal(size=(len(SPECTRAL_FEATURES), _SIDE // 16, _SIDE // 16)).astype(np.float16)
    labels = rng.integers(0, 2, (_SIDE // 8, _SIDE // 8)).astype(np.uint8)
    view = rng.normal(size=(_SIDE, _SIDE)).astype(np.float16)
    croppers = [
        Cropper(str(number), TrainingMicrograph(str(number), view, spectrum, labels)) for number in range(_FIELDS)
    ]
    config = TrainConfig(network="unet", batch=6, epochs=3, mixed_precision=True)
    network = UNet(2, config.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = UNetRun(network, croppers, [GOOD, CLASSES[1]], config, {}, "cpu")
    steps = []
    for epoch in (1, 2, 3):
        start = time.perf_counter()
        run.epoch(epoch, progress=False)
        steps.append((time.perf_counter() - start) / (_FIELDS / config.batch))
    del run, croppers, network
    detector = load_detector(resolve_model(DEFAULT_MODEL))
    image, border = rng.normal(size=(rows, columns)).astype(np.float32), np.zeros((rows, columns), bool)
    maps = []
    for _ in range(_MAPS):
        start = time.perf_counter()
        detector.map(image, 1.0, border)
        maps.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"training step (s)": min(steps), "map (s)": min(maps), "largest memory (MB)": peak}


def main() -> None:
    """Measure both ways, print and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", choices=("kept", "given back"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        if args.child == "kept" and not keep_memory():
            sys.exit("freed memory cannot be kept here: no glibc, or the environment says what it is to do")
        print(json.dumps(measure(args.rows, args.columns)))
        return
    found: Dict[str, List[Dict[str, float]]] = {"given back": [], "kept": []}
    size = ["--rows", str(args.rows), "--columns", str(args.columns)]
    for _ in range(args.rounds):
        for how, rounds in found.items():
            child = subprocess.run(
                [sys.executable, __file__, *size, "--child", how], stdout=subprocess.PIPE, check=True
            )
            rounds.append(json.loads(child.stdout))
    shortest = {how: {name: min(row[name] for row in rounds) for name in rounds[0]} for how, rounds in found.items()}
    gains = {name: value / shortest["kept"][name] for name, value in shortest["given back"].items()}
    result = {
        "micrograph": f"{args.rows}×{args.columns} px at 1.0 Å/px, random",
        **about(),
        "torch": torch.__version__,
        **{f"given back, times kept: {name.partition(' (')[0]}": round(value, 2) for name, value in gains.items()},
        "measured": {f"{how}: {name}": round(value, 3) for how, row in shortest.items() for name, value in row.items()},
    }
    record(result, args.output)


if __name__ == "__main__":
    main()
