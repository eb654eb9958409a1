# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables that grow during a run."""

from types import SimpleNamespace

import pytest

from cryoice_scipion.core.screening.csv_table import CsvTable


@pytest.mark.parametrize("path", ["=1+2/a.mrc", "+1/a.mrc", "-1/a.mrc", "@here/a.mrc"])
def test_no_cell_is_a_formula(tmp_path, path):
    row = {"path": path, "value": "-1.5", "reason": f"{path}: there is no such file"}
    table = CsvTable(tmp_path / "t.csv", list(row), lambda record: [row])
    table.note(SimpleNamespace(id=1))
    table.refresh()
    assert (tmp_path / "t.csv").read_text().split("\n")[1] == f"./{path},-1.5,./{path}: there is no such file"
