# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the annotated real micrographs into the shape that ``cryoice train --simulated`` reads.

usage: python benchmarks/real/training_folder.py --output DIR [--shared DIR] [--only NAME...] [--without NAME...]
Writes DIR/micrographs/STEM.mrc, DIR/labels/STEM.mrc (class codes at 8 Å; 127 where the annotators are not sure), and
DIR/good.star with the hand-picked particles that do not sit on anything bad.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import List, Sequence

import mrcfile
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from rasterise import annotated, label_image, load_annotations  # noqa: E402

HERE = Path(__file__).resolve().parent
SAMPLING = 8.0  # Å of a label cell


def write(shared: Path, output: Path, only: Sequence[str], without: Sequence[str]) -> List[str]:
    """Write micrographs and label images; return the stems."""
    prepared, unfinished = output / "prepared", output / "prepared.unfinished"
    if not prepared.is_dir():
        shutil.rmtree(unfinished, ignore_errors=True)
        subprocess.run([sys.executable, str(shared / "prepare.py"), str(unfinished)], check=True)
        unfinished.rename(prepared)
    for name in ("micrographs", "labels"):
        (output / name).mkdir(parents=True, exist_ok=True)
    stems, known = [], annotated()
    for path in sorted(prepared.glob("**/*.mrc")):
        if path.stem not in known or path.stem in without or (only and path.stem not in only):
            continue
        annotations = load_annotations(path.stem)
        codes = label_image(annotations, SAMPLING / annotations[0].pixel_size)
        with mrcfile.new(output / "labels" / path.name, overwrite=True) as mrc:
            mrc.set_data(codes.astype(np.int8))
            mrc.voxel_size = SAMPLING
        link = output / "micrographs" / path.name
        if not link.exists():
            os.link(path, link)
        stems.append(path.stem)
    for path in (*(output / "labels").glob("*.mrc"), *(output / "micrographs").glob("*.mrc")):
        if path.stem not in stems:  # of an earlier call
            path.unlink()
    script = [sys.executable, str(HERE / "label_picks.py")]
    raw = ["--coordinates", str(shared / "empiar10017" / "coordinates"), "--output", str(output / "labelled")]
    subprocess.run([*script, *raw], check=True, stdout=subprocess.DEVNULL)
    shutil.copy(output / "labelled" / "good.star", output / "good.star")
    return stems


def main() -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "real")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--without", nargs="+", default=[])
    args = parser.parse_args()
    stems = write(args.shared, args.output, args.only, args.without)
    print(f"{len(stems)} annotated micrographs in {args.output}")


if __name__ == "__main__":
    main()
