# SPDX-License-Identifier: GPL-3.0-or-later
"""STAR files as RELION, crYOLO and Xmipp write them.

Read here and not by the package starfile because text must stay as written (a micrograph called 0012 is
not 12), because complaints name the line, and because millions of rows must take seconds.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, Iterator, List, Sequence, Tuple, Union

import numpy as np
import pandas as pd

from cryoice_scipion.core.data.rows import Rows, read_rows
from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.images.atomic import replacing

VERSION_COMMENT = "# version 30001"  # what RELION writes over each block since 3.1
_BLOCK = re.compile(r"^[ \t]*data_(\S*)[^\n]*$", re.MULTILINE)
_LOOP = re.compile(r"^[ \t]*loop_[^\n]*$", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*#[^\n]*", re.MULTILINE)
_PAIR = re.compile(r"^[ \t]*_(\S+)[ \t]+(\"[^\"\n]*\"|'[^'\n]*'|\S+)", re.MULTILINE)
_LABEL = re.compile(r"(?:\s*#[^\n]*\n)*\s*_(\S+)[^\n]*(?:\n|$)")
_CHUNK = 100_000  # rows formatted at a time


@dataclasses.dataclass
class Block:
    """One data block; a block without a loop is a table of one row. Columns have no leading underscore."""

    name: str
    rows: Rows

    @property
    def table(self) -> pd.DataFrame:
        """Return the block's table."""
        return self.rows.table


def read_text(path: Path) -> str:
    """Return a text file with plain line ends.

    Raises
    ------
    CoordinatesError
        When it is missing, a folder, unreadable, or not text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CoordinatesError(path, f"cannot be read ({error.strerror or error})", "check the path") from None
    if b"\0" in data[:4096]:
        raise CoordinatesError(path, "is not a text file", "give a .star, .box, .cbox, .pos, .csv or .txt file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def read_star(path: Path) -> List[Block]:
    """Return the data blocks of a STAR file, in order; a file without any gives an empty list.

    Raises
    ------
    CoordinatesError
        When the file cannot be read or a row has the wrong number of columns; the line is named.
    """
    text = read_text(path)
    heads = list(_BLOCK.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    blocks = []
    line, counted = 1, 0
    for head, end in zip(heads, ends):
        line, counted = line + text.count("\n", counted, head.end()), head.end()
        blocks.append(Block(head.group(1), _read_block(path, text[head.end() : end], line)))
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


def _read_block(path: Path, text: str, line: int) -> Rows:
    """Read what follows a ``data_`` line; ``line`` is that line's number."""
    loop = _LOOP.search(text)
    if loop is None:
        pairs = [(key, value.strip("\"'")) for key, value in _PAIR.findall(text)]
        body = "\t".join(value for _, value in pairs)
        return read_rows(path, body, [key for key, _ in pairs], line, separator="\t")
    columns, position = [], loop.end()
    label = _LABEL.match(text, position)
    while label:
        columns.append(label.group(1))
        position = label.end()
        label = _LABEL.match(text, position)
    if not columns:
        raise CoordinatesError(path, f"line {line + text.count(chr(10), 0, loop.end())}: a loop without columns")
    body = text[position:]
    if "#" in body:
        body = _COMMENT.sub("", body)  # the line ends stay, so that lines can be counted
    return read_rows(path, body, columns, line + text.count("\n", 0, position))


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
    text = re.sub(r"[\r\n\t]", " ", str(value))
    return text if text and " " not in text else f'"{text}"'
