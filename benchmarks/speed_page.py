# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the tables of docs/explanation/speed.md from benchmarks/results/*.json: python benchmarks/speed_page.py."""

from __future__ import annotations

from typing import Any, Callable, Dict, List

from accuracy_page import HERE, filled, load

from cryoice_scipion.core.evaluation.tables import table

PAGE = HERE.parent / "docs" / "explanation" / "speed.md"
DISK = 2.0  # GB/s
#: NVIDIA H100 SXM, from its data sheet.
PCIE, MEMORY, ARITHMETIC = 64.0, 3350.0, 67.0  # GB/s in one direction, GB/s, 10¹² operations per second in float32


def sizes() -> Dict[str, Any]:
    """Return the figures of one micrograph, by its size."""
    found: Dict[str, Any] = load("floor")["sizes"]
    return found


def work() -> str:
    """Return the bytes and the operations that one micrograph needs."""
    rows: Dict[str, Callable[[Dict[str, Any]], str]] = {
        "bytes read (MB)": lambda one: f"{one['bytes read (MB)']:.0f}",
        "bytes written (MB)": lambda one: f"{one['bytes written (MB)']:.1f}",
        "Fourier transforms (10⁹ operations)": lambda one: f"{one['operations (10^9)']['Fourier transforms']:.0f}",
        "matrices (10⁹ operations)": lambda one: f"{one['operations (10^9)']['matrices']:.0f}",
    }
    body = [[name, *(value(one) for one in sizes().values())] for name, value in rows.items()]
    return table(["one micrograph", *(f"{size} px" for size in sizes())], body)


def stages() -> str:
    """Return the seconds of each stage, and its ratio to the floor."""
    found = list(sizes().values())
    rows = [("floor: read, one transform", [floor(one) for one in found])]
    rows += [(name, [one["stages (s)"][name] for one in found]) for name in found[0]["stages (s)"]]
    rows += [("all", [one["all (s)"] for one in found])]
    body = [[name, *(cell for value, one in zip(row, found) for cell in cells(value, one))] for name, row in rows]
    return table(["stage", *(head for size in sizes() for head in (f"{size} px (s)", "times the floor"))], body)


def floor(one: Dict[str, Any]) -> float:
    """Return the seconds of the floor."""
    return float(sum(one["floor (s)"].values()))


def cells(seconds: float, one: Dict[str, Any]) -> List[str]:
    """Return seconds, and their ratio to the floor."""
    return [f"{seconds:.2f}", f"{seconds / floor(one):.1f}"]


def gpu() -> str:
    """Return the least time of each part on an H100, in ms."""
    body = []
    for size, one in sizes().items():
        count = one["operations (10^9)"]
        least = (
            one["bytes read (MB)"] / DISK,
            one["bytes read (MB)"] / PCIE,
            one["bytes read (MB)"] / MEMORY,
            count["Fourier transforms"] / ARITHMETIC,
            count["matrices"] / ARITHMETIC,
        )
        body.append([f"{size} px", *(f"{value:.2g}" for value in least), f"{3.6e6 / max(least):,.0f}"])
    parts = ["disk", "copy to the GPU", "one pass over it", "transforms", "matrices"]
    return table(["micrograph", *parts, "at most per hour"], body)


def programs() -> str:
    """Return the seconds of processor of a micrograph in each program, by size."""
    found = load("programs")
    body = [[f"{size} px", *(f"{value:.2f}" for value in one.values())] for size, one in found["sizes"].items()]
    return table([f"{found['number']} micrographs each", *next(iter(found["sizes"].values()))], body)


def startup() -> str:
    """Return the seconds of processor of each start."""
    found = load("bench_startup")
    body = [[name, f"{value:.2f}"] for name, value in found["seconds"].items()]
    return table(["start", "processor (s)"], body)


def memory() -> str:
    """Return the memory by size, and its growth."""
    found = load("bench_frames")["measured"]
    body = [[name.replace(" (MB)", ""), f"{value:,}"] for name, value in found.items()]
    return table(["screening", "memory (MB)"], body)


RUNS = {
    "bench_scale": "100,000 micrographs",
    "bench_scale_stars": "5,000, coordinate files",
    "bench_scale_dask": "2,000, two Dask workers",
}
NODES, CORES, MILLION = 64, 16, 1_000_000


def parent_ms(name: str) -> List[float]:
    """Return the processor time of the parent per micrograph by tenth of a run, in ms."""
    found: List[float] = load(name)["processor ms per micrograph, by tenth of the run"]
    return found


def scale() -> str:
    """Return what the process that writes a run needs, in runs of many micrographs."""
    body = []
    for at, tenth in ((0, "first"), (-1, "last")):
        name = f"{tenth} tenth of the run (processor ms per micrograph)"
        body.append([name, *(f"{parent_ms(run)[at]:.1f}" for run in RUNS)])
    for name in load("bench_scale")["measured"]:
        body.append([name, *(f"{load(run)['measured'][name]:,.1f}" for run in RUNS)])
    return table(["parent", *RUNS.values()], body)


def million() -> str:
    """Return what a million micrographs need, from the measurements of fewer."""
    one, measured = sizes()["4096×4096"], load("bench_scale")["measured"]
    parent, workers = 1e3 / parent_ms("bench_scale_dask")[-1], NODES * CORES / one["all (s)"]
    rate, more = min(parent, workers), MILLION / 100_000
    rows = {
        f"workers: micrographs per second ({NODES} nodes of {CORES} cores)": f"{workers:.0f}",
        "parent: micrographs per second": f"{parent:.0f}",
        "hours for a million at the lower rate": f"{MILLION / rate / 3600:.1f}",
        "read from the file system (TB)": f"{one['bytes read (MB)'] * MILLION / 1e6:.0f}",
        "read at that rate (GB/s)": f"{one['bytes read (MB)'] * rate / 1e3:.1f}",
        "written by the workers (TB)": f"{one['bytes written (MB)'] * MILLION / 1e6:.1f}",
        "journal (GB)": f"{measured['journal (MB)'] * more / 1e3:.0f}",
        "memory of the parent (GB)": f"{measured['memory at the end (MB)'] * more / 1e3:.1f}",
        "resume (processor s)": f"{measured['resume (processor s)'] * more:.0f}",
    }
    return table(
        ["a million micrographs of 4096×4096 px, 200 coordinates each", "estimate"], list(map(list, rows.items()))
    )


TABLES: Dict[str, Callable[[], str]] = {
    "work": work,
    "stages": stages,
    "gpu": gpu,
    "programs": programs,
    "startup": startup,
    "memory": memory,
    "scale": scale,
    "million": million,
}


def main() -> None:
    """Write the tables into the page."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), TABLES), encoding="utf-8")


if __name__ == "__main__":
    main()
