# SPDX-License-Identifier: GPL-3.0-or-later
"""The largest memory of a screening by the size of the micrographs, and its growth over many micrographs.

usage: python benchmarks/bench_frames.py [--sizes 4096x4096 ... --number 500 --output results.json]
Each size is one process, ``cryoice screen`` on two micrographs of noise. The growth is that of one process.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Dict

import torch
from about import about, record
from trial import run, write_noise

from cryoice_scipion import core
from cryoice_scipion.core.cli.memory import keep_memory

FRAMES = {"4096x4096": 1.05, "5760x4092": 0.83, "11520x8184": 0.415}  # Å/px
SIDE, PIXEL_SIZE = 512, 4.0  # px, Å/px, of the many micrographs


def resident() -> float:
    """Return the memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak(size: str) -> float:
    """Return the largest memory of a screening of two micrographs, MB."""
    rows, columns = map(int, size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "micrographs"
        for number in range(2):
            write_noise(images / f"{number}.mrc", rows, columns, FRAMES[size], number)
        words = ["screen", str(images), "--output", f"{folder}/run", "--device", "cpu"]
        return run([sys.executable, "-m", "cryoice_scipion.core", *words]).peak


def growth(number: int) -> Dict[str, float]:
    """Return the memory of this process after each fifth of a screening of many small micrographs, MB."""
    keep_memory()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "micrographs"
        for index in range(number):
            write_noise(images / f"mic{index:04d}.mrc", SIDE, SIDE, PIXEL_SIZE, index)
        results = core.screen_files(images, core.load("default", "cpu"), Path(folder) / "run")
        memory = {index: resident() for index, _ in enumerate(results, 1) if index % (number // 5) == 0}
    return {f"after {index} micrographs of {SIDE}×{SIDE} px (MB)": value for index, value in memory.items()}


def main() -> None:
    """Run the benchmark, print and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(FRAMES), choices=list(FRAMES), metavar="ROWSxCOLUMNS")
    parser.add_argument("--number", type=int, default=500)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    measured = {f"{size.replace('x', '×')} px at {FRAMES[size]} Å/px, peak (MB)": peak(size) for size in args.sizes}
    measured.update(growth(args.number))
    result = {
        **about(),
        "torch": torch.__version__,
        "measured": {name: round(value) for name, value in measured.items()},
    }
    record(result, args.output)


if __name__ == "__main__":
    main()
