# SPDX-License-Identifier: GPL-3.0-or-later
"""A live session in fast motion: micrographs come at 1,000 an hour for two hours; how far behind is the screening?

usage: python benchmarks/bench_backlog.py [--hours 2 --rate 1000 --faster 10 --picture docs/pictures/backlog.png]
The real chain in processes of its own: a feeder streams micrographs and, a little later, their coordinates; the
screening protocol screens them with the shipped model on the processor. Time runs ``--faster`` times as fast, and the
frames are small (512 px at 4 Å/px), so that a laptop does in minutes what a GPU does in hours: it is the rest that is
shown to keep up, not the detector. After two thirds of the time the protocol is killed (kill -9), and continued.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("benchmarks", "tests", "tests/scipion", "tests/scipion/plugin")]

from about import about, record  # noqa: E402

from cryoice_scipion.demo import prepare  # noqa: E402

SIDE, PIXEL_SIZE, PICKS, DIFFERENT = 512, 4.0, 50, 40
PAUSE = (0.35, 0.4)  # of the session: nothing comes


def plan(folder: Path, number: int, gap: float) -> List[Dict[str, Any]]:
    """Return what comes when: a micrograph every ``gap`` seconds, its coordinates with one of the next three."""
    from noise import write_noise

    chance = random.Random(0)
    sources = [write_noise(folder / f"source_{k}.mrc", k, (SIDE, SIDE)) for k in range(DIFFERENT)]
    events: List[Dict[str, Any]] = []
    late: Dict[int, List[int]] = {}
    for key in range(1, number + 1):
        path = folder / f"micrograph_{key:05d}.mrc"
        os.link(sources[key % DIFFERENT], path)
        events.append({"micrograph": str(path), "id": key})
        late.setdefault(min(key + chance.randrange(3), number), []).append(key)
        for one in late.pop(key, []):
            places = [[one * 1000 + k, chance.randrange(SIDE), chance.randrange(SIDE)] for k in range(PICKS)]
            events.append({"micrograph": one, "coordinates": places})
        if not PAUSE[0] * number <= key < PAUSE[0] * number + 1:
            events.append({"pause": gap})
        else:
            events.append({"pause": (PAUSE[1] - PAUSE[0]) * number * gap})
    return events


def count(path: Path) -> int:
    """Return how many items a set has now."""
    if not path.is_file():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=30)
    try:
        return int(connection.execute("SELECT COUNT(*) FROM Objects").fetchone()[0])
    except sqlite3.OperationalError:  # no item yet
        return 0
    finally:
        connection.close()


def run(folder: Path, options: argparse.Namespace) -> Dict[str, Any]:
    """Run the session and return what was seen of it, second by second."""
    prepare(folder)
    os.environ.update(SCIPION_USER_DATA=str(folder), SCIPION_TEST_NOSYNC="True")
    from cryoice_feeding import install

    install(folder / "plugin")
    from streaming import Streams, kill

    streams = Streams.begin("Backlog")()
    number = round(options.hours * options.rate)
    data = folder / "micrographs"
    data.mkdir()
    feeder = streams.feed(folder, plan(data, number, 3600 / options.rate / options.faster))
    protocol = streams.screening(feeder, "", modelSource=0, referenceMicrographs=20, streamingSleepOnWait=1)
    streams.proj.launchProtocol(protocol, wait=False)
    started, seen, killed = time.monotonic(), [], False
    while True:
        place = Path(streams.proj.path)
        came = count(place / feeder.getPath("micrographs.sqlite"))
        names = ("micrographs.sqlite", "micrographsDiscarded.sqlite")
        done = sum(count(place / protocol.getPath(name)) for name in names)
        seen.append({"hours": (time.monotonic() - started) * options.faster / 3600, "came": came, "done": done})
        if not killed and came >= 2 * number / 3:
            killed = kill(streams.pid(protocol))
            killed_at = seen[-1]["hours"]
            protocol = streams.go_on(protocol, wait=False)
        if streams.now(protocol).getStatus() in ("finished", "failed", "aborted"):
            break
        time.sleep(1)
    done = streams.now(protocol)
    if not done.isFinished():
        raise SystemExit(done.getErrorMessage())
    coordinates = sum(getattr(done, name).getSize() for name in ("outputCoordinates", "outputCoordinatesRejected"))
    if coordinates != number * PICKS:
        raise SystemExit(f"{coordinates} coordinates came out, {number * PICKS} went in")
    return {"seen": seen, "killed": killed_at, "micrographs": number}


def draw(result: Dict[str, Any], path: Path, title: str) -> None:
    """Plot what came, what was handed on, and the difference."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    hours = [one["hours"] for one in result["seen"]]
    figure, (top, bottom) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 5.5), height_ratios=(2, 1))
    top.plot(hours, [one["came"] for one in result["seen"]], label="came", color="#0072B2")
    top.plot(hours, [one["done"] for one in result["seen"]], label="in the outputs", color="#D55E00", linestyle="--")
    bottom.plot(hours, [one["came"] - one["done"] for one in result["seen"]], color="#333333")
    for axes in (top, bottom):
        axes.axvline(result["killed"], color="#999999", linestyle=":")
    top.annotate("kill -9, Continue", (result["killed"], 0), color="#666666", xytext=(4, 4), textcoords="offset points")
    top.set_ylabel("micrographs")
    bottom.set_ylabel("backlog")
    bottom.set_xlabel("hours of the session")
    bottom.set_ylim(bottom=0)
    top.legend(loc="upper left")
    top.set_title(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--rate", type=float, default=1000.0, help="micrographs an hour")
    parser.add_argument("--faster", type=float, default=10.0)
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "pictures" / "backlog.png")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "bench_backlog.json")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cryoice_backlog_"))
    try:
        result = run(folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    after = [one["came"] - one["done"] for one in result["seen"] if one["came"] > 40]
    load = f"{result['micrographs']} micrographs at {options.rate:g}/h, time {options.faster:g} times as fast"
    title = f"{load}, {SIDE} px frames, {about()['device']}"
    measured = {
        "median backlog (micrographs)": sorted(after)[len(after) // 2],
        "largest backlog, a kill -9 and Continue in it (micrographs)": max(after),
        "backlog at the end (micrographs)": after[-1],
        "session until all was handed on (h)": result["seen"][-1]["hours"],
    }
    told = {"load": load, "frames": f"{SIDE} px at {PIXEL_SIZE:g} Å/px", **about(), "measured": measured}
    draw(result, options.picture, title)
    record(told, options.output)


if __name__ == "__main__":
    main()
