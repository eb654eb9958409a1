# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutation testing: change the code in many small ways, and see whether the tests notice (`make mutants`).

mutmut makes the mutants of the files that pyproject.toml names. For each mutant it runs the tests that call the changed
function, the fastest ones first, until one fails: less than a second of CPU a mutant. This script draws mutants at
random from each room, and prints the share that the tests noticed and the names of the others. ``python -m mutmut show
NAME`` prints one of them.

Mutants that change only the wording of a message are not drawn. A message is a literal of two or more words.
"""

import argparse
import ast
import itertools
import json
import random
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

MUTANTS = Path("mutants")
MUTMUT = (sys.executable, "-m", "mutmut", "run")
#: Files of each room. A file belongs to the first one that it matches.
ROOMS = {
    "scoring": "core/maps/scoring.py",
    "maps": "core/maps/*.py",
    "formats": "core/formats/*.py",
    "journal": "core/results/journal*.py",
}
SURVIVED = (0, 5, 33, None)  # exit codes of a mutant: no test failed, no test calls the function, or it was not tried


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--number", type=int, default=100, help="mutants drawn from each room (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (default: 1)")
    parser.add_argument("--only", choices=ROOMS, help="only this room")
    args = parser.parse_args()
    # The first call makes the mutants and notes which test calls which function; no mutant has this name.
    made = subprocess.run([*MUTMUT, "--max-children", "1", "none.*"], capture_output=True, text=True)
    codes = exit_codes()
    if not codes:
        raise SystemExit(f"no mutants were made:\n{made.stdout}{made.stderr}")
    draw, drawn = random.Random(args.seed), {}
    for room in [args.only] if args.only else ROOMS:
        names = sorted(name for path in codes for name in counted(path) if room_of(path) == room)
        drawn[room] = draw.sample(names, min(args.number, len(names)))
    subprocess.run([*MUTMUT, "--max-children", "2", *itertools.chain(*drawn.values())], check=True)
    report(drawn)


def exit_codes():
    """Return the exit codes of mutants by name, by the path of their file."""
    read = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(MUTANTS.rglob("*.meta"))}
    return {path.with_suffix(""): one["exit_code_by_key"] for path, one in read.items()}


def room_of(path):
    return next((room for room, files in ROOMS.items() if path.match(files)), None)


def counted(path):
    """Return the names of a file's mutants, without those that change only the wording of a message."""
    functions = defaultdict(dict)  # by the name of the original, by "orig" or number
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name:
            name, _, number = node.name.rpartition("__mutmut_")
            functions[name][number] = [ast.dump(Unworded().visit(one)) for one in (node.args, *node.body)]
    module = ".".join(path.relative_to(MUTANTS).with_suffix("").parts)
    return {
        f"{module}.{name}__mutmut_{number}"
        for name, versions in functions.items()
        for number, code in versions.items()
        if code != versions["orig"]
    }


class Unworded(ast.NodeTransformer):
    """Make all messages one: literals of two or more words, or None in the place of one."""

    def visit_Constant(self, node):
        is_message = isinstance(node.value, str) and re.search(r"\w[,;:]? \w", node.value)
        return ast.Constant(None) if is_message else node


def report(drawn):
    """Print how many of the drawn mutants of each room were noticed, and the names of the others."""
    codes = {name: code for one in exit_codes().values() for name, code in one.items()}
    for room, names in drawn.items():
        unnoticed = sorted(name for name in names if codes[name] in SURVIVED)
        noticed = len(names) - len(unnoticed)
        print(f"{room}: {noticed} of {len(names)} mutants noticed ({noticed / len(names):.1%})")
        print("".join(f"    {name}\n" for name in unnoticed), end="")


if __name__ == "__main__":
    main()
