# SPDX-License-Identifier: GPL-3.0-or-later
"""The screening protocol under the load of three days: does a batch at the end cost what it cost at the beginning?

usage: python benchmarks/bench_streaming.py [--micrographs 10000 --coordinates 200 --batch 60 --output results.json]
The real protocol with its real databases, journal, tables and report; only the detector is a stand-in that draws its
scores, so that what is measured is everything but the computing. Another process appends a batch of micrographs and of
coordinates to the input whenever the one before is done, as an import and a picker would: half of the coordinates come
one batch later than their micrographs. Times of the appending are not counted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from about import about, record  # noqa: E402

from cryoice_scipion.demo import prepare  # noqa: E402

PIXEL_SIZE, BOX, SIDE = 1.0, 200, 4096
OUTPUTS = ("coordinates", "coordinatesRejected", "micrographs", "micrographsDiscarded")


def feed(pipe: Any, folder: str, number: int, coordinates: int, batch: int) -> None:
    """Append one batch each time the pipe says so; say when it is there. The last batch closes the sets."""
    os.chdir(folder)
    import random

    from pwem.objects import Coordinate, Micrograph, SetOfCoordinates, SetOfMicrographs

    micrographs, picks = SetOfMicrographs(filename="micrographs.sqlite"), None
    micrographs.setSamplingRate(PIXEL_SIZE)
    picks = SetOfCoordinates(filename="coordinates.sqlite", indexes=["_micId"])
    picks.setBoxSize(BOX)
    chance = random.Random(0)

    def write(output: Any, state: int) -> None:
        output.setStreamState(state)
        output.write()
        output.close()

    def pick(first: int, last: int) -> None:
        for key in range(first, last):
            for _ in range(coordinates):
                item = Coordinate(x=chance.randrange(SIDE), y=chance.randrange(SIDE))
                item.setMicId(key)
                item.setMicName(f"micrograph_{key:06d}.mrc")
                picks.append(item)

    late = 1
    for first in range(1, number + 1, batch):
        pipe.recv()
        last = min(first + batch, number + 1)
        for output in (micrographs, picks):
            output.enableAppend()
        for key in range(first, last):
            item = Micrograph(location=os.path.join(folder, f"micrograph_{key:06d}.mrc"))
            item.setMicName(f"micrograph_{key:06d}.mrc")
            micrographs.append(item)
        end = last if last > number else first + batch // 2
        pick(late, end)
        late = end
        closed = SetOfMicrographs.STREAM_CLOSED if last > number else SetOfMicrographs.STREAM_OPEN
        write(micrographs, closed)
        write(picks, closed)
        pipe.send(last - first)
    pipe.send(0)


def memory() -> float:
    """Return the resident memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def run(options: argparse.Namespace, folder: Path) -> Dict[str, Any]:
    """Run the protocol over the whole load and return what was measured."""
    prepare(folder)
    (folder / "input").mkdir()
    pipe, other = multiprocessing.Pipe()
    amounts = (options.micrographs, options.coordinates, options.batch)
    feeder = multiprocessing.get_context("spawn").Process(target=feed, args=(other, str(folder / "input"), *amounts))
    feeder.start()
    pipe.send(True)
    pipe.recv()  # the first batch is there: a protocol starts when its input does

    from bench_streaming_protocol import StandIn, make_project

    measured: List[Dict[str, float]] = []

    def next_batch(times: Dict[str, float]) -> None:
        measured.append({**times, "memory": memory()})
        pipe.send(True)
        pipe.recv()

    project, protocol = make_project(folder / "input", PIXEL_SIZE, BOX)
    StandIn.between = staticmethod(next_batch)
    started = time.perf_counter()
    protocol.run()
    seconds = time.perf_counter() - started
    if not protocol.isFinished():
        feeder.terminate()
        raise SystemExit(protocol.getErrorMessage())
    feeder.join()
    found = sum(getattr(protocol, name).getSize() for name in ("outputCoordinates", "outputCoordinatesRejected"))
    sizes = {name: Path(protocol.getPath(f"{name}.sqlite")).stat().st_size / 1e6 for name in OUTPUTS}
    sizes["journal"] = Path(protocol.getPath("extra", "screening", "journal.jsonl")).stat().st_size / 1e6
    sizes["input coordinates"] = (folder / "input" / "coordinates.sqlite").stat().st_size / 1e6
    return {"batches": measured, "seconds": seconds, "sizes": sizes, "coordinates": found}


def summarise(result: Dict[str, Any]) -> Dict[str, float]:
    """Return the rows of the table: medians over the first, middle and last tenth of the batches."""
    batches = result["batches"][2:-1]  # the first ones load modules and freeze the reference
    tenth = max(1, len(batches) // 10)
    middle = len(batches) // 2 - tenth // 2
    parts = {"first": batches[:tenth], "middle": batches[middle : middle + tenth], "last": batches[-tenth:]}
    rows = {}
    for what in ("look at the input", "screen and hand on", "memory"):
        unit = "MB" if what == "memory" else "s"
        for name, part in parts.items():
            rows[f"{what}, {name} tenth of the batches ({unit})"] = statistics.median(one[what] for one in part)
    rows["longest batch (s)"] = max(one["screen and hand on"] for one in batches)
    rows.update((f"size of {name} (MB)", size) for name, size in result["sizes"].items())
    rows["whole run (s)"] = result["seconds"]
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micrographs", type=int, default=10000)
    parser.add_argument("--coordinates", type=int, default=200, help="of each micrograph")
    parser.add_argument("--batch", type=int, default=60)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "bench_streaming.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(options, Path(folder))
    expected = options.micrographs * options.coordinates
    load = f"{options.micrographs} micrographs, {expected} coordinates, in batches of {options.batch}"
    if result["coordinates"] != expected:
        raise SystemExit(f"{result['coordinates']} coordinates came out, not {expected}")
    told = {"load": load, **about(), "measured": summarise(result)}
    record(told, options.output)


if __name__ == "__main__":
    main()
