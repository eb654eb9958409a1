# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the model that is shipped, from nothing: ``make default-model``.

Simulated micrographs of several pixel sizes, and the annotated real ones where ../shared/real is there. What is done
already in the build folder is not done again. The model lands in cryoice_scipion/models/default.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "real"
TARGET = ROOT / "cryoice_scipion" / "models" / "default"
# name, number, rows and columns in px, Å/px, seed
SETS = (
    ("sim_1.0", 150, 1280, 1.0, 11),
    ("sim_1.5", 240, 1024, 1.5, 12),
    ("sim_2.0", 300, 896, 2.0, 13),
    ("sim_3.5", 210, 640, 3.5, 14),
)
VIEWS = ("patch", "local", "fft", "spectrum")
# Only for testing: the first simulated ones of each set, and real ones of either source.
HOLD_OUT = [
    "sim_000[1-9]*",
    "sim_001[0-9]*",
    "Falcon_2012_06_12-15_53_09_0",
    "Falcon_2012_06_12-15_43_48_0",
    "20feb12b_hexFK__00028gr_00028sq_v01_00002hl_v01_00004en-a",
    "18feb14h_grid1_00014gr_00007sq_v02_00005hl_00005en-a",
    "19aug17a_grid5_00090gr_00048sq_00002hl_00012en-a",
    "18jan09b_grid2_00006gr_00004sq_v02_00011hl_00005en-a",
]


NOTE = (
    "900 simulated micrographs of 1.0 to 3.5 Å/px, each of a session of its own; and, annotated by hand "
    "(benchmarks/real/annotations), 7 micrographs of EMPIAR-10017 (8-bit, low-passed) and 12 examples of MicAssess "
    "(8 Å/px assumed). Held out: the first 19 simulated ones of each set, 2 of EMPIAR-10017, 4 of MicAssess. A first "
    "model: it ranks places better than it knows their level; look at the thumbnails before trusting its threshold."
)


def run(*arguments: object) -> None:
    """Run one command of the command line; stop when it fails."""
    words = [str(word) for word in arguments]
    print("cryoice", *words, flush=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "cryoice_scipion.core", *words], check=True, env=environment)


def patches(folder: Path, *arguments: object) -> Path:
    """Cut the patches of one data set, unless they are there."""
    if not (folder / "patches.json").is_file():
        run("patches", "--output", folder, *arguments)
    return folder


def main() -> None:
    """Simulate, cut, train, install."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "out" / "default-model")
    parser.add_argument("--target", type=Path, default=TARGET)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    sets = []
    for name, number, side, pixel_size, seed in SETS:
        folder = args.build / name
        size = f"{side}x{side}"
        run(
            "simulate",
            "--output",
            folder,
            "--number",
            number,
            "--seed",
            seed,
            "--size",
            size,
            "--pixel-size",
            pixel_size,
        )
        sets.append(
            patches(args.build / f"patches_{name}", "--simulated", folder, "--per-class", 10, "--jitter-copies", 0)
        )
    real = args.build / "real_annotated"
    if SHARED.is_dir():
        script = ROOT / "benchmarks" / "real" / "training_folder.py"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, str(script), "--output", str(real)], check=True, env=environment)
        sets.append(patches(args.build / "patches_real", "--simulated", real, "--per-class", 50, "--jitter-copies", 1))
    else:
        print("no ../shared/real here: the model is trained on simulated micrographs only")
        HOLD_OUT[:] = [name for name in HOLD_OUT if name.startswith("sim_")]
    model = args.build / "model"
    run(
        "train",
        "--output",
        model,
        "--name",
        "default",
        "--patches",
        *sets,
        "--hold-out",
        *HOLD_OUT,
        "--network",
        "two_scale",
        "--views",
        *VIEWS,
        "--epochs",
        args.epochs,
        "--own-sessions",
        "--note",
        NOTE if SHARED.is_dir() else "simulated micrographs only",
        "--device",
        args.device,
    )
    shutil.rmtree(args.target, ignore_errors=True)
    shutil.copytree(model, args.target)
    print(f"installed in {args.target}")


if __name__ == "__main__":
    main()
