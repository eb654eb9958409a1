# SPDX-License-Identifier: GPL-3.0-or-later
"""The processor time of a micrograph in cryoice and in other programs, by its size and by how many there are.

usage: python benchmarks/bench_programs.py [--sizes 2048x2048 ... --counts 1 4 16 64 --output programs.json]
Whole commands, each on one thread, on the same simulated micrographs, in one run:

- the floor: read each micrograph, and transform it once;
- patch by patch: cut, transform and classify each patch on its own with the small network of ``patch_fft``; no files;
- cryoice screen: the shipped model, with all outputs and no coordinates;
- IceBreaker: ``ib.micrographs_group`` and ``ib.five_fig`` of the package icebreaker-em, which is installed from PyPI
  into an environment of its own (--icebreaker). It groups by brightness and finds no contamination or crystals.

Compare ratios. --counts are of micrographs of the size --counted.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

from about import about, record
from trial import ONE_THREAD, run

ROOT = Path(__file__).resolve().parents[1]
SIZES = ("2048x2048", "4096x4096", "5760x4092", "11520x8184")
PIXEL_SIZE = 1.05  # Å/px
ICEBREAKER = "icebreaker-em==0.3.9"
FLOOR, NAIVE, OURS, THEIRS = "the floor", "patch by patch", "cryoice screen", "IceBreaker"
COLOURS = {FLOOR: "#666666", NAIVE: "#E69F00", OURS: "#0072B2", THEIRS: "#D55E00"}
MARKS = {FLOOR: "s", NAIVE: "^", OURS: "o", THEIRS: "v"}


def transform(paths: Sequence[str]) -> None:
    """Read each micrograph, and transform it once."""
    import scipy.fft

    from cryoice_scipion.core.images.reading import read_micrograph

    for path in paths:
        scipy.fft.rfft2(read_micrograph(path).as_float32(), workers=1)


def patch_by_patch(paths: Sequence[str]) -> None:
    """Classify each patch of each micrograph by a network that is not trained."""
    import torch

    from cryoice_scipion.core.detectors.patch_fft import PatchFftNet
    from cryoice_scipion.core.images.loading import load_micrograph
    from cryoice_scipion.core.views.micrograph import DeviceImage
    from cryoice_scipion.core.views.patches import grid_shape, normalise, pad_for_grid, windows

    torch.set_num_threads(1)
    network = PatchFftNet(3).eval()
    for path in paths:
        loaded = load_micrograph(path)
        view = normalise(*DeviceImage(loaded.image, loaded.pixel_size, loaded.border, torch.device("cpu")).at(4.0))
        padded = pad_for_grid(view, 64, 16)
        with torch.inference_mode():
            for row in range(grid_shape((int(view.shape[0]), int(view.shape[1])), 16)[0]):
                for patch in torch.split(windows(padded, 64, 16, row, 1), 1):
                    network(patch)


PARTS: Dict[str, Callable[[Sequence[str]], None]] = {"floor": transform, "naive": patch_by_patch}


def commands(images: Path, folder: Path, icebreaker: Path) -> Dict[str, List[List[str]]]:
    """Return the commands of each program."""
    paths = sorted(map(str, images.iterdir()))
    this = [sys.executable, __file__, "--part"]
    cryoice = [sys.executable, "-m", "cryoice_scipion.core", "screen", str(images), "--output", str(folder / "run")]
    return {
        FLOOR: [[*this, "floor", *paths]],
        NAIVE: [[*this, "naive", *paths]],
        OURS: [[*cryoice, "--device", "cpu"]],
        THEIRS: [
            [str(icebreaker / "bin" / "ib.micrographs_group"), "-i", str(images), "-j", "1"],
            [str(icebreaker / "bin" / "ib.five_fig"), "-i", str(images / "grouped"), "-j", "1"],
        ],
    }


def measure(source: Path, number: int, icebreaker: Path) -> Dict[str, float]:
    """Return the seconds of processor of each program for each of a number of copies of a micrograph."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "micrographs"
        images.mkdir()
        for index in range(number):
            shutil.copyfile(source, images / f"{index:03d}.mrc")
        environment = {**ONE_THREAD, "PYTHONPATH": str(ROOT), "OPENCV_FOR_THREADS_NUM": "1"}
        found = {}
        for program, steps in commands(images, folder, icebreaker).items():
            found[program] = round(sum(run(step, environment, folder).cpu for step in steps) / number, 3)
            print(f"{source.stem}, {number}: {program} {found[program]} s", file=sys.stderr)
        return found


def simulated(folder: Path, size: str) -> Path:
    """Return a simulated micrograph with contamination."""
    words = ["--number", "1", "--size", size, "--pixel-size", str(PIXEL_SIZE), "--output", str(folder / size)]
    run([sys.executable, "-m", "cryoice_scipion.core", "simulate", *words])
    made = next((folder / size / "micrographs").iterdir())
    return made.rename(folder / f"{size}.mrc")


def draw(result: Dict[str, Any], path: Path) -> None:
    """Plot the time of a micrograph against its size, and against how many there are."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3.6), sharey=True)
    for axes, part in ((left, "sizes"), (right, "counts")):
        rows = result[part]
        at = [_megapixels(name) if part == "sizes" else int(name) for name in rows]
        for program in COLOURS:
            values = [one[program] for one in rows.values()]
            axes.loglog(at, values, marker=MARKS[program], color=COLOURS[program], label=program)
        axes.set_xticks(at, [f"{value:.0f}" for value in at])
        axes.minorticks_off()
    left.set_xlabel(f"megapixels, {result['number']} micrographs each")
    left.set_ylabel("processor seconds a micrograph")
    right.set_xlabel(f"micrographs of {result['counted']} px")
    left.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _megapixels(size: str) -> float:
    rows, columns = size.split("×")
    return int(rows) * int(columns) / 1e6


def main() -> None:
    """Run the benchmark, print, plot and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="ROWSxCOLUMNS")
    parser.add_argument("--number", type=int, default=4, help="micrographs of each size")
    parser.add_argument("--counts", nargs="+", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--counted", default="2048x2048", metavar="ROWSxCOLUMNS")
    parser.add_argument("--icebreaker", type=Path, default=ROOT / "build" / "icebreaker", help="its environment")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "pictures" / "programs.png")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        PARTS[args.part[0]](args.part[1:])
        return
    if not (args.icebreaker / "bin" / "ib.five_fig").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(args.icebreaker)], check=True)
        subprocess.run([str(args.icebreaker / "bin" / "pip"), "install", "--quiet", ICEBREAKER], check=True)
    with tempfile.TemporaryDirectory() as name:
        sources = {size: simulated(Path(name), size) for size in dict.fromkeys([*args.sizes, args.counted])}
        result = {
            "micrographs": f"copies of a simulated one of each size at {PIXEL_SIZE} Å/px",
            **about(),
            "number": args.number,
            "sizes": {s.replace("x", "×"): measure(sources[s], args.number, args.icebreaker) for s in args.sizes},
            "counted": args.counted.replace("x", "×"),
            "counts": {str(n): measure(sources[args.counted], n, args.icebreaker) for n in args.counts},
        }
    record(result, args.output)
    draw(result, args.picture)


if __name__ == "__main__":
    main()
