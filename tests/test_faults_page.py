# SPDX-License-Identifier: GPL-3.0-or-later
"""Each row of the tables in docs/reference/faults.md has tests, which faults.json names."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "faults.md"
FAULTS = ["missing", "cut off", "damaged", "wrong kind", "unusual numbers", "too large", "hostile"]


def rows():
    """Return the faults of each table of the page, by its heading."""
    found = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        pairs = re.findall(r"^\| ([a-z ]+) \| (.+) \|$", section, re.M)
        found[section.split("\n")[0]] = [name for name, text in pairs if text.strip()]
    return found


def test_each_row_has_a_test():
    named = json.loads((ROOT / "tests" / "faults.json").read_text(encoding="utf-8"))
    assert rows() == dict.fromkeys(named, FAULTS)
    for heading, tests in named.items():
        assert list(tests) == FAULTS
        for fault, ids in tests.items():
            assert ids, f"{heading}, {fault}: no test"
            for one in ids:
                path, _, name = one.partition("::")
                assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.M), one
