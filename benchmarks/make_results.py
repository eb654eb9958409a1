# SPDX-License-Identifier: GPL-3.0-or-later
"""Write benchmarks/RESULTS.md from benchmarks/results/bench_*.json: python benchmarks/make_results.py."""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent


def section(path: Path) -> str:
    """Return one benchmark as Markdown."""
    result = json.loads(path.read_text(encoding="utf-8"))
    measured = result.pop("measured", None)
    seconds = result.pop("seconds", measured)
    lines = [f"## {path.stem}", ""]
    lines += [f"- {name}: {value}" for name, value in result.items()]
    lines += ["", "| what | measured |" if measured else "| step | seconds |", "|---|---|"]
    lines += [f"| {name} | {value:.3f} |" for name, value in seconds.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    parts = [section(path) for path in sorted((HERE / "results").glob("bench_*.json"))]
    head = "# Measured\n\nMade by `make_results.py` from `results/bench_*.json`. Compare within a file only.\n\n"
    (HERE / "RESULTS.md").write_text(head + "\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
