# SPDX-License-Identifier: GPL-3.0-or-later
"""Give damaged files to every reader.

usage: python benchmarks/fuzz_readers.py [--number 40000 --first 0 --processes 2 --only .star --output FILE]
Each input is a small valid file with one to five random changes. A reader must return its content or raise a
CryoIceError of one line, within the time limit. Where the number of rows is known, read and counted rows must add up.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple
from typing import Counter as CounterType

from about import about, record
from fuzz_targets import TARGETS, Target, damaged
from reader_seeds import write_companions

from cryoice_scipion.core.errors import CryoIceError

LIMIT = 5  # s of CPU for one input; a process that does not end at it is ended after four times as long
ASLEEP = 600  # s without CPU: a reader that waits
MEMORY = 4 << 30  # bytes of address space of a process
PART = 2000  # inputs of one job
SHOWN = 5  # failures in the result, for each reader and kind
REPORTED = 30.0  # s between two lines about the progress
MEMORY_DISK = Path("/dev/shm")  # noqa: S108 (only where there is one)


class _TooSlow(BaseException):
    """An input took longer than the limit."""


def _alarm(*_: object) -> None:
    raise _TooSlow


def fault_of(target: Target, path: Path, data: bytes) -> Tuple[str, str]:
    """Return the outcome of reading a file ("read" or "refused"), or the kind of a fault, and its details."""
    path.write_bytes(data)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    try:
        kind, details = target.read(path, data)
        return kind or "read", details
    except CryoIceError as error:
        return ("refused", "") if len(str(error).splitlines()) == 1 else ("several lines", repr(str(error)))
    except _TooSlow:
        return "too slow", ""
    except Exception as error:  # what the benchmark looks for
        return f"exception {type(error).__name__}", str(error)[:300]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def try_part(job: Tuple[str, int, int]) -> Tuple[str, CounterType[str], List[Dict[str, str]]]:
    """Read the damaged files of some numbers in another process; return the outcomes and the faults."""
    name, start, end = job
    outcomes: CounterType[str] = Counter()
    faults = []
    while start < end:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.Process(target=_try, args=(name, start, end, sender))
        child.start()
        sender.close()
        outcome = details = ""
        while start < end:
            try:
                outcome, details = receiver.recv() if receiver.poll(ASLEEP) else ("hang", "the process was ended")
            except EOFError:
                child.join()
                outcome, details = "crash", f"exit status {child.exitcode}"
            outcomes[outcome] += 1
            if outcome not in ("read", "refused"):
                faults.append({"reader": name, "number": str(start), "kind": outcome, "details": details})
            start += 1
            if outcome in ("hang", "crash"):
                child.kill()
                break
        child.join()  # it removes its folder
    return name, outcomes, faults


def prepare(folder: Path) -> None:
    """Make a folder that of the damaged files, and set the limit on time."""
    signal.signal(signal.SIGPROF, _alarm)
    warnings.simplefilter("ignore")
    os.chdir(folder)  # names in files are relative to it
    write_companions(folder)


def _try(name: str, start: int, end: int, sender: Any) -> None:
    """Read the files of some numbers and send the outcome of each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff writes there
    with tempfile.TemporaryDirectory(prefix="fuzz_", dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None) as folder:
        prepare(Path(folder))
        for number in range(start, end):
            most = int(time.process_time()) + 4 * LIMIT
            resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))
            sender.send(fault_of(TARGETS[name], Path(folder) / TARGETS[name].file, damaged(name, number)))


def _jobs(names: List[str], first: int, end: int) -> Iterator[Tuple[str, int, int]]:
    """Yield jobs that take the readers in turn, so that a run that is cut off has tried all of them."""
    for start in range(first, end, PART):
        yield from ((name, start, min(start + PART, end)) for name in names)


class _Found:
    """The outcomes so far."""

    def __init__(self) -> None:
        self.started = self.told = time.monotonic()
        self.outcomes: Dict[str, CounterType[str]] = {}
        self.faults: CounterType[str] = Counter()  # by reader and kind
        self.examples: List[Dict[str, str]] = []

    def add(self, name: str, outcomes: CounterType[str], faults: List[Dict[str, str]]) -> None:
        """Add the outcomes of one job; report the progress from time to time."""
        self.outcomes.setdefault(name, Counter()).update(outcomes)
        for fault in faults:
            key = f"{name}: {fault['kind']}"
            self.faults[key] += 1
            if self.faults[key] <= SHOWN:
                self.examples.append(fault)
                print(f"{name} {fault['number']}: {fault['kind']} {fault['details']}", file=sys.stderr, flush=True)
        if time.monotonic() - self.told > REPORTED:
            self.told = time.monotonic()
            print(f"{self.inputs:,} inputs, {sum(self.faults.values())} faults", file=sys.stderr, flush=True)

    @property
    def inputs(self) -> int:
        """Return how many inputs were tried."""
        return sum(map(sum, (found.values() for found in self.outcomes.values())))

    def result(self) -> Dict[str, Any]:
        """Return the content of the JSON file."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "about": about(),
            "inputs": self.inputs,
            "seconds": round(time.monotonic() - self.started),
            "CPU ms of an input": round(1e3 * (used.ru_utime + used.ru_stime) / max(1, self.inputs), 2),
            "outcomes": {name: dict(sorted(found.items())) for name, found in sorted(self.outcomes.items())},
            "faults": dict(sorted(self.faults.items())),
            "examples": self.examples,
        }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=40_000, help="inputs for each reader")
    parser.add_argument("--first", type=int, default=0, help="number of the first input: others give other damage")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", choices=list(TARGETS), action="append", help="one reader; may be repeated")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    _load()
    found = _Found()
    with ThreadPool(args.processes) as pool:
        for part in pool.imap_unordered(
            try_part, _jobs(args.only or list(TARGETS), args.first, args.first + args.number)
        ):
            found.add(*part)
    record(found.result(), args.output)
    sys.exit(1 if found.faults else 0)


def _load() -> None:
    """Read one file with each reader, so that what it imports is there in all processes."""
    with tempfile.TemporaryDirectory(prefix="fuzz_") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for target in TARGETS.values():
            path = Path(folder) / target.file
            path.write_bytes(target.packed(target.seeds[0]))
            with contextlib.suppress(CryoIceError):
                target.read(path, b"")


if __name__ == "__main__":
    main()
