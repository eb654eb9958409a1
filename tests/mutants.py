# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutation testing: change the code in many small ways, and see whether the tests notice (`make mutants`).

mutmut makes the mutants of the files that pyproject.toml names. This script draws some of each file and prints how many
the tests noticed, and those that they did not: ``mutmut show NAME`` prints one of them.
"""

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

MUTANTS = Path("mutants")
MUTMUT = (sys.executable, "-m", "mutmut")
SURVIVED = (0, 5, 33)  # exit codes of a mutant: no test failed, or no test calls the function


def results():
    """Return the exit codes of mutants by name, by file; None: not tried."""
    read = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(MUTANTS.rglob("*.meta"))}
    return {str(path.relative_to(MUTANTS).with_suffix("")): one["exit_code_by_key"] for path, one in read.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--number", type=int, default=40, help="mutants drawn of each file (default: 40)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (default: 1)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only files whose path contains this text")
    args = parser.parse_args()
    # The first call makes the mutants and notes which test calls which function; no mutant has this name.
    subprocess.run([*MUTMUT, "run", "--max-children", "1", "none.*"], stdout=subprocess.DEVNULL)
    draw, drawn = random.Random(args.seed), []
    for names in (sorted(codes) for path, codes in results().items() if args.only in path):
        drawn += draw.sample(names, min(args.number, len(names)))
    subprocess.run([*MUTMUT, "run", "--max-children", "2", *drawn], check=True)
    report(set(drawn))


def report(drawn):
    """Print how many of the drawn mutants of each file were noticed, and the names of the others."""
    total, unnoticed = Counter(), []
    for path, codes in results().items():
        found = {name: code for name, code in codes.items() if name in drawn and code is not None}
        survived = sorted(name for name, code in found.items() if code in SURVIVED)
        if found:
            print(f"{len(found) - len(survived):4d} of {len(found):3d} noticed  {path}")
        total.update(mutants=len(found), survived=len(survived))
        unnoticed += survived
    print("\n".join(unnoticed))
    noticed = total["mutants"] - total["survived"]
    print(f"{noticed} of {total['mutants']} mutants noticed ({noticed / max(1, total['mutants']):.1%})")


if __name__ == "__main__":
    main()
