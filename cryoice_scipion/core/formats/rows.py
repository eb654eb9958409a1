# SPDX-License-Identifier: GPL-3.0-or-later
"""Read rows of text as a table, and name the file's line in every error."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import re
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
import numpy.typing as npt
import pandas as pd

from cryoice_scipion.constants import LARGEST_POSITION
from cryoice_scipion.core.errors import CoordinatesError, counted, without_breaks

BLANKS = r"\s+"
_NUMBERS = "iuf"  # codes that numpy has for types of integers and floats
_SHOWN = 3  # unreadable rows that a warning names
#: What programs write for an unknown number: crYOLO, RELION, pandas, a missing value.
MISSING = frozenset(("<NA>", "None", "nan", "NaN", "NA", "N/A", ""))
_EXACT = re.compile(r"[+-]?(0\d|\d{16})")  # integers that a float would rewrite: leading zeros, more than 15 digits
_NAMES = re.compile(r"(name|image|label|id)$", re.IGNORECASE)  # text, even if it looks like numbers


@dataclasses.dataclass
class Rows:
    """Columns of a text file, with the file and line of each row."""

    columns: Dict[str, Any]  # numbers as arrays, texts as lists; see typed_columns
    path: Path
    lines: Union[Sequence[int], npt.NDArray[np.int64]]  # each row's line in the file, from 1
    lost: List[Tuple[int, str]] = dataclasses.field(default_factory=list)  # lines that are not a row, and the reason
    bad: Dict[int, str] = dataclasses.field(default_factory=dict)  # rows that cannot be read, and the reason
    unit: str = "line"  # what ``lines`` counts

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        """Return the columns as a table, which takes longer to make than to read a small file."""
        return pd.DataFrame(self.columns, columns=list(self.columns))

    def has(self, column: str) -> bool:
        """Return whether any row reaches this column."""
        values = self.columns[column]
        return _is_numeric(values) or any(value != "" for value in values)

    def numbers(self, column: str, optional: bool = False) -> npt.NDArray[np.float64]:
        """Return a column as finite numbers, with NaN for values that are none.

        Parameters
        ----------
        optional : bool
            Whether a row without this number can be used. If not, the number is a position or a size, and a row in
            which it is missing or larger than any micrograph is noted as unreadable.
        """
        numbers = self.columns[column]
        if not _is_numeric(numbers):
            numbers = pd.to_numeric(pd.Series(numbers, dtype=object), errors="coerce")
        values = np.array(numbers, dtype=np.float64)
        wrong = ~np.isfinite(values)
        values[wrong] = np.nan
        if optional:
            return values
        for position in np.flatnonzero(wrong | (np.abs(values) > LARGEST_POSITION)).tolist():
            value = self.columns[column][position]
            why = "not a number" if wrong[position] else "beyond any micrograph"
            why = f"is {str(value)!r}, {why}" if value == value else "is missing"
            self.bad.setdefault(position, f"{column} {why}")
        return values

    @property
    def unreadable(self) -> List[Tuple[int, str]]:
        """Return the line of each row that cannot be read, and the reason, in the order of the file."""
        return sorted([*self.lost, *((int(self.lines[position]), why) for position, why in self.bad.items())])

    def readable(self, lenient: bool = False) -> npt.NDArray[np.bool_]:
        """Return which rows can be read; call it when all needed columns were asked for.

        Raises
        ------
        CoordinatesError
            When there are rows and none of them can be read, unless ``lenient``.
        """
        mask = np.ones(len(self.lines), dtype=bool)
        mask[list(self.bad)] = False
        if self.unreadable and not mask.any() and not lenient:
            raise row_error(self.path, *self.unreadable[0], self.unit)
        return mask

    def warnings(self) -> List[str]:
        """Return a line that names the file and the rows that are left out; nothing when all can be read."""
        unreadable = self.unreadable
        if not unreadable:
            return []
        shown = "; ".join(f"{self.unit} {line}: {why}" for line, why in unreadable[:_SHOWN])
        more = f"; and {len(unreadable) - _SHOWN} more" if len(unreadable) > _SHOWN else ""
        rows = counted(len(unreadable), "unreadable row is", "unreadable rows are")
        return [f"{self.path}: {rows} left out ({without_breaks(shown)}{more})"]


def read_rows(
    path: Path,
    text: str,
    columns: Sequence[str],
    first_line: int,
    separator: str = BLANKS,
    needed: Optional[int] = None,
    verbatim: Sequence[str] = (),
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

    verbatim : sequence of str
        Columns that stay text, even if they look like numbers.

    Rows with too few or too many columns are left out and noted in ``Rows.lost``.

    Raises
    ------
    CoordinatesError
        When the text cannot be split into rows.
    """
    width = len(columns)
    least = needed or (width if separator == BLANKS else 0)
    rows: List[List[str]] = []
    lines: List[int] = []
    lost: List[Tuple[int, str]] = []
    try:
        for number, row in _split(text, separator):
            while len(row) > width and not row[-1]:
                row.pop()
            if not least <= len(row) <= width:
                lost.append((first_line + number, width_reason(len(row), least if len(row) < least else width)))
                continue
            rows.append(row + [""] * (width - len(row)))
            lines.append(first_line + number)
    except csv.Error as error:
        raise CoordinatesError(path, f"cannot be read as a table ({error})", "correct the file") from None
    texts = zip(*rows) if rows else ((),) * width
    return Rows(typed_columns(dict(zip(columns, texts)), verbatim), path, lines, lost)


def typed_columns(columns: Dict[str, Iterable[str]], verbatim: Sequence[str] = ()) -> Dict[str, Any]:
    """Return columns of text, as arrays where they are numbers and as lists where they are not.

    Columns whose values are numbers become int64 or float64, with NaN for ``MISSING`` ones; all others stay text as
    written, and so do numbers with leading zeros or more than 15 digits. Columns with names that end in Name, Image,
    Label or Id are text, and so are those in ``verbatim``.
    """
    return {name: list(values) if name in verbatim else _typed(name, list(values)) for name, values in columns.items()}


def width_reason(found: int, expected: int) -> str:
    """Return the reason for a row with too few or too many values."""
    return f"{counted(found, 'column')} where {counted(expected, 'is', 'are')} expected"


def row_error(path: Path, line: int, reason: str, unit: str = "line") -> CoordinatesError:
    """Return the error of a file in which this row cannot be read, and no other one can."""
    return CoordinatesError(path, f"{unit} {line}: {reason}", f"correct or remove that {unit}")


def _split(text: str, separator: str) -> Iterator[Tuple[int, List[str]]]:
    """Yield the rows that are not blank, each with how many lines are before its last one."""
    lines: Iterable[str] = text.split("\n")
    options: Dict[str, Any] = {"delimiter": separator}
    if separator == BLANKS:
        lines = (re.sub(r"\s", " ", line).strip() for line in lines)
        options = {"delimiter": " ", "skipinitialspace": True}
    else:
        lines = (line if line.strip() else "" for line in lines)
    if '"' in text:  # line by line: an unpaired quote must not join lines
        return ((number, row) for number, line in enumerate(lines) for row in csv.reader([line], **options) if row)
    reader = csv.reader(lines, **options)
    return ((reader.line_num - 1, row) for row in reader if row)


def _is_numeric(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind in _NUMBERS


def _typed(name: str, values: List[str]) -> Any:
    if not values:
        return pd.Series(values, dtype=object)
    if _NAMES.search(name):
        return values
    integers = _numbers(int, np.int64, values)
    if (
        integers is not None and list(map(str, integers.tolist())) == values
    ):  # otherwise the text would change on writing
        return integers
    if any(map(_EXACT.match, values)):
        return values
    floats = _numbers(float, np.float64, values)
    if floats is None:  # some are missing, or no numbers
        floats = _numbers(float, np.float64, ["nan" if value in MISSING else value for value in values])
    if floats is None or np.isinf(floats).any() or np.isnan(floats).all():
        return values
    return values if "_" in "".join(values) else floats  # Python takes 1_2 for 12


def _numbers(convert: Callable[[str], float], kind: Any, values: List[str]) -> Optional[npt.NDArray[Any]]:
    with contextlib.suppress(ValueError, OverflowError):
        return np.fromiter(map(convert, values), dtype=kind, count=len(values))
    return None
