# SPDX-License-Identifier: GPL-3.0-or-later
"""Time ``cryoice filter``: coordinates on stored maps, and how the time is shared between reading and scoring.

usage: python benchmarks/bench_filter.py [--micrographs 1000 --picks 1000 --output FILE]
One micrograph of 4096 x 4096 px is simulated and screened. Its map is stored under the names of the others.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from about import about, record

from cryoice_scipion.core.cli import main as cryoice
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, X, Y, read_picks, write_star
from cryoice_scipion.core.results.stored_maps import StoredMaps

SIDE = 4096


def make_run(folder: Path, number: int) -> None:
    """Screen one simulated micrograph and store its map under the names of ``number`` micrographs."""
    data, run = folder / "data", folder / "run"
    words = ["--number", "1", "--size", f"{SIDE}x{SIDE}", "--pixel-size", "1.5", "--clean-share", "0", "--quiet"]
    cryoice(["simulate", "--output", str(data), *words])
    cryoice(["screen", str(data / "micrographs"), "--output", str(run), "--device", "cpu"])
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    stem = next(line["stem"] for line in lines if line["kind"] == "mapped")
    first = {line["kind"]: line for line in lines}
    for index in range(2, number + 1):
        name = f"mic_{index:05d}"
        os.link(run / ".maps" / f"{stem}.npz", run / ".maps" / f"{name}.npz")
        mapped, screened = (json.loads(json.dumps(first[kind]).replace(stem, name)) for kind in ("mapped", "screened"))
        mapped["id"] = screened["record"]["id"] = index
        lines += [mapped, screened]
    (run / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--micrographs", type=int, default=1000)
    parser.add_argument("--picks", type=int, default=1000, help="per micrograph")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_run(folder, args.micrographs)
        start = time.perf_counter()
        maps = StoredMaps.read(folder / "run")
        journal = time.perf_counter() - start
        names = np.repeat([task.path for task in maps.tasks.values()], args.picks)
        at = np.random.default_rng(0).uniform(0, SIDE, (len(names), 2)).round(1)
        write_star(folder / "picks.star", pd.DataFrame({MICROGRAPH: names, X: at[:, 0], Y: at[:, 1]}))
        start = time.perf_counter()
        read_picks(folder / "picks.star")
        reading = time.perf_counter() - start
        words = ["--coordinates", str(folder / "picks.star"), "--particle-diameter", "150", "--quiet"]
        start = time.perf_counter()
        cryoice(["filter", str(folder / "run"), "--output", str(folder / "new"), *words])
        whole = time.perf_counter() - start
    seconds = {"the whole command": whole, "of it, reading coordinates": reading, "of it, reading the journal": journal}
    record({**about(), "micrographs": args.micrographs, "picks": len(names), "seconds": seconds}, args.output)


if __name__ == "__main__":
    main()
