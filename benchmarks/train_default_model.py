# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the model that is shipped, from nothing: ``make default-model``.

Simulated micrographs of several pixel sizes, and the annotated real ones where ../shared/real is there. What is done
already in the build folder is not done again. The model lands in cryoice_scipion/models/default.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import List, Sequence, Tuple

import torch
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))
from cryoice_scipion.core.detectors.model_folder import CARD, write_sums  # noqa: E402
from cryoice_scipion.core.evaluation.labels import find_labelled  # noqa: E402
from cryoice_scipion.core.training.unet.training_micrographs import prepare_micrographs  # noqa: E402

SHARED = ROOT.parent / "shared" / "real"
BUILD, REAL = ROOT / "out" / "default-model", "real_annotated"  # where all is made; a folder in it
TARGET = ROOT / "cryoice_scipion" / "models" / "default"
Options = Tuple[object, ...]
SetRow = Tuple[str, int, int, float, int, Options]  # name, number, rows and columns in px, Å/px, seed, what
# What is drawn, as options of ``cryoice simulate``. Fringes of single crystals are finer than the coarse sets can show:
# a label that nobody can see teaches nothing.
EVERYTHING: Options = ()
SEEN_COARSE = ("--kinds", "poly", "frost", "ethane", "carbon", "gold", "thick", "aggregate", "dirt", "vacuum")
# What differs from ice by its level first, and so is taken for ice beside something darker: of this, more is needed.
LEVELS = ("--kinds", "thick", "vacuum", "carbon", "gold", "ethane")
# Small dark crystals and films among crowded particles, band-passed, as EMPIAR-10017 has them.
PUBLISHED = ("--kinds", "dirt", "frost", "carbon", "aggregate", "--published-share", 1)
# Single dark crystals and specks, small parts of the area, that differ from particles by being few and not alike.
SPECKS = ("--kinds", "dirt", "frost")
SETS: Tuple[SetRow, ...] = (
    ("sim_1.0", 200, 1280, 1.0, 11, EVERYTHING),
    ("sim_1.5", 300, 1024, 1.5, 12, EVERYTHING),
    ("sim_1.8", 300, 1536, 1.8, 17, SEEN_COARSE),
    ("sim_2.0", 300, 1024, 2.0, 13, SEEN_COARSE),
    ("sim_2.8", 260, 1024, 2.8, 18, SEEN_COARSE),
    ("sim_3.5", 300, 768, 3.5, 14, SEEN_COARSE),
    ("sim_4.2", 300, 896, 4.2, 19, SEEN_COARSE),
    ("sim_5.0", 220, 896, 5.0, 15, SEEN_COARSE),
    ("sim_6.5", 300, 640, 6.5, 20, SEEN_COARSE),
    ("sim_8.0", 280, 512, 8.0, 16, SEEN_COARSE),
    ("levels_1.2", 240, 1280, 1.2, 21, LEVELS),
    ("levels_2.4", 240, 1024, 2.4, 22, LEVELS),
    ("levels_6.0", 240, 768, 6.0, 23, LEVELS),
    ("published_1.8", 300, 1536, 1.8, 24, PUBLISHED),
    ("specks_1.6", 240, 1536, 1.6, 25, SPECKS),
    ("specks_3.0", 240, 1024, 3.0, 26, SPECKS),
    ("specks_7.0", 240, 640, 7.0, 27, SPECKS),
)
FINE = 1.72  # Å/px: half of the finest of the first three reflections of ice, 3.44 Å
ALL_OVER = 0.98  # share of the area
REAL_CROPS = 20  # of each real micrograph in an epoch; 1 of each simulated one
# Only for testing: the first simulated ones of each set, and real ones.
HOLD_OUT = [
    "sim_000[1-9]*",
    "sim_001*",
    "sim_002[0-5]*",
    "Falcon_2012_06_12-15_53_09_0",
    # Labels that cannot be told from the picture alone: noise without ice, a film all over.
    "18dec17a_grid3_00085gr_00105sq_00003hl_00011en-a",
    "19aug17a_grid5_00090gr_00048sq_00002hl_00012en-a",
    "20feb12b_hexFK__00028gr_00028sq_v01_00002hl_v01_00004en-a",
]


NOTE = (
    f"{sum(number for _, number, *_ in SETS)} simulated micrographs of 1 to 8 Å/px, each a session of its own, without "
    "those that have no ice; and micrographs of EMPIAR-10017 (8-bit, low-pass filtered) and examples of MicAssess "
    "(8 Å/px assumed). Three annotators outlined the bad area, one annotator on micrographs that are bad from edge to "
    "edge (benchmarks/results/annotators.md)."
)


def run(*arguments: object) -> None:
    """Run one command of the command line; stop when it fails."""
    words = [str(word) for word in arguments]
    print("cryoice", *words, flush=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "cryoice_scipion.core", *words], check=True, env=environment)


def leave_out_invisible(folder: Path, pixel_size: float) -> None:
    """Remove the label images of micrographs that nothing tells from ice: all vacuum; of coarse ones, all film."""
    invisible = ("vacuum",) if pixel_size <= FINE else ("vacuum", "carbon")
    for path in (folder / "truth").glob("*.json"):
        config = json.loads(path.read_text(encoding="utf-8"))["config"]
        drawn = zip(config["kinds"], config["areas"])
        if any(kind in invisible and area > ALL_OVER for kind, area in drawn):
            (folder / "labels" / f"{path.stem}.mrc").unlink(missing_ok=True)


def draw_set(build: Path, name: str, number: int, side: int, pixel_size: float, seed: int, what: Options) -> Path:
    """Simulate one set, as far as that is not done; return its folder."""
    folder = build / name
    drawn = ("--number", number, "--seed", seed, "--size", f"{side}x{side}", "--pixel-size", pixel_size, "--quiet")
    run("simulate", "--output", folder, *drawn, *what)
    leave_out_invisible(folder, pixel_size)
    return folder


def prepare_set(build: Path, row: SetRow) -> None:
    """Simulate one set and make its views, as far as that is not done."""
    folder = draw_set(build, *row)
    torch.set_num_threads(1)
    prepare_micrographs(find_labelled(folder), build / "fields" / folder.name, progress=False)


def prepare(build: Path, sets: Sequence[SetRow], workers: int) -> List[Path]:
    """Make simulated sets, some at once, the largest first; return their folders."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
        order = sorted(sets, key=lambda row: -row[1] * row[2] ** 2)
        started = [pool.submit(prepare_set, build, row) for row in order]
        for done in tqdm(as_completed(started), total=len(sets), desc="simulated sets", unit="set"):
            for other in started if done.exception() else ():  # do not make them all before it is shown
                other.cancel()
            done.result()
    return [build / name for name, *_ in sets]


def write_real(build: Path) -> Path:
    """Make the folder of the annotated real micrographs from ../shared/real; return it."""
    folder = build / REAL
    script = ROOT / "benchmarks" / "real" / "training_folder.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(script), "--output", str(folder)], check=True, env=environment)
    return folder


def add_notes(model: Path) -> None:
    """Put what was found out about the model, by people, at the end of its card."""
    card, notes = model / CARD, (HERE / "default_model_notes.md").read_text(encoding="utf-8")
    text = card.read_text(encoding="utf-8").partition(notes.splitlines()[0])[0]
    card.write_text(text.rstrip() + "\n\n" + notes, encoding="utf-8")
    write_sums(model)


def main() -> None:
    """Simulate, cut, train, install."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--target", type=Path, default=TARGET)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="sets made at once (default: one a core)")
    parser.add_argument("--mixed-precision", action="store_true", help="see cryoice train; the shipped model's")
    parser.add_argument("--simulated-only", action="store_true", help="for other benchmarks; not installed")
    names = [name for name, *_ in SETS]
    parser.add_argument("--sets", nargs="+", choices=names, default=names, metavar="NAME", help="a smaller training")
    args = parser.parse_args()
    if args.sets != names and not args.simulated_only:
        parser.error("--sets needs --simulated-only: the shipped model is trained on all sets")
    rows = [row for row in SETS if row[0] in args.sets]
    sets, crops = prepare(args.build, rows, args.workers), [1] * len(rows)
    held_out = HOLD_OUT
    if SHARED.is_dir() and not args.simulated_only:
        folder = write_real(args.build)
        sets.append(folder)
        crops.append(REAL_CROPS)
    else:
        print("no ../shared/real, or not wanted: the model is trained on simulated micrographs only")
        held_out = [name for name in HOLD_OUT if name.startswith("sim_")]
    model = args.build / ("model-simulated" if args.simulated_only else "model")
    data = ("--simulated", *sets, "--crops", *crops, "--cache", args.build / "fields", "--hold-out", *held_out)
    fit = ["--network", "unet", "--epochs", args.epochs, "--batch", 6, "--learning-rate", 0.002, "--validation", 0.12]
    fit += ["--mixed-precision"] if args.mixed_precision else []
    note = NOTE if len(sets) > len(rows) else "simulated micrographs only"
    if (model / "SHA256SUMS").is_file() and not (model / "unfinished.pt").is_file():
        print(f"{model} is trained already; remove it to train again")
    else:
        run("train", "--output", model, "--name", "default", *data, *fit, "--note", note, "--device", args.device)
    if args.simulated_only:
        return
    add_notes(model)
    verdicts = [
        sys.executable,
        str(HERE / "verdicts.py"),
        "--model",
        str(model),
        "--install",
        "--output",
        str(args.build),
    ]
    subprocess.run(verdicts, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    fresh = args.target.with_name(f"{args.target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(model, fresh, ignore=shutil.ignore_patterns("predictions.csv"))  # large, and read by nothing
    write_sums(fresh)
    shutil.rmtree(args.target, ignore_errors=True)
    fresh.rename(args.target)
    print(f"installed in {args.target}")


if __name__ == "__main__":
    main()
