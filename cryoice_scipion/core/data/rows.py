# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of text as a table: numbers where all of a column is numbers, and the file's line in every complaint."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import re
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.core.errors import CoordinatesError

BLANKS = r"\s+"
_MISSING = "<NA>"  # crYOLO writes it
_NAMES = re.compile(r"(name|image|label|id)$", re.IGNORECASE)  # text, even if it looks like numbers


@dataclasses.dataclass
class Rows:
    """A table and where it came from."""

    table: pd.DataFrame
    path: Path
    lines: Union[Sequence[int], npt.NDArray[np.int64]]  # each row's line in the file, from 1

    def has(self, column: str) -> bool:
        """Return whether any row reaches this column."""
        return not bool(self.table[column].eq("").all())

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """Return a column as finite numbers.

        Raises
        ------
        CoordinatesError
            With the line of the first value that is no finite number.
        """
        numbers = pd.to_numeric(self.table[column], errors="coerce")
        values: npt.NDArray[np.float64] = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
        wrong = ~np.isfinite(values)
        if wrong.any():
            position = int(np.argmax(wrong))
            value = str(self.table[column].iloc[position])
            reason = f"line {self.lines[position]}: {column} is {value!r}, not a number"
            raise CoordinatesError(self.path, reason, "correct or remove that line")
        return values


def read_rows(
    path: Path,
    text: str,
    columns: Sequence[str],
    first_line: int,
    separator: str = BLANKS,
    needed: Optional[int] = None,
) -> Rows:
    """Read rows of values.

    Parameters
    ----------
    path : Path
        Named in errors.
    text : str
        The rows; lines that are blank are skipped. No comments.
    columns : sequence of str
        Their names.
    first_line : int
        Of the text, in the file.
    separator : str
        ``BLANKS``, or one character.
    needed : int, optional
        How many columns a row must have; the others may be missing at its end. Default: all, between blanks; where
        a character separates, what is missing is an empty value.

    Raises
    ------
    CoordinatesError
        When a row has too few or too many columns; the line is named.
    """
    width = len(columns)
    least = needed or (width if separator == BLANKS else 0)
    rows: List[List[str]] = []
    lines: List[int] = []
    try:
        for number, row in _split(text, separator):
            while len(row) > width and not row[-1]:
                row.pop()
            if not least <= len(row) <= width:
                raise wrong_width(path, first_line + number, len(row), least if len(row) < least else width)
            rows.append(row + [""] * (width - len(row)))
            lines.append(first_line + number)
    except csv.Error as error:
        raise CoordinatesError(path, f"cannot be read as a table ({error})", "correct the file") from None
    texts = zip(*rows) if rows else ((),) * width
    return Rows(as_table(dict(zip(columns, texts))), path, lines)


def as_table(columns: Dict[str, Iterable[str]]) -> pd.DataFrame:
    """Return a table of columns of text.

    Columns whose values are numbers become int64 or float64, with NaN for ``nan`` and ``<NA>``; all others stay
    text as written. Names of names (ending in Name, Image, Label, Id) are text.
    """
    table = {name: _typed(name, list(values)) for name, values in columns.items()}
    return pd.DataFrame(table, columns=list(columns))


def width_of(line: str) -> int:
    """Return how many values a line holds between blanks."""
    return sum(len(row) for _, row in _split(line, BLANKS))


def wrong_width(path: Path, line: int, found: int, expected: int) -> CoordinatesError:
    """Return the complaint on a row with too few or too many values."""
    reason = f"line {line}: {found} columns where {expected} are expected"
    return CoordinatesError(path, reason, "correct or remove that line")


def _split(text: str, separator: str) -> Iterator[Tuple[int, List[str]]]:
    """Yield the rows that are not blank, each with how many lines are before its last one."""
    lines: Iterable[str] = text.split("\n")
    if separator == BLANKS:
        reader = csv.reader((re.sub(r"\s", " ", line).strip() for line in lines), delimiter=" ", skipinitialspace=True)
    else:
        reader = csv.reader((line if line.strip() else "" for line in lines), delimiter=separator)
    return ((reader.line_num - 1, row) for row in reader if row)


def _typed(name: str, values: List[str]) -> Any:
    if not values:
        return pd.Series(values, dtype=object)
    if _NAMES.search(name):
        return values
    integers = _numbers(int, np.int64, values)
    if integers is not None and list(map(str, integers.tolist())) == values:  # else written, it would not be the same
        return integers
    floats = _numbers(float, np.float64, values)
    if floats is None and _MISSING in values:
        floats = _numbers(float, np.float64, ["nan" if value == _MISSING else value for value in values])
    if floats is None or np.isinf(floats).any() or np.isnan(floats).all():
        return values
    return values if "_" in "".join(values) else floats  # Python takes 1_2 for 12


def _numbers(convert: Callable[[str], float], kind: Any, values: List[str]) -> Optional[npt.NDArray[Any]]:
    with contextlib.suppress(ValueError, OverflowError):
        return np.fromiter(map(convert, values), dtype=kind, count=len(values))
    return None
