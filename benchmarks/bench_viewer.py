# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the screening viewer takes to open, and what memory it needs, on a long session.

usage: python benchmarks/bench_viewer.py [--micrographs 5000 --coordinates 1000000]
A project is made with the records and the outputs that a screening of that size leaves (the micrographs themselves are
not made, but for one). The window is opened in a process of its own, on the screen that is there or on Xvfb's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("benchmarks", "tests/scipion")]

from about import about, record  # noqa: E402

from cryoice_scipion.demo import prepare  # noqa: E402

PROJECT, SIDE, PIXEL_SIZE, BOX, THRESHOLD = "bench_viewer", 4096, 1.0, 200, 0.6


# ---- the project --------------------------------------------------------------------------------------------


def make(folder: Path, micrographs: int, coordinates: int) -> None:
    """Make the project: an import, and a screening that seems to have run."""
    prepare(folder)
    from pwem.protocols import ProtImportCoordinates
    from pyworkflow.project import Manager

    from cryoice_scipion.protocols import CryoIceProtScreen

    project = Manager().createProject(PROJECT)
    os.chdir(project.path)
    source = project.newProtocol(ProtImportCoordinates)
    project.saveProtocol(source)
    source.makePathsAndClean()
    picked = make_input(source, micrographs, coordinates)
    protocol = project.newProtocol(CryoIceProtScreen, threshold=THRESHOLD)
    protocol.inputCoordinates.set(source)
    protocol.inputCoordinates.setExtended("outputCoordinates")
    project.saveProtocol(protocol)
    protocol.makePathsAndClean()
    make_records(Path(protocol.getPath("extra", "screening")), micrographs, coordinates)
    make_outputs(protocol, source, picked)
    for one in (source, protocol):
        one.setStatus("finished")
        project._storeProtocol(one)
    print(protocol.getObjId())


def rows(micrographs: int, coordinates: int) -> Iterator[Tuple[int, int, int, int, float]]:
    """Yield id, micrograph, x, y and goodness of each coordinate: about a fifth are bad."""
    import numpy as np

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, SIDE, (2, coordinates)).tolist()
    goodness = np.where(rng.random(coordinates) < 0.2, rng.beta(2, 4, coordinates), rng.beta(12, 1.5, coordinates))
    for key in range(coordinates):
        yield key + 1, key * micrographs // coordinates + 1, x[key], y[key], float(goodness[key])


def make_input(source: Any, micrographs: int, coordinates: int) -> Any:
    """Make the micrographs and the coordinates of the import."""
    from pwem.objects import Coordinate, Micrograph

    from cryoice_scipion.convert import pointer_to

    seen = source._createSetOfMicrographs()
    seen.setSamplingRate(PIXEL_SIZE)
    for key in range(1, micrographs + 1):
        item = Micrograph(location=f"{micrograph_name(key)}.mrc")
        item.setMicName(micrograph_name(key))
        item.setSamplingRate(PIXEL_SIZE)
        seen.append(item)
    source._defineOutputs(outputMicrographs=seen)
    picked = source._createSetOfCoordinates(pointer_to(source, "outputMicrographs"))
    picked.setBoxSize(BOX)
    item = Coordinate(x=0, y=0)
    item.setMicId(1)
    item.setMicName(micrograph_name(1))
    picked.append(item)
    picked.write()
    source._defineOutputs(outputCoordinates=picked)
    picked.close()
    seen.close()
    with sqlite3.connect(picked.getFileName()) as connection:
        connection.execute("DELETE FROM Objects")
        told = ((key, x, y, mic, micrograph_name(mic)) for key, mic, x, y, _ in rows(micrographs, coordinates))
        connection.executemany("INSERT INTO Objects (id, enabled, c01, c02, c03, c04) VALUES (?, 1, ?, ?, ?, ?)", told)
    return picked


def micrograph_name(key: int) -> str:
    """Return the name of a micrograph."""
    return f"micrograph_{key:05d}"


def make_records(folder: Path, micrographs: int, coordinates: int) -> None:
    """Write the journal, and the pictures of the first micrograph."""
    import numpy as np

    from cryoice_scipion.core.images.thumbnails import write_base
    from cryoice_scipion.core.images.writing import write_map, write_mask
    from cryoice_scipion.core.records import MicrographRecord, PickScore, to_json
    from cryoice_scipion.core.results.journal import Journal
    from cryoice_scipion.core.results.run_folder import RunFolder

    run = RunFolder(folder)
    run.make()
    scores: Dict[int, Any] = {}
    for key, mic, _, _, goodness in rows(micrographs, coordinates):
        kept = goodness >= THRESHOLD
        scores.setdefault(mic, []).append(PickScore(key, goodness, "good" if kept else "contamination", kept))
    Journal(folder / "journal.jsonl").append("head", records_version=1, config={}, model="", created="")
    with open(folder / "journal.jsonl", "a", encoding="utf-8") as stream:
        for key in range(1, micrographs + 1):
            stem = micrograph_name(key)
            record = MicrographRecord(
                key, stem, f"{stem}.mrc", "accepted", bad_area=0.1, areas={"good": 0.9, "contamination": 0.1},
                scores=scores.pop(key, []), seconds=0.5, pixel_size=PIXEL_SIZE, shape=[SIDE, SIDE],
                particle_diameter=150.0, diameter_from="setting", probability=run.probability(stem),
                mask=run.mask(stem), screened_at=1.7e9 + 20 * key,
            )  # fmt: skip
            line = {"kind": "screened", "record": to_json(record), "picks": ""}
            stream.write(json.dumps(line, separators=(",", ":")) + "\n")
    rng, stem = np.random.default_rng(1), micrograph_name(1)
    write_base(folder / run.base(stem), rng.integers(0, 255, (1024, 1024), dtype=np.uint8))
    write_map(folder / run.probability(stem), rng.random((128, 128)).astype(np.float32), SIDE / 128)
    write_mask(folder / run.mask(stem), rng.random((128, 128)) > 0.2, SIDE / 128)


def make_outputs(protocol: Any, source: Any, picked: Any) -> None:
    """Make the two sets of screened coordinates, all in the first one; which is in which makes no difference here."""
    from pyworkflow.object import Float, String

    from cryoice_scipion.convert import pointer_to

    for name, suffix in (("outputCoordinates", ""), ("outputCoordinatesRejected", "Rejected")):
        output = protocol._createSetOfCoordinates(pointer_to(source, "outputMicrographs"), suffix)
        output.setBoxSize(BOX)
        item = picked.getFirstItem()
        item._cryoiceGoodness, item._cryoiceClass = Float(0.5), String("good")
        output.append(item)
        output.write()
        protocol._defineOutputs(**{name: output})
        output.close()
    with sqlite3.connect(protocol.outputCoordinatesRejected.getFileName()) as connection:
        connection.execute("DELETE FROM Objects")
    with sqlite3.connect(protocol.outputCoordinates.getFileName()) as connection:
        connection.execute("DELETE FROM Objects")
        connection.execute("ATTACH ? AS input", (picked.getFileName(),))
        connection.execute(
            "INSERT INTO Objects (id, enabled, c01, c02, c03, c04, c05, c06) "
            "SELECT id, 1, c01, c02, c03, c04, 0.5, 'good' FROM input.Objects"
        )


# ---- the window ---------------------------------------------------------------------------------------------


def use(folder: Path, key: int) -> Dict[str, float]:
    """Open the window on the project and work with it; return what was measured."""
    prepare(folder)
    from pyworkflow.project import Manager

    project = Manager().loadProject(PROJECT)
    protocol = project.getProtocol(key)
    import psutil
    from gui import wait_for
    from pyworkflow.gui import Window

    master, process = Window("project"), psutil.Process()
    master.root.update()
    before = process.memory_info().rss
    started = time.perf_counter()

    from cryoice_scipion.viewers.screened_run import ScreenedRun
    from cryoice_scipion.viewers.viewer_screen import ScreenView

    def since() -> float:
        window.root.update_idletasks()
        return time.perf_counter() - started

    view = ScreenView(ScreenedRun(project, protocol), master)
    view.show()
    window = view.window
    window.root.update()
    measured = {"until the window is there (s)": since()}
    wait_for(window, lambda: window.records is not None and window.picture.canvas.find_withtag("picks"))
    measured["until all is shown (s)"] = since()
    measured["memory for it (MB)"] = (process.memory_info().rss - before) / 1e6
    thresholds = [0.005 * step for step in range(100, 150)]
    started = time.perf_counter()
    for threshold in thresholds:
        window.threshold.set(threshold)
        window.root.update()
    measured["one step of the threshold (s)"] = since() / len(thresholds)
    started = time.perf_counter()
    window._settle()
    window.root.update()
    measured["until the list follows the threshold (s)"] = since()
    started = time.perf_counter()
    window.table.sort("rejected")
    window.root.update()
    measured["sorting the list (s)"] = since()
    started = time.perf_counter()
    window.saving.save()
    wait_for(window, lambda: "Saved" in window.saving.told.cget("text"), 120)
    measured["saving a set (s)"] = since()
    measured["memory in the end (MB)"] = (process.memory_info().rss - before) / 1e6
    return measured


def main() -> None:
    """Run the benchmark: each part in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micrographs", type=int, default=5000)
    parser.add_argument("--coordinates", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "bench_viewer.json")
    parser.add_argument("--use", nargs=2, metavar=("FOLDER", "ID"), help=argparse.SUPPRESS)
    parser.add_argument("--make", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make(Path(options.make), options.micrographs, options.coordinates)
        return
    if options.use:
        print(json.dumps(use(Path(options.use[0]), int(options.use[1]))))
        return
    from gui import screen

    folder = Path(tempfile.mkdtemp(prefix="cryoice_viewer_"))
    size = ["--micrographs", str(options.micrographs), "--coordinates", str(options.coordinates)]
    try:
        key = part("--make", str(folder), *size)
        with screen():
            measured = json.loads(part("--use", str(folder), key))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    load = f"{options.micrographs} micrographs, {options.coordinates} coordinates"
    record({"load": load, **about(), "measured": measured}, options.output)


def part(*words: str) -> str:
    """Run a part of the benchmark and return the last line that it prints."""
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


if __name__ == "__main__":
    main()
