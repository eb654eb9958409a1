# SPDX-License-Identifier: GPL-3.0-or-later
"""Give damaged coordinate files to every reader.

usage: python benchmarks/fuzz_readers.py [--number 100000 --processes 2 --only .star --output FILE]
Each input is a small valid file with one to five random changes. A reader must return coordinates or raise a
CryoIceError of one line, within the time limit. Where the number of rows is known, read and counted rows must add up.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple
from typing import Counter as CounterType

import numpy as np
from about import about, record
from reader_seeds import damaged, write_companions

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.pick_tables import MICROGRAPH, X, Y
from cryoice_scipion.core.formats.table import FORMATS, CoordinateFormat

LIMIT = 5.0  # s of CPU for one input
MEMORY = 4 << 30  # bytes of address space of a process
PART = 500  # inputs of one job
SHOWN = 5  # failures in the result, for each format and kind


def rows_in(suffix: str, data: bytes) -> Optional[int]:
    """Return the number of coordinates in a file, counted without its reader; None where this cannot be told."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if suffix == ".json":
        return _boxes_in(text)
    lines = [line for line in text.split("\n") if line.strip()]
    if suffix == ".box":
        return sum(not line.lstrip(" \t").startswith("#") for line in lines)
    if suffix not in (".csv", ".txt") or not lines:
        return None
    has_header = not re.fullmatch(r'[\s\d.eE+"-]+', lines[0])
    return len(lines) - has_header


def _boxes_in(text: str) -> Optional[int]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    boxes = content.get("boxes") if isinstance(content, dict) else None
    return len(boxes) if isinstance(boxes, list) else None


class _TooSlow(BaseException):
    """An input took longer than the limit."""


def _alarm(*_: object) -> None:
    raise _TooSlow


def fault_of(one: CoordinateFormat, path: Path, data: bytes) -> Tuple[str, str]:
    """Return the outcome of reading a file ("read" or "refused"), or the kind of a fault, and its details."""
    path.write_bytes(data)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    try:
        picks = one.read(path)
    except CryoIceError as error:
        return ("refused", "") if len(str(error).splitlines()) == 1 else ("several lines", repr(str(error)))
    except _TooSlow:
        return "too slow", ""
    except Exception as error:  # what the benchmark looks for
        return "exception", f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if any(len(line.splitlines()) > 1 for line in (*picks.warnings, *picks.not_read.values())):
        return "several lines", repr(list(picks.warnings))[:300]
    values = picks.table[[X, Y]].to_numpy(dtype=float)
    if MICROGRAPH not in picks.table or not np.isfinite(values).all():
        return "bad table", str(picks.table.head(3))
    rows, counted = rows_in(path.suffix, data), len(picks.table) + sum(picks.left_out.values())
    if rows is not None and rows != counted:
        return "lost rows", f"{rows} rows, {counted} read or counted"
    return "read", ""


def try_part(job: Tuple[str, int, int]) -> Tuple[str, CounterType[str], List[Dict[str, str]]]:
    """Read the damaged files of some numbers in another process; return the outcomes and the faults."""
    suffix, start, end = job
    outcomes: CounterType[str] = Counter()
    faults = []
    while start < end:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.Process(target=_try, args=(suffix, start, end, sender))
        child.start()
        sender.close()
        outcome = details = ""
        while start < end:
            try:
                outcome, details = receiver.recv() if receiver.poll(4 * LIMIT) else ("hang", "the process was ended")
            except EOFError:
                child.join()
                outcome, details = "crash", f"exit status {child.exitcode}"
            outcomes[outcome] += 1
            if outcome not in ("read", "refused"):
                faults.append({"format": suffix, "number": str(start), "kind": outcome, "details": details})
            start += 1
            if outcome in ("hang", "crash"):
                break
        child.kill()
        child.join()
    return suffix, outcomes, faults


def _try(suffix: str, start: int, end: int, sender: Any) -> None:
    """Read the files of some numbers and send the outcome of each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, _alarm)
    warnings.simplefilter("ignore")
    one = next(known for known in FORMATS if suffix in known.suffixes)
    with tempfile.TemporaryDirectory(prefix="fuzz_") as folder:
        write_companions(Path(folder))
        for number in range(start, end):
            sender.send(fault_of(one, Path(folder) / f"mic{suffix}", damaged(suffix, number)))


def suffixes() -> List[str]:
    """Return the suffixes of all formats."""
    return [suffix for one in FORMATS for suffix in one.suffixes]


def _jobs(number: int, only: str) -> Iterator[Tuple[str, int, int]]:
    for suffix in suffixes():
        if only in ("", suffix):
            yield from ((suffix, start, min(start + PART, number)) for start in range(0, number, PART))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=100_000, help="inputs for each format")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", metavar="SUFFIX", help="one format, such as .star")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    started, faults = time.monotonic(), []  # type: float, List[Dict[str, str]]
    outcomes: Dict[str, CounterType[str]] = {}
    with ThreadPool(args.processes) as pool:
        for suffix, found, wrong in pool.imap_unordered(try_part, _jobs(args.number, args.only)):
            outcomes.setdefault(suffix, Counter()).update(found)
            faults += wrong
    shown: CounterType[Tuple[str, str]] = Counter()
    examples = []
    for fault in faults:
        shown[fault["format"], fault["kind"]] += 1
        if shown[fault["format"], fault["kind"]] <= SHOWN:
            examples.append(fault)
    result = {
        "about": about(),
        "inputs of each format": args.number,
        "seconds": round(time.monotonic() - started),
        "outcomes": {suffix: dict(sorted(found.items())) for suffix, found in sorted(outcomes.items())},
        "faults": len(faults),
        "examples": examples,
    }
    record(result, args.output)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
