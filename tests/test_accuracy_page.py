# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers on docs/accuracy.md, docs/explanation/speed.md and training.md are those of the result files."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import accuracy_page  # noqa: E402
import few_labels_page  # noqa: E402
import speed_page  # noqa: E402

PAGE = ROOT / "docs" / "accuracy.md"


@pytest.fixture
def verdicts():
    return json.loads((ROOT / "benchmarks" / "results" / "verdicts.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("made", [accuracy_page, few_labels_page, speed_page], ids=lambda made: made.__name__)
def test_the_tables_are_those_of_the_result_files(made):
    text = made.PAGE.read_text(encoding="utf-8")
    assert text.count("<!-- table:") == len(made.TABLES)
    assert accuracy_page.filled(text, made.TABLES) == text, f"run: python benchmarks/{made.__name__}.py"


def test_a_number_that_was_changed_by_hand_is_restored():
    text = PAGE.read_text(encoding="utf-8")
    changed = re.sub(r"\| \d\d\.\d %", "| 12.3 %", text, count=1)
    assert changed != text
    assert accuracy_page.filled(changed) == text


def test_numbers_in_the_text_are_those_of_the_result_files(verdicts):
    text = PAGE.read_text(encoding="utf-8")
    harsh = next(row for row in verdicts["sessions"] if row["group"] == "harsh")["bounds"]["bound 0"]
    assert f"threshold for picks, {verdicts['pick_threshold']:g}," in text
    assert f"threshold for masks, {verdicts['mask_threshold']:g}." in text
    assert f"more than {verdicts['offset_tolerance']:g} above" in text
    assert f"up to {100 * harsh['worst']:.1f} %" in text
    clean = verdicts["real"]["now"]["clean"]["removed"]["0.2"]["value"]
    assert clean <= 0.005 < verdicts["simulated"]["test"]["clean"]["removed"]["0.2"]["value"]  # "reached" and "missed"
