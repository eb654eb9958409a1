# SPDX-License-Identifier: GPL-3.0-or-later
"""A streaming session with a fault every few micrographs: is anything lost, doubled, or other than without faults?

usage: python benchmarks/bench_faults.py [--micrographs 21600 --seed 1 --dask 1000 --output results.json]
The command is the real ``cryoice screen --watch``, continued with --resume after each fault; only the detector is a
stand-in. Micrographs and coordinates arrive as fast as they are screened, so that three days at 300 micrographs an hour
(21600) take hours. A session of the command has several faults that it survives, then one that ends it. Afterwards the
same files are screened once without faults, and the tables are compared. With --dask N, N micrographs are screened on
three Dask workers instead. Workers are killed, frozen and slow, and the scheduler is started again.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import itertools
import logging
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Set

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests")]

from about import about, record  # noqa: E402
from dask_faults import FAULTS, LIMIT, DaskProcesses  # noqa: E402
from faults import ERRORS, FailingDisk  # noqa: E402
from standin import executor, make_tasks, write_micrograph  # noqa: E402

from cryoice_scipion.core.cli import main as cryoice  # noqa: E402
from cryoice_scipion.core.cli import running, screen, watch  # noqa: E402, F401 (screen: loaded before the forks)
from cryoice_scipion.core.config import ScreenConfig  # noqa: E402
from cryoice_scipion.core.formats.star import read_star  # noqa: E402
from cryoice_scipion.core.reports import html  # noqa: E402, F401
from cryoice_scipion.core.screening.run import ScreeningRun  # noqa: E402

BOXES = "24 12 16 16\n162 32 16 16\n"  # a coordinate in the bad strip, and one outside
COORDINATES = 2  # of each micrograph
SETTLED = 0.25  # s, longer than --settle
QUIET = 25  # micrographs before the first fault; the session reference is measured on 20 of them
SETTINGS = [
    "--box-size",
    "16",
    "--no-outlier",
    "--no-regions",
    "--no-grade",
    "--contrast",
    "dark",
    "--max-thumbnails",
    "0",
]
#: Faults during which the command goes on.
SURVIVED = ("half-written file", "renamed when complete", "stopped for a moment", "coordinates in two steps")
#: Signals that end the command.
SIGNALS = {
    "killed": signal.SIGKILL,
    "terminated": signal.SIGTERM,
    "terminal closed": signal.SIGHUP,
    "Ctrl-C": signal.SIGINT,
}
#: Errors of the disk, and how many writes fail (None: all from then on). They end the command.
DISKS = {"disk full": (ERRORS[0], None), "write error once": (ERRORS[1], 1), "over quota": (ERRORS[2], None)}
#: The last fault of each session, in turn. The clock jumps during a whole session, which SIGTERM then ends.
ENDINGS = [*SIGNALS, *DISKS, "clock jump", "kills its process"]
BACKLOG = 300  # micrographs that may wait
WRITES = 50  # for each fault of a session; the disk fails at one of all these writes, chosen by chance


class Input:
    """The folders in which micrographs and coordinates arrive."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.micrographs, self.picks, self._chance = folder / "micrographs", folder / "picks", chance
        self.deadly, self.number = folder / "deadly", 0
        for path in (self.micrographs, self.picks):
            path.mkdir()

    def add(self, count: int, fault: str = "") -> None:
        """Write micrographs, and their coordinates before or after them."""
        for index in range(count):
            self.number += 1
            stem = f"mic{self.number:06d}"
            path, odd = self.micrographs / f"{stem}.mrc", fault if not index else ""
            boxes, late = self.picks / f"{stem}.box", self._chance.random() < 0.5
            if odd == "coordinates in two steps":
                boxes.write_text(BOXES.splitlines(keepends=True)[0])
            elif not late:
                boxes.write_text(BOXES)
            if odd == "kills its process":
                self.deadly.write_text(stem)
            self._write(path, odd)
            if odd == "coordinates in two steps":
                time.sleep(SETTLED)
            boxes.write_text(BOXES)

    def _write(self, path: Path, odd: str) -> None:
        if odd not in ("half-written file", "renamed when complete"):
            write_micrograph(path, seed=self.number % 97)
            return
        part = write_micrograph(path.with_suffix(".part"), seed=self.number % 97)
        if odd == "renamed when complete":
            os.rename(part, path)
            return
        content = part.read_bytes()
        part.unlink()
        with open(path, "wb") as stream:
            stream.write(content[: len(content) // 2])
            stream.flush()
            time.sleep(SETTLED)
            stream.write(content[len(content) // 2 :])


def in_a_child(work: Callable[[], object], log: Path) -> int:
    """Do something in a child process, and return its number."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        with open(log, "ab", buffering=0) as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        status = int(work() or 0)
    finally:
        os._exit(status)


def screening(inbox: Input, output: Path, fault: str, call: int, extra: Sequence[str]) -> int:
    """Run the command; called in a child."""
    one = executor()
    real = one.map

    def mapped(task: Any, *rest: Any) -> Any:
        if inbox.deadly.exists() and inbox.deadly.read_text() == task.stem:
            inbox.deadly.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(task, *rest)

    one.map = mapped
    running._executors = lambda *_: [one]
    watch.RETRY_SECONDS = 3.0
    if fault == "clock jump":
        clock, jumps = time.time, itertools.cycle([0.0, 86400.0, -86400.0])
        time.time = lambda: clock() + next(jumps)
    resume = ["--resume"] if (output / "journal.jsonl").exists() else []
    words = ["screen", str(inbox.micrographs), "--output", str(output), "--coordinates", str(inbox.picks), *SETTINGS]
    words += ["--settle", "0.1"] if "--watch" in extra else []
    number, length = DISKS.get(fault, (0, None))
    with FailingDisk(output, call, number, length) if number else contextlib.nullcontext():
        return cryoice([*words, *resume, *extra])


def ended(pid: int, seconds: float) -> Optional[int]:
    """Wait for a child, and return its status; None if it does not end in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        time.sleep(0.02)
    return None


class Screened:
    """Follows the journal of a run."""

    def __init__(self, output: Path) -> None:
        self._journal, self._at = output / "journal.jsonl", 0
        self._stems: Set[bytes] = set()

    def number(self) -> int:
        """Return how many micrographs have been screened."""
        if self._journal.exists():
            with open(self._journal, "rb") as stream:
                stream.seek(max(0, self._at - 1000))  # the last line may have been incomplete
                self._stems.update(re.findall(rb'{"kind":"screened","record":{"id":\d+,"stem":"(\w+)"', stream.read()))
                self._at = stream.tell()
        return len(self._stems)


def done_or_ended(pid: int, screened: Screened, number: int) -> bool:
    """Wait until micrographs have been screened, for a minute at most; return whether the session has ended."""
    end = time.monotonic() + 60.0
    while time.monotonic() < end and screened.number() < number:
        if ended(pid, 0.1) is not None:
            return True
    return False


def disturbed(inbox: Input, output: Path, number: int, survived: int, chance: random.Random) -> Dict[str, Any]:
    """Let all micrographs arrive, with a fault every few of them; return what happened."""
    log, screened, faults, sessions = output.parent / "log.txt", Screened(output), Counter(), 0
    inbox.add(QUIET)
    while inbox.number < number:
        ending = ENDINGS[sessions % len(ENDINGS)]
        sessions += 1
        faults[ending] += 1
        call = chance.randrange(1, WRITES * (survived + 1))
        pid = in_a_child(lambda ending=ending, call=call: screening(inbox, output, ending, call, ["--watch"]), log)
        alive = True
        for fault in (*(chance.choice(SURVIVED) for _ in range(survived)), ending):
            count = min(chance.randrange(3, 9), number - inbox.number)
            if not count:
                break
            inbox.add(count, fault)
            if fault != ending:
                faults[fault] += 1
            alive = not done_or_ended(pid, screened, inbox.number - chance.randrange(BACKLOG))
            if not alive:
                break
            time.sleep(chance.uniform(0.0, 0.1))
            if fault == "stopped for a moment":
                os.kill(pid, signal.SIGSTOP)
                time.sleep(SETTLED)
                os.kill(pid, signal.SIGCONT)
        if alive:
            os.kill(pid, SIGNALS.get(ending, signal.SIGTERM))
            if ended(pid, 120.0) is None:
                raise SystemExit(f"a session with the fault '{ending}' does not end; see {log}")
    status: Optional[int] = signal.SIGKILL
    while status is None or not os.WIFEXITED(status):  # the last deadly micrograph may still wait
        pid = in_a_child(lambda: screening(inbox, output, "", 0, ["--watch", "--timeout", "5"]), log)
        status, sessions = ended(pid, 24 * 3600.0), sessions + 1
    return {
        "sessions": sessions,
        **{f"fault: {fault}": count for fault, count in faults.items()},
        "exit status of the last session": os.WEXITSTATUS(status),
    }


def table_of(output: Path) -> List[Dict[str, str]]:
    """Return the rows of the table, without what depends on time and order of arrival."""
    with open(output / "micrographs.csv", newline="", encoding="utf-8") as stream:
        return [{**row, "id": "", "seconds": ""} for row in csv.DictReader(stream)]


def coordinates_of(output: Path) -> Counter:
    """Count the rows of the coordinate files: file, micrograph, position, and goodness."""
    found: Counter = Counter()
    for name in ("kept", "rejected"):
        path = output / "coordinates" / f"{name}.star"
        for block in read_star(path) if path.exists() else ():
            found.update((name, *(str(value) for value in row)) for row in block.table.itertuples(index=False))
    return found


def files_of(output: Path) -> Dict[str, bytes]:
    """Return the digest of each map and mask of a run."""
    found = [path for name in ("probability", "masks") for path in (output / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).digest() for path in found}


def compared(there: Path, here: Path) -> Dict[str, int]:
    """Return how many micrographs, coordinates and files the disturbed run has lost, doubled or changed."""
    files, whole_files = files_of(there), files_of(here)
    rows, whole = table_of(there), {row["stem"]: row for row in table_of(here)}
    names = Counter(row["stem"] for row in rows)
    coordinates, expected = coordinates_of(there), coordinates_of(here)
    return {
        "micrographs": len(rows),
        "coordinates": sum(coordinates.values()),
        "micrographs lost": len(whole.keys() - names.keys()),
        "micrographs doubled": sum(count - 1 for count in names.values()),
        "micrographs that differ": sum(row != whole.get(row["stem"]) for row in rows),
        "micrographs failed": sum(row["status"] == "failed" for row in rows),
        "coordinates lost": sum((expected - coordinates).values()),
        "coordinates doubled or changed": sum((coordinates - expected).values()),
        "maps and masks": len(whole_files),
        "maps and masks lost or changed": sum(files.get(name) != content for name, content in whole_files.items()),
    }


def streamed(folder: Path, number: int, survived: int, seed: int) -> Dict[str, Any]:
    """Measure a session of the command."""
    chance = random.Random(seed)
    inbox = Input(folder, chance)
    found = disturbed(inbox, folder / "disturbed", number, survived, chance)
    pid = in_a_child(lambda: screening(inbox, folder / "whole", "", 0, []), folder / "log.txt")
    if ended(pid, 24 * 3600.0) != 0:
        raise SystemExit((folder / "log.txt").read_text()[-2000:])
    return {**found, **compared(folder / "disturbed", folder / "whole")}


def on_dask(folder: Path, number: int, seed: int) -> Dict[str, Any]:
    """Measure a run on Dask workers, with a fault every few micrographs."""
    from cryoice_scipion.core.detectors.model_folder import resolve_model
    from cryoice_scipion.core.workers.cluster import cluster_executors

    chance, tasks, here = random.Random(seed), make_tasks(folder / "dask", number), executor()
    faults, due, lines = Counter(), 5, []
    config = ScreenConfig(reference=20, outlier=False, regions=False, thumbnails=False, contrast="dark")
    model = ScreenConfig(model=str(resolve_model("default")))  # the workers load the stand-in for it
    with DaskProcesses(folder) as dask:

        def note(record: logging.LogRecord) -> bool:
            lines.append(record.getMessage())
            if "no more micrographs go to this worker" in lines[-1]:
                dask.add_worker()
            return True

        LOG.addFilter(note)
        executors = cluster_executors(dask.address, model, "cpu", LOG, seconds=LIMIT)
        for one in executors:
            one.model, one.fingerprint = here.model, here.fingerprint
        with ScreeningRun(folder / "on_dask", config, executors, log=LOG) as run:
            for done, _ in enumerate(run.process(tasks), start=1):
                if done >= due:
                    fault = FAULTS[sum(faults.values()) % len(FAULTS)]
                    dask.disturb(fault, chance)
                    faults[fault] += 1
                    due = done + chance.randrange(5, 15)
    with ScreeningRun(folder / "whole_dask", config, [here]) as run:
        list(run.process(tasks))
    return {
        **{f"fault: {fault}": count for fault, count in faults.items()},
        "tried again, worker lost": sum("was lost); " in line for line in lines),
        "tried again, no answer in time": sum("did not answer); " in line for line in lines),
        "connected to another scheduler": sum("the scheduler is back" in line for line in lines),
        **compared(folder / "on_dask", folder / "whole_dask"),
    }


LOG = logging.getLogger("bench")


def main() -> None:
    """Run the benchmark, print and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micrographs", type=int, default=21_600)
    parser.add_argument(
        "--survived", type=int, default=120, metavar="N", help="faults that each session survives before it ends"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dask", type=int, default=0, metavar="N")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "bench_faults.json")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())  # is kept when the benchmark fails
    if args.dask:
        load, found = f"{args.dask} micrographs on Dask workers", on_dask(folder, args.dask, args.seed)
    else:
        load = f"{args.micrographs} micrographs of {COORDINATES} coordinates"
        found = streamed(folder, args.micrographs, args.survived, args.seed)
    shutil.rmtree(folder)
    record({"load": load, **about(), "measured": found}, args.output)


if __name__ == "__main__":
    main()
