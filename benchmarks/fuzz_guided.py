# SPDX-License-Identifier: GPL-3.0-or-later
"""Look for faults of readers: libFuzzer keeps the damaged files that reach new code, and damages them further.

usage: python benchmarks/fuzz_guided.py [--seconds 30 --only .star --output FILE]
It needs atheris (pip install atheris), which nothing else does. Rules and changes are those of fuzz_readers.py, but
libFuzzer changes one input in four. Inputs that show a fault are in the result, as base64.
"""

from __future__ import annotations

import argparse
import base64
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

from about import about, record

INSTRUMENTED = ["cryoice_scipion.core", "tifffile", "numpy.lib.format"]
LONGEST = 4096  # bytes of an input


def fuzz(name: str, folder: Path, seconds: int) -> None:
    """Try inputs of one reader until the time is over; libFuzzer ends the process. Faults are written to files."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz_readers import fault_of, prepare
        from fuzz_targets import TARGETS
        from reader_seeds import changed
    target = TARGETS[name]
    work, corpus, found = (folder / part for part in ("work", "corpus", "faults"))
    for part in (work, corpus, found):
        part.mkdir()
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    prepare(work)

    def try_one(data: bytes) -> None:
        kind, details = fault_of(target, work / target.file, target.packed(data))
        path = found / kind
        if kind not in ("read", "refused") and not path.exists():
            path.write_bytes(details.encode("utf-8", "replace").replace(b"\n", b" ") + b"\n" + data)

    def change(data: bytes, most: int, seed: int) -> bytes:
        if seed % 4 == 0:
            return bytes(atheris.Mutate(data, most))
        return changed(data, random.Random(seed), target.seeds, target.is_text)[:most]

    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-rss_limit_mb=4096", "-timeout=60"]
    atheris.Setup([sys.argv[0], str(corpus), *limits], try_one, custom_mutator=change)
    atheris.Fuzz()


def result_of(name: str, seconds: int) -> Dict[str, Any]:
    """Return what a run on one reader has tried and found."""
    with tempfile.TemporaryDirectory(prefix="fuzz_") as folder:
        command = [sys.executable, __file__, "--only", name, "--seconds", str(seconds), "--folder", folder]
        ended = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        said = ended.stderr.decode("utf-8", "replace")
        runs, reached = re.search(r"Done (\d+) runs", said), re.findall(r"cov: (\d+) ft: \d+ corp: (\d+)", said)
        faults: Dict[str, Dict[str, str]] = {}
        for path in sorted(Path(folder, "faults").glob("*")):
            details, _, data = path.read_bytes().partition(b"\n")
            faults[path.name] = {"details": details.decode(), "input": base64.b64encode(data).decode()}
    if runs is None:  # the process crashed
        faults["crash"] = {"details": said[-500:], "input": ""}
    cov, corpus = map(int, reached[-1]) if reached else (0, 0)
    return {"inputs": int(runs.group(1)) if runs else 0, "places": cov, "corpus": corpus, "faults": faults}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30, help="for each reader")
    parser.add_argument("--only", action="append", help="one reader; may be repeated")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of a run on one reader
    args = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        sys.exit("fuzz_guided.py: atheris is missing; install it (pip install atheris), or use fuzz_readers.py")
    if args.folder:
        fuzz(args.only[0], args.folder, args.seconds)
    from fuzz_targets import TARGETS

    names: List[str] = args.only or list(TARGETS)
    readers = {}
    for name in names:
        readers[name] = result_of(name, args.seconds)
        print(name, {**readers[name], "faults": list(readers[name]["faults"])}, file=sys.stderr, flush=True)
    faults = sum(len(one["faults"]) for one in readers.values())
    inputs = sum(one["inputs"] for one in readers.values())
    result = {"about": about(), "seconds of each reader": args.seconds, "inputs": inputs, "faults": faults}
    record({**result, "readers": readers}, args.output)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
