# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of text become numbers where nothing is lost by it, and every row that cannot be read is named."""

import numpy as np
import pandas as pd
import pytest

from cryoice_scipion.constants import LARGEST_POSITION
from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats.rows import read_rows, typed_columns


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("x", ["1", "-2"], [1, -2]),
        ("x", ["1", "2.5"], [1.0, 2.5]),
        ("x", ["1", "nan", "<NA>", ""], [1.0, np.nan, np.nan, np.nan]),
        ("x", ["nan", "<NA>"], ["nan", "<NA>"]),
        ("x", ["007", "8"], ["007", "8"]),
        ("x", ["1_2", "3.5"], ["1_2", "3.5"]),
        ("x", ["1e999", "1"], ["1e999", "1"]),
        ("x", ["1234567890123456", "1"], [1234567890123456, 1]),
        ("x", ["12345678901234567890", "1"], ["12345678901234567890", "1"]),
        ("x", ["1234567890123456", "1.5"], ["1234567890123456", "1.5"]),
        ("x", ["a", "1"], ["a", "1"]),
        ("rlnMicrographName", ["1", "2"], ["1", "2"]),
        ("rlnimage", ["1", "2"], ["1", "2"]),
        ("rlnNameless", ["1", "2"], [1, 2]),
        ("kept", ["1", "2"], ["1", "2"]),
    ],
)
def test_a_column_is_of_numbers_only_if_its_text_says_no_more(name, values, expected):
    table = pd.DataFrame(typed_columns({name: values}, verbatim=["kept"]))
    np.testing.assert_equal(table[name].tolist(), expected)
    assert [type(value) for value in table[name].tolist()] == [type(value) for value in expected]


@pytest.mark.parametrize(
    ("text", "separator", "needed", "rows", "lost"),
    [
        ("a b c\n\n \nd e f\n", r"\s+", None, [["a", "b", "c"], ["d", "e", "f"]], []),
        ("a\t b\r\n", r"\s+", 2, [["a", "b", ""]], []),
        ("a\nb c\n", r"\s+", 2, [["b", "c", ""]], [(7, "1 column where 2 are expected")]),
        ("a,b,c,,\n,,,d\n", ",", None, [["a", "b", "c"]], [(8, "4 columns where 3 are expected")]),
        ("a,b\n \n\nc\n", ",", None, [["a", "b", ""], ["c", "", ""]], []),
        ('"a, b",c\nd,"e\nf,g,h\n', ",", None, [["a, b", "c", ""], ["d", "e", ""], ["f", "g", "h"]], []),
    ],
)
def test_rows_are_split_at_blanks_or_one_character(tmp_path, text, separator, needed, rows, lost):
    found = read_rows(tmp_path, text, ["u", "v", "w"], 7, separator, needed)
    assert found.table.values.tolist() == rows and found.lost == lost
    assert [column for column in "uvw" if found.has(column)] == [
        column for number, column in enumerate("uvw") if any(row[number] for row in rows)
    ]


def test_lines_of_rows_count_blank_ones(tmp_path):
    assert read_rows(tmp_path, "\n1 2\n\n3 4\n", ["x", "y"], 5).lines == [6, 8]
    assert read_rows(tmp_path, '\n1,2\n\n"3",4\n', ["x", "y"], 5, ",").lines == [6, 8]


@pytest.mark.parametrize(("value", "is_read"), [(LARGEST_POSITION, True), (LARGEST_POSITION * 1.001, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_position_may_be_as_large_as_the_largest_micrograph(tmp_path, value, is_read, sign):
    rows = read_rows(tmp_path, f"{sign * value!r} 1\n2 3\n", ["x", "y"], 1)
    assert rows.numbers("x").tolist() == [sign * value, 2] and bool(rows.bad) is not is_read
    assert rows.readable().tolist() == [is_read, True]


_FIRST = "line 1: x is 'a', not a number"
_THREE = f"{_FIRST}; line 2: 1 column where 2 are expected; line 3: x is 'a', not a number"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1, f"1 unreadable row is left out ({_FIRST})"),
        (3, f"3 unreadable rows are left out ({_THREE})"),
        (5, f"5 unreadable rows are left out ({_THREE}; and 2 more)"),
    ],
)
def test_the_warning_names_three_unreadable_rows_in_the_order_of_the_file(tmp_path, number, words):
    text = "".join("b\n" if line % 2 else "a 1\n" for line in range(number))
    rows = read_rows(tmp_path / "m.box", text + "1 2\n", ["x", "y"], 1)
    rows.numbers("x"), rows.numbers("y")
    assert rows.warnings() == [f"{tmp_path / 'm.box'}: {words}"]
    alone = read_rows(tmp_path / "m.box", text, ["x", "y"], 1)
    assert alone.numbers("x", optional=True).size == (number + 1) // 2 and not alone.bad
    alone.numbers("x")
    assert not alone.readable(lenient=True).any()
    with pytest.raises(CoordinatesError, match="m.box: line 1: x is 'a', not a number; correct or remove that line"):
        alone.readable()
