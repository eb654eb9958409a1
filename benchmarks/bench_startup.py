# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the command takes to start, and to find that a run has nothing left to do.

usage: python benchmarks/bench_startup.py [--micrographs 8 --rows 4096 --columns 4096 --rounds 5 --output results.json]
Seconds of processor on one thread, the shortest of all rounds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Dict, List

from about import about, record
from trial import Used, run, write_noise

CRYOICE = [sys.executable, "-m", "cryoice_scipion.core"]


def commands(folder: Path, micrographs: int, rows: int, columns: int) -> Dict[str, List[str]]:
    """Return what is measured, by its name; this screens the micrographs once."""
    head = "data_\n\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n"
    lines = []
    for number in range(micrographs):
        write_noise(folder / "micrographs" / f"mic{number}.mrc", rows, columns, 1.2, number)
        lines += [f"mic{number}.mrc {x} {rows // 2}\n" for x in range(100, columns - 100, 50)]
    (folder / "picks.star").write_text(head + "".join(lines), encoding="utf-8")
    words = ["screen", str(folder / "micrographs"), "--output", str(folder / "run")]
    words += ["--coordinates", str(folder / "picks.star"), "--box-size", "200"]
    run([*CRYOICE, *words])
    return {
        "python without the package": [sys.executable, "-c", "pass"],
        "import cryoice_scipion.core": [sys.executable, "-c", "import cryoice_scipion.core"],
        "cryoice --help": [*CRYOICE, "--help"],
        "cryoice screen --help": [*CRYOICE, "screen", "--help"],
        "cryoice screen --resume, nothing to do": [*CRYOICE, *words, "--resume"],
        "import torch": [sys.executable, "-c", "import torch"],
        "worker, until it is ready": [*CRYOICE, "worker", "--device", "cpu"],  # its input is empty: it ends when ready
    }


def main() -> None:
    """Run the benchmark, print and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micrographs", type=int, default=8)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = commands(Path(folder), args.micrographs, args.rows, args.columns)
        used: Dict[str, List[Used]] = {name: [] for name in measured}
        for _ in range(args.rounds):
            for name, command in measured.items():
                used[name].append(run(command))
    coordinates = len(range(100, args.columns - 100, 50)) * args.micrographs
    result = {
        "run": f"{args.micrographs} micrographs of {args.rows}×{args.columns} px, {coordinates} coordinates, done",
        **about(),
        "seconds": {name: round(min(one.cpu for one in rounds), 3) for name, rounds in used.items()},
        "worker ready (s by the clock)": round(min(one.seconds for one in used["worker, until it is ready"]), 2),
    }
    record(result, args.output)


if __name__ == "__main__":
    main()
