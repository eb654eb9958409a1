# SPDX-License-Identifier: GPL-3.0-or-later
"""Stream results of a stand-in detector through the process that writes a run: cost, memory and resume against size.

usage: python benchmarks/bench_scale.py [--micrographs 100000 --coordinates 200 --stars --output results.json]
Everything is real but the detector: pool, journal, tables, lists, report and, with --stars, the coordinate files. The
stand-in writes no maps. Seconds are of the processor, since other programs share the machine. With --workers N, the
stand-in computes in N Dask workers; the scheduler is in the process that is measured, as with --cluster slurm:N.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import numpy as np
import pandas as pd
from about import about, record

from cryoice_scipion.core.config import ModelConfig, ScreenConfig, ViewConfig
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, PickTable, X, Y
from cryoice_scipion.core.records import MapResult, MicrographRecord, MicrographTask, Pick, PickScore, Reference
from cryoice_scipion.core.reports.html import write_report
from cryoice_scipion.core.results.run_folder import JOURNAL
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.workers import cluster, cluster_task
from cryoice_scipion.core.workers.interface import Executor

BATCH, PARTS, EXECUTORS = 100, 10, 4  # micrographs between two calls of the run; parts of it; threads
CONFIG = ScreenConfig(reference=20, outlier=False, grade=False, particle_diameter=150.0)
MODEL = ModelConfig(name="stand-in", views=[ViewConfig()], recommended_threshold=0.5)


class StandIn:
    """An executor that draws its results by chance and writes no file."""

    model, fingerprint, device = MODEL, "stand-in", "cpu"

    def map(self, task: MicrographTask, config: ScreenConfig, contrast: str, folder: Path) -> MapResult:
        """Return a map result without a map."""
        level = -4.0 + task.id % 7 / 10
        paths = f".maps/{task.stem}.npz", f".maps/{task.stem}.jpg"
        return MapResult([4096, 4096], 1.05, 32.0, level, -0.5, False, *paths, ["border"], 3.9)

    def score(
        self, task: MicrographTask, result: MapResult, reference: Reference, config: ScreenConfig, folder: Path
    ) -> MicrographRecord:
        """Return a record; every third coordinate is rejected."""
        chance = np.random.default_rng(task.id)
        goodness = chance.random(len(task.picks), dtype=np.float32).astype(float).tolist()
        scores = [
            PickScore(pick.id, value, "good" if value >= 0.5 else "contamination", value >= 0.5)
            for pick, value in zip(task.picks, goodness)
        ]
        bad = float(round(chance.random() ** 3, 6))
        return MicrographRecord(
            id=task.id, stem=task.stem, path=task.path, status="accepted", bad_area=bad,
            areas={"good": 1 - bad, "contamination": bad}, scores=scores, flags=["border"], seconds=4.1,
            pixel_size=1.05, shape=[4096, 4096], median_logit=result.median_logit, particle_diameter=150.0,
            diameter_from="setting", probability=f"probability/{task.stem}.mrc", mask=f"masks/{task.stem}.mrc",
            thumbnail=f"thumbnails/{task.stem}.png",
        )  # fmt: skip

    def close(self) -> None:
        """Do nothing."""


def path_of(key: int) -> str:
    """Return the path of a micrograph."""
    return f"/data/session/micrographs/FoilHole_{key:08d}_Data_{key % 97:04d}_fractions.mrc"


def tasks(first: int, last: int, coordinates: int) -> Iterator[MicrographTask]:
    """Yield micrographs by id, each with its coordinates."""
    for key in range(first, last):
        places = np.random.default_rng(-key % 2**32).integers(0, 4096, (coordinates, 2)).astype(float).tolist()
        picks = [Pick((key - 1) * coordinates + index, x, y) for index, (x, y) in enumerate(places)]
        yield MicrographTask(key, path_of(key), Path(path_of(key)).stem, None, picks)


def table_of(number: int, coordinates: int) -> PickTable:
    """Return the coordinates of all micrographs as one table."""
    names = pd.Categorical.from_codes(
        np.repeat(np.arange(number), coordinates), [path_of(key) for key in range(1, number + 1)]
    )
    places = np.random.default_rng(0).integers(0, 4096, (number * coordinates, 2)).astype(float)
    return PickTable(pd.DataFrame({X: places[:, 0], Y: places[:, 1], MICROGRAPH: names.astype(object)}), "simulated")


def dask_setup(worker: Any) -> None:
    """Let a Dask worker that preloads this file compute with the stand-in."""
    cluster_task.load = lambda **options: StandIn()


@contextlib.contextmanager
def executors(workers: int) -> Iterator[Sequence[Executor]]:
    """Yield executors in this process or, with workers, in Dask workers."""
    if not workers:
        yield [StandIn() for _ in range(EXECUTORS)]
        return
    import distributed

    with distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, memory_limit=None, dashboard_address=":0", preload=[__file__],
        silence_logs=logging.CRITICAL,
    ) as made:  # fmt: skip
        found = cluster.cluster_executors(made.scheduler_address, CONFIG, "cpu", logging.getLogger())
        for executor in found:
            executor.model, executor.fingerprint = MODEL, StandIn.fingerprint
        yield found


def open_run(
    folder: Path, args: argparse.Namespace, resume: bool, found: Optional[Sequence[Executor]] = None
) -> ScreeningRun:
    """Begin or continue the run."""
    picks: Optional[PickTable] = table_of(args.micrographs, args.coordinates) if args.stars else None
    options = RunOptions(resume=resume, picks=picks, write_report=write_report)
    return ScreeningRun(folder, CONFIG, found or [StandIn()], options)


def memory() -> float:
    """Return the largest memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def stream(folder: Path, args: argparse.Namespace) -> Dict[str, Any]:
    """Screen all micrographs; return the milliseconds of each part of them."""
    parts: List[Dict[str, float]] = []
    with executors(args.workers) as found, open_run(folder, args, False, found) as run:
        size, last = args.micrographs // PARTS, 1
        while last <= args.micrographs:
            given = list(tasks(last, min(last + BATCH, args.micrographs + 1), args.coordinates))
            if last == 1 or (last - 1) % size == 0:
                parts.append({"cpu": 0.0, "clock": 0.0})
            began = time.process_time(), time.perf_counter()
            for _ in run.process(given, closed=False):
                pass
            parts[-1]["cpu"] += time.process_time() - began[0]
            parts[-1]["clock"] += time.perf_counter() - began[1]
            last += len(given)
        began = time.process_time(), time.perf_counter()
        list(run.process([], closed=True))
        finish = time.process_time() - began[0]
    each = {name: [round(1e3 * part[name] / size, 2) for part in parts] for name in ("cpu", "clock")}
    return {"ms": each["cpu"], "ms_clock": each["clock"], "finish": finish, "memory": memory()}


def resume(folder: Path, args: argparse.Namespace) -> Dict[str, Any]:
    """Continue the finished run; return the seconds until the first micrograph could be screened."""
    picks = time.process_time(), time.perf_counter()
    with open_run(folder, args, True) as run:
        opened = time.process_time() - picks[0], time.perf_counter() - picks[1]
        assert len(run.ids) == args.micrographs
    return {"resume": opened[0], "resume_clock": opened[1], "memory": memory()}


def child(step: str, folder: str, args: argparse.Namespace) -> Dict[str, Any]:
    """Do one step in a process of its own."""
    words = ["--micrographs", str(args.micrographs), "--coordinates", str(args.coordinates), "--step", step, folder]
    words += ["--workers", str(args.workers), *(["--stars"] if args.stars else [])]
    finished = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, check=True)
    found: Dict[str, Any] = json.loads(finished.stdout)
    return found


def main() -> None:
    """Run the benchmark, print and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micrographs", type=int, default=100_000)
    parser.add_argument("--coordinates", type=int, default=200, help="of each micrograph")
    parser.add_argument("--stars", action="store_true", help="also write the coordinate files")
    parser.add_argument("--workers", type=int, default=0, help="of Dask (default: threads of this process)")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.micrographs % (BATCH * PARTS):
        parser.error(f"give a multiple of {BATCH * PARTS} micrographs")
    if args.step:
        print(json.dumps({"stream": stream, "resume": resume}[args.step[0]](Path(args.step[1]), args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        run = os.path.join(folder, "run")
        streamed, resumed = child("stream", run, args), child("resume", run, args)
        journal = Path(run, JOURNAL).stat().st_size / 1e6
    result = {
        "run": f"{args.micrographs} micrographs, {args.coordinates} coordinates each",
        "coordinate files": args.stars,
        "Dask workers": args.workers,
        **about(),
        "processor ms per micrograph, by tenth of the run": streamed["ms"],
        "clock ms per micrograph, by tenth of the run": streamed["ms_clock"],
        "measured": {
            "journal (MB)": round(journal, 1),
            "last update (processor s)": round(streamed["finish"], 2),
            "memory at the end (MB)": round(streamed["memory"]),
            "resume (processor s)": round(resumed["resume"], 2),
            "resume (s by the clock)": round(resumed["resume_clock"], 2),
            "memory after the resume (MB)": round(resumed["memory"]),
        },
    }
    record(result, args.output)


if __name__ == "__main__":
    main()
