# SPDX-License-Identifier: GPL-3.0-or-later
"""STAR files: which tables are read, and how values are written."""

import numpy as np
import pandas as pd
import pytest

from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats import star
from cryoice_scipion.core.formats.star import read_star, write_blocks


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_single_values_are_a_table_of_one_row_before_the_loops_of_their_block(tmp_path):
    text = (
        "# made\ndata_a\n\n_x 1\n_ü 'two wörds'\nloop_\n_z #1\n3\n\n4 # last\ndata_b\n_w ?\ndata_c\ndata_d\nloop_\n_v\n"
    )
    blocks = read_star(write(tmp_path / "m.star", text))
    found = [(block.name, block.table.to_dict("list"), list(block.rows.lines)) for block in blocks]
    assert found == [
        ("a", {"x": [1], "ü": ["two wörds"]}, [4]), ("a", {"z": [3, 4]}, [8, 10]), ("b", {"w": ["?"]}, [12]),
        ("c", {}, []), ("d", {"v": []}, []),
    ]  # fmt: skip


def test_a_row_of_another_width_is_an_error_or_noted(tmp_path):
    path = write(tmp_path / "m.star", "data_a\nloop_\n_x\n_y\n1 2\n3\n4 5\ndata_b\nloop_\n_z\n6 7\n8\n9 10\n")
    one, two = read_star(path, lenient=True)
    assert one.table.values.tolist() == [[1, 2], [4, 5]] and one.rows.lost == [(6, "1 column where 2 are expected")]
    assert two.table.values.tolist() == [[8]]
    assert two.rows.lost == [(11, "2 columns where 1 is expected"), (13, "2 columns where 1 is expected")]
    with pytest.raises(CoordinatesError, match="m.star: line 6: 1 column where 2 are expected; correct or remove"):
        read_star(path)


@pytest.mark.parametrize("number", [20, 21])
def test_at_most_twenty_rows_with_an_unpaired_quote_are_left_out(tmp_path, number):
    path = write(tmp_path / "m.star", "data_\nloop_\n_x\n_y\n1 2\n" + "3 'x\n" * number)
    if number == 20:
        (block,) = read_star(path, lenient=True)
        assert [line for line, _ in block.rows.lost] == list(range(6, 26)) and block.table.values.tolist() == [[1, 2]]
    else:
        with pytest.raises(CoordinatesError, match="m.star: line 26: unterminated.*; correct that line"):
            read_star(path, lenient=True)


def test_values_are_written_as_short_as_they_stay_exact(tmp_path):
    third = [0.1, 1 / 3]
    table = pd.DataFrame({
        "b": [True, False], "i": np.array([-7, 8], np.int32), "f": third, "g": np.array(third, np.float32),
        "n": pd.array([1, None], dtype="Int64").astype("Float64"), "t": ["a b", None], "m": [0.5, "x"],
    })  # fmt: skip
    write_blocks(tmp_path / "é.star", [("", table), ("two", table[["i"]])], "# seen")
    head = "".join(f"_{name} #{number}\n" for number, name in enumerate("bifgntm", 1))
    rows = "1\t-7\t0.1\t0.1\t1.0\t'a b'\t0.5\n0\t8\t0.3333333333333333\t0.3333333\tnan\tNone\tx\n"
    expected = f"\n# seen\n\ndata_\n\nloop_\n{head}{rows}\n\n# seen\n\ndata_two\n\nloop_\n_i #1\n-7\n8\n\n"
    assert (tmp_path / "é.star").read_text() == expected


def test_long_tables_are_written_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(star, "_CHUNK", 2)
    write_blocks(tmp_path / "m.star", [("", pd.DataFrame({"x": range(5)}))])
    assert (tmp_path / "m.star").read_text() == "\ndata_\n\nloop_\n_x #1\n0\n1\n2\n3\n4\n\n"
