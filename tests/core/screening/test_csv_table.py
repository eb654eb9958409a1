# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables that grow during a run."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import cryoice_scipion
from cryoice_scipion.core.screening.csv_table import CsvTable, write_csv
from cryoice_scipion.core.screening.region_search_files import _write_table
from cryoice_scipion.core.training.patches.patch_set import PatchSet


@pytest.mark.parametrize("path", ["=1+2/a.mrc", "+1/a.mrc", "-1/a.mrc", "@here/a.mrc"])
def test_no_cell_is_a_formula(tmp_path, path):
    row = {"path": path, "value": "-1.5", "reason": f"{path}: there is no such file"}
    table = CsvTable(tmp_path / "t.csv", list(row), lambda record: [row])
    table.note(SimpleNamespace(id=1))
    table.refresh()
    assert (tmp_path / "t.csv").read_text().split("\n")[1] == f"./{path},-1.5,./{path}: there is no such file"


def test_no_cell_of_a_table_is_a_formula_and_numbers_stay(tmp_path):
    columns = {
        "micrograph": ["=1+2", "sim/@a", "-x"],
        "x": [-1.5, 2.0, np.nan],
        "some": ["-3", None, "+y"],
        "n": [1, -2, 3],
    }
    write_csv(tmp_path / "t.csv", pd.DataFrame(columns), "%.2f")
    rows = (tmp_path / "t.csv").read_text().splitlines()
    assert rows == ["micrograph,x,some,n", "./=1+2,-1.50,-3,1", "sim/@a,2.00,,-2", "./-x,,./+y,3"]


def test_no_cell_of_patches_and_of_found_regions_is_a_formula(tmp_path):
    table = {"label": "good", "x": -1.0, "y": 2.0, "micrograph": "=1+2", "origin": "coordinates", "copy": 0}
    patches = PatchSet(np.zeros((1, 64, 64), np.float32), pd.DataFrame([table]), 4.0)
    patches.save(tmp_path)
    assert list(PatchSet.load(tmp_path).table["micrograph"]) == ["./=1+2"]
    region = SimpleNamespace(
        stem="a", cls="=1+2", confidence=0.5, expected_iou=0.5, box=(-1.0, 2.0, 3.0, 4.0), area=100.0
    )
    _write_table(tmp_path / "regions.csv", [region])
    row = next(csv.DictReader((tmp_path / "regions.csv").open()))
    assert (row["class"], row["x"]) == ("./=1+2", "-1.0")


def test_every_table_with_texts_is_written_with_the_guard():
    lines = {
        f"{path.name}: {line.strip()}"
        for path in Path(cryoice_scipion.__file__).parent.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if ".to_csv(" in line and "HISTORY" not in line  # these have numbers only
    }
    assert len(lines) == 1 and next(iter(lines)).startswith("csv_table.py: ")
