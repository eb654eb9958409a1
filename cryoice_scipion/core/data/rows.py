# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of text as a table, fast, with the file's line in every complaint."""

from __future__ import annotations

import csv
import dataclasses
import re
from io import StringIO
from pathlib import Path
from typing import Any, Optional, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.core.errors import CoordinatesError

BLANKS = r"\s+"
_SURPLUS = "\0surplus"
_SAMPLE = 1000  # rows from which a column's type is told
_INTEGER = r"[+-]?(?:0|[1-9]\d{0,17})"  # canonical, so that writing gives the same text; fits 64 bits
_FLOAT = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_MISSING = ("nan", "NaN", "<NA>")
_NAMES = re.compile(r"(name|image|label|id)$", re.IGNORECASE)  # text, even if it looks like numbers


@dataclasses.dataclass
class Rows:
    """A table and where it came from."""

    table: pd.DataFrame
    path: Path
    text: str  # the rows as they stand in the file
    first_line: int  # in the file, of text, from 1

    def line(self, position: int) -> int:
        """Return the line in the file of a row of the table."""
        filled = (number for number, line in enumerate(self.text.split("\n")) if line.strip())
        return self.first_line + next(number for count, number in enumerate(filled) if count == position)

    def has(self, column: str) -> bool:
        """Return whether any row reaches this column."""
        return not bool(_absent(self.table[column]).all())

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
            reason = f"line {self.line(position)}: {column} is {str(self.table[column].iloc[position])!r}, not a number"
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

    Columns whose values are numbers become int64 or float64; all others stay text as written.

    Parameters
    ----------
    path : Path
        Named in errors.
    text : str
        The rows; lines that are blank are skipped. No comments.
    columns : sequence of str
        Their names. Names of names (ending in Name, Image, Label, Id) are text.
    first_line : int
        Of the text, in the file.
    separator : str
        ``BLANKS``, or one character.
    needed : int, optional
        How many columns a row must have; the others may be missing at its end. Default: all.

    Raises
    ------
    CoordinatesError
        When a row has too few or too many columns; the line is named.
    """
    if not text.strip():
        nothing = pd.DataFrame({name: [] for name in columns}, columns=list(columns), dtype=object)
        return Rows(nothing, path, "", first_line)
    _check_first(path, text, columns, first_line, separator)
    sample = _parse(path, text, columns, first_line, separator, dict.fromkeys(columns, str), _SAMPLE)
    rows = Rows(sample, path, text, first_line)
    kinds = {name: _kind(name, sample[name]) for name in columns}
    if len(sample) < _SAMPLE:
        numeric = {name: kind for name, kind in kinds.items() if kind is not str}
        table = sample.assign(**{name: sample[name].replace("<NA>", "nan") for name in numeric}).astype(numeric)
    else:
        texts = {name: str for name, kind in kinds.items() if kind is str}
        table = _parse(path, text, columns, first_line, separator, texts, None)
    rows.table = table
    _check_surplus(rows, columns)
    if separator == BLANKS:  # else what is missing is an empty field, which numbers() finds
        _check_short(rows, columns, len(columns) if needed is None else needed)
    return rows


def _parse(
    path: Path, text: str, columns: Sequence[str], first_line: int, separator: str, texts: Any, count: Optional[int]
) -> pd.DataFrame:
    numbers = {name: list(_MISSING) for name in columns if name not in texts}
    try:
        return pd.read_csv(
            StringIO(text),
            sep=separator,
            header=None,
            names=[*columns, _SURPLUS],
            index_col=False,
            dtype={**texts, _SURPLUS: str},
            keep_default_na=False,
            na_values=numbers,
            float_precision="round_trip",
            low_memory=False,
            nrows=count,
        )
    except pd.errors.ParserError as error:
        found = re.search(r"in line (\d+), saw (\d+)", str(error))
        if not found:
            raise CoordinatesError(path, f"cannot be read as a table ({error})", "correct the file") from None
        # pandas counts blank lines here, so this is the place in the text.
        line = first_line + int(found.group(1)) - 1
        raise _wrong_width(path, line, int(found.group(2)), len(columns)) from None


def _kind(name: str, values: pd.Series) -> Any:
    """Return int, float, or str for a column of text."""
    present = values[~values.isin(_MISSING) & values.notna()]
    if not len(present) or _NAMES.search(name):
        return str
    if present.str.fullmatch(_INTEGER).all():
        return np.int64 if len(present) == len(values) else np.float64
    return np.float64 if present.str.fullmatch(_FLOAT).all() else str


def _check_first(path: Path, text: str, columns: Sequence[str], first_line: int, separator: str) -> None:
    """Check the first row's width: pandas takes it as the measure, and drops what is too much in silence."""
    first = re.search(r"[^\n]*\S[^\n]*", text)
    width = _width(first.group(), separator) if first else 0
    if first and width > len(columns):
        raise _wrong_width(path, first_line + text.count("\n", 0, first.start()), width, len(columns))


def _check_surplus(rows: Rows, columns: Sequence[str]) -> None:
    surplus = ~_absent(rows.table.pop(_SURPLUS))
    if surplus.any():
        raise _wrong_width(rows.path, rows.line(int(np.argmax(surplus))), len(columns) + 1, len(columns))


def _check_short(rows: Rows, columns: Sequence[str], needed: int) -> None:
    if not _absent(rows.table[columns[needed - 1]]).any():
        return
    for number, line in enumerate(rows.text.split("\n")):  # an error, or a nan that is meant: rare
        found = _width(line, BLANKS)
        if 0 < found < needed:
            raise _wrong_width(rows.path, rows.first_line + number, found, needed)


def _width(line: str, separator: str) -> int:
    """Return how many values a line holds."""
    if separator == BLANKS:
        return len(re.findall(r'"[^"]*"|\S+', line))
    return len(next(csv.reader([line], delimiter=separator), []))


def _absent(values: pd.Series) -> npt.NDArray[np.bool_]:
    """Tell where a row ends before a column: NaN, or empty text where pandas was given other marks of missing."""
    absent: npt.NDArray[np.bool_] = values.isna().to_numpy()
    return absent if pd.api.types.is_numeric_dtype(values.dtype) else absent | values.eq("").to_numpy(dtype=bool)


def _wrong_width(path: Path, line: int, found: int, expected: int) -> CoordinatesError:
    reason = f"line {line}: {found} columns where {expected} are expected"
    return CoordinatesError(path, reason, "correct or remove that line")
