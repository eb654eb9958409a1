# SPDX-License-Identifier: GPL-3.0-or-later
"""STAR files as RELION, crYOLO and Xmipp write them, read by gemmi.

Done here and not by gemmi: rows are checked to be lines (CIF lets them wrap, so that a value lost and one too many
go unseen), RELION's bare ``data_1.mrc`` and ``_1.mrc`` and letters beyond ASCII are made fit for CIF, and tables are
written in pieces (through gemmi 2,000,000 rows take six times the memory, and no comment goes over a block).
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Sequence, Tuple, Union

import numpy as np
import pandas as pd
from gemmi import cif

from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats.rows import Rows, row_error, typed_columns, width_reason
from cryoice_scipion.core.formats.text_files import read_text
from cryoice_scipion.core.images.atomic import replacing

VERSION_COMMENT = "# version 30001"  # what RELION writes over each block since 3.1
_UNPARSED = 20  # rows left out at most because gemmi cannot parse them: each costs another parse of the file
_CHUNK = 100_000  # rows formatted at a time
# For each line the first value of a row; nothing for lines that are blank, comments, labels, or heads of blocks.
_FIRST = re.compile(
    r"^[ \t]*(?:(?:[#_]|data_|(?:loop_|stop_)(?!\S))[^\n]*|(\"[^\n]*?\"(?!\S)|'[^\n]*?'(?!\S)|\S*))",
    re.MULTILINE | re.IGNORECASE,
)
_ROW = re.compile(r"^[ \t]*(?![#_]|data_|loop_)[^\s'\"][^\n'\"]*$", re.MULTILINE | re.IGNORECASE)
# What CIF wants in quotes; only where that does not help also # and what follows, which may be a comment.
_RESERVED = tuple(re.compile(rf"(?<!\S)(?:[{marks}]|data_|save_)\S*", re.IGNORECASE) for marks in ("_$", "_$#"))
# Values that RELION and CIF take without quotes: printable, no blank, nothing with a meaning in front.
_BARE = re.compile(r"[!-~]+")
_RESERVED_START = re.compile(r"[_#$'\";\[\]]|(?:data_|save_)|(?:loop_|stop_|global_)$", re.IGNORECASE)
# The values of a row, quoted or not; a value that starts with # may be a comment.
_VALUE = re.compile(r"\"(?:[^\"\n]|\"(?=\S))*\"(?!\S)|'(?:[^'\n]|'(?=\S))*'(?!\S)|\S+")
_HEAD = re.compile(r"^[ \t]*(?:data_|loop_(?!\S))", re.MULTILINE | re.IGNORECASE)
_LINE = re.compile(r":(\d+)\S* (.*)")  # gemmi says string:line:column(byte): reason


@dataclasses.dataclass
class Block:
    """One table of a data block; values without a loop are a table of one row. No underscore before columns."""

    name: str
    rows: Rows

    @property
    def columns(self) -> List[str]:
        """Return the names of the columns."""
        return list(self.rows.columns)

    @property
    def table(self) -> pd.DataFrame:
        """Return the block's table."""
        return self.rows.table


def read_star(path: Path, lenient: bool = False) -> List[Block]:
    """Return the tables of a STAR file, in order; a file without a data block gives an empty list.

    Parameters
    ----------
    lenient : bool
        Whether rows with a wrong number of values are left out and noted in ``Rows.lost``.

    Raises
    ------
    CoordinatesError
        When the file cannot be read or, unless ``lenient``, a row has the wrong number of values; the line is named.
    """
    text = read_text(path)
    blocks = _Reader(path, text).blocks() if _HEAD.search(text) else []
    for block in blocks if not lenient else ():
        if block.rows.lost:
            raise row_error(path, *block.rows.lost[0])
    return blocks


def write_blocks(path: Union[str, Path], blocks: Sequence[Tuple[str, pd.DataFrame]], comment: str = "") -> None:
    """Write data blocks as loops, whole or not at all.

    Parameters
    ----------
    path : str or Path
        The file.
    blocks : sequence of (name, DataFrame)
        Column names without the leading underscore.
    comment : str
        A line over each block.

    Raises
    ------
    CryoIceError
        When the folder cannot be written or the disk is full.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for name, table in blocks:
            stream.write(f"\n{comment}\n" if comment else "")
            stream.write(f"\ndata_{name}\n\nloop_\n")
            stream.writelines(f"_{column} #{number}\n" for number, column in enumerate(table.columns, 1))
            stream.writelines(_formatted(table))
            stream.write("\n")


class _Reader:
    """One file: gemmi's document, and which lines are rows."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.escaped = not text.isascii()
        if self.escaped:
            text = text.replace("\\", "\\\\").encode("ascii", "backslashreplace").decode("ascii")
        self.text = text + "\n"
        self.quotes = any(mark in text for mark in "'\";")
        self.lost: Dict[int, str] = {}  # lines that are not a row of their loop, and the reason

    def blocks(self) -> List[Block]:
        """Return all tables: of each data block its single values, then its loops."""
        while True:
            self._index()
            try:
                self.document = self._parse()
                return self._blocks()
            except _WrongRows as found:  # without these rows the others can be read
                self._blank(found)

    def _blank(self, found: _WrongRows) -> None:
        lines = self.text.split("\n")
        for number, reason in found.rows.items():
            lines[number - 1] = ""
            self.lost[number] = reason
        self.text = "\n".join(lines)

    def _blocks(self) -> List[Block]:
        starts = [item.line_number for block in self.document for item in block]
        ends = iter([*starts[1:], self.text.count("\n") + 1])
        found: List[Block] = []
        for block in self.document:
            name, loops = block.name.strip(" #"), []  # which gemmi gives blocks without one
            pairs: Dict[str, Tuple[int, str]] = {}
            for item, end in zip(block, ends):
                if item.loop is not None:
                    loops.append(Block(name, self._loop(block.item_as_table(item), item.line_number, end)))
                elif item.pair is not None:
                    tag, value = item.pair
                    if loops or self._label(tag) in pairs:
                        reason = f"line {item.line_number}: {tag} is out of place"
                        raise CoordinatesError(self.path, reason, "put a value that starts with _ in quotes")
                    pairs[self._label(tag)] = item.line_number, self._plain(value)
            if pairs or not loops:
                values = typed_columns({label: [value] for label, (_, value) in pairs.items()})
                loops.insert(0, Block(name, Rows(values, self.path, [line for line, _ in pairs.values()][:1])))
            found += loops
        return found

    def _index(self) -> None:
        """Note the lines that are rows, and the first value of each."""
        firsts = _FIRST.findall(self.text)
        self.lines = np.flatnonzero(np.fromiter(map(bool, firsts), dtype=bool, count=len(firsts))) + 1
        self.firsts = list(filter(None, firsts))

    def _parse(self) -> cif.Document:
        try:
            return _document(self.text)
        except (ValueError, RuntimeError) as error:
            failure = error
        for reserved in _RESERVED:
            quoted = _ROW.sub(lambda row, what=reserved: what.sub(r'"\g<0>"', row.group()), self.text)  # type: ignore[misc]
            with contextlib.suppress(ValueError, RuntimeError):
                document = _document(quoted)
                self.text, self.quotes = quoted, True
                self._index()
                return document
        raise self._complaint(failure) from None

    def _loop(self, table: cif.Table, start: int, end: int) -> Rows:
        """Return the rows of a loop that stands from line ``start`` to before line ``end``."""
        labels = [self._label(tag) for tag in table.tags]
        if len(set(labels)) < len(labels):
            double = next(label for label in labels if labels.count(label) > 1)
            raise CoordinatesError(self.path, f"line {start}: two columns are called _{double}", "rename one of them")
        first, last = np.searchsorted(self.lines, (start, end))
        if self.firsts[first:last] != list(table.column(0)):
            raise self._wrong_row(start, end, len(labels))
        columns: List[Iterable[str]] = [table.column(number) for number in range(len(labels))]
        if self.quotes or self.escaped:
            columns = [map(self._plain, column) for column in columns]
        lost = [(number, reason) for number, reason in sorted(self.lost.items()) if start <= number < end]
        return Rows(typed_columns(dict(zip(labels, columns))), self.path, self.lines[first:last], lost)

    def _label(self, tag: str) -> str:
        return self._plain(tag)[1:]

    def _plain(self, value: str) -> str:
        """Return a value without its quotes."""
        text = cif.as_string(value) if value[:1] in ("'", '"', ";") else value  # gemmi reads . and ? as missing
        return text.encode("ascii").decode("unicode_escape") if self.escaped else text

    def _complaint(self, error: Exception) -> Exception:
        match = _LINE.search(str(error))
        if match is None:
            return CoordinatesError(self.path, f"is not a STAR file ({error})", "correct the file")
        line, reason = int(match.group(1)), match.group(2)
        if reason.startswith("Wrong number of values"):
            heads = (self.text.count("\n", 0, head.start()) + 1 for head in _HEAD.finditer(self.text))
            end = next((head for head in heads if head > line), self.text.count("\n") + 1)
            labels = self.text.split("\n")[line - 1 : end - 1]
            return self._wrong_row(line, end, sum(label.lstrip().startswith("_") for label in labels))
        if reason.startswith("unterminated") and line in self.lines and len(self.lost) < _UNPARSED:
            return _WrongRows({line: reason})
        remedy = "correct that line; a value that starts with data_, _ or a quote must be in quotes"
        return CoordinatesError(self.path, f"line {line}: {reason}", remedy)

    def _wrong_row(self, start: int, end: int, width: int) -> Exception:
        """Return an error that names the rows whose number of values differs from the number of labels."""
        lines = self.text.split("\n")
        found: Dict[int, str] = {}
        for number in self.lines[(self.lines >= start) & (self.lines < end)].tolist():
            widths = _widths(lines[number - 1])
            if width not in widths:
                found[number] = width_reason(widths[0], width)
        if found:
            return _WrongRows(found)
        reason = f"line {start}: the values of this loop are not in lines of {width}"
        return CoordinatesError(self.path, reason, "write one row a line")


class _WrongRows(Exception):  # noqa: N818 (a signal inside this module)
    """Lines that are not rows of their loop, with the reasons."""

    def __init__(self, rows: Dict[int, str]) -> None:
        super().__init__(rows)
        self.rows = rows


def _widths(line: str) -> Tuple[int, int]:
    """Return how many values a line holds if a # begins a comment, and if it does not."""
    values = _VALUE.findall(line)
    return next((number for number, value in enumerate(values) if value[0] == "#"), len(values)), len(values)


def _document(text: str) -> cif.Document:
    document = cif.Document()
    document.parse_string(text)  # not read_string, which refuses two blocks of one name
    return document


def _formatted(table: pd.DataFrame) -> Iterator[str]:
    """Yield the rows as text, in pieces."""
    for start in range(0, len(table), _CHUNK):
        piece = table.iloc[start : start + _CHUNK]
        columns = [_texts(piece.iloc[:, number]) for number in range(piece.shape[1])]
        yield "\n".join(map("\t".join, zip(*columns))) + "\n"


def _texts(values: pd.Series) -> List[str]:
    """Return a column as STAR values: integers as integers, floats as short as they stay exact."""
    kind: Any = values.dtype
    if pd.api.types.is_bool_dtype(kind):
        return ["1" if value else "0" for value in values.tolist()]
    if pd.api.types.is_integer_dtype(kind):
        return list(map(str, values.tolist()))
    if pd.api.types.is_float_dtype(kind):
        if kind == np.float32:
            return [f"{value:.7g}" for value in values.tolist()]
        return list(map(repr, values.to_numpy(dtype=np.float64, na_value=np.nan).tolist()))
    codes, uniques = pd.factorize(values)  # names repeat: each is looked at once
    quoted = np.array([_quoted(value) for value in uniques] + ["None"], dtype=object)
    return quoted[codes].tolist()  # type: ignore[no-any-return]


def _quoted(value: object) -> str:
    """Return one text value; RELION writes None where there is none."""
    if isinstance(value, float):
        return repr(value)
    text = re.sub(r"[\r\n\t\ud800-\udfff]", " ", str(value))
    # gemmi quotes every path; RELION before 4 and many scripts take quotes for part of a name.
    if _BARE.fullmatch(text) and "#" not in text and not _RESERVED_START.match(text):
        return text
    quoted = cif.quote(text)
    if not quoted.startswith(";"):
        return quoted
    # Both kinds of quotes are inside. gemmi takes several lines, which RELION cannot read. In CIF and RELION, a quote
    # ends a value only before a blank. If both kinds stand before one, no form is left.
    mark = next((mark for mark in "'\"" if f"{mark} " not in text), None)
    return f"{mark}{text}{mark}" if mark else "'{}'".format(text.replace("'", '"'))
