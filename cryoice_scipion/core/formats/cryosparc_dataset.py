# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write cryoSPARC datasets (.cs) as numpy tables. Nothing in a file is executed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Any, Dict, List, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from numpy.lib.recfunctions import repack_fields

from cryoice_scipion.core.errors import CoordinatesError, one_line
from cryoice_scipion.core.formats.text_pickle import load_columns
from cryoice_scipion.core.images.atomic import replacing

Table = npt.NDArray[Any]  # structured array of one dimension; its fields are the columns

UID = "uid"
_NUMPY, _STREAM, _OLD_STREAM = b"\x93NUMPY", b"\x95CSDAT", b"\x94CSDAT"


def read_dataset(path: Path) -> Table:
    """Return the rows of a .cs file. Columns of Python text become text of a fixed width.

    Raises
    ------
    CoordinatesError
        When the file cannot be read, or holds anything but numbers and text.
    """
    try:
        with open(path, "rb") as stream:
            start = stream.read(6)
            stream.seek(0)
            if start == _NUMPY:
                return _load(path, stream)
    except OSError as error:
        raise CoordinatesError(path, f"cannot be read ({error.strerror or error})", "check the path") from None
    except CoordinatesError:
        raise
    except Exception as error:  # numpy, its parser of headers and pickle raise many kinds
        reason = f"is damaged or holds more than numbers and text ({type(error).__name__}: {error})"
        raise CoordinatesError(path, one_line(reason), "export it anew from cryoSPARC") from None
    if start == _OLD_STREAM:
        reason = "is in the compressed format of cryoSPARC 4.1 to 4.3, which newer cryosparc-tools do not read"
        remedy = "open it with cryosparc-tools 4.3 and save it in the numpy format, or export it anew from cryoSPARC"
        raise CoordinatesError(path, reason, remedy)
    if start != _STREAM:
        raise CoordinatesError(path, "is not a cryoSPARC file", "check the file and its extension")
    return _of_stream(path)


def write_dataset(path: Path, table: Table) -> None:
    """Write a table in the numpy format, which all versions of cryoSPARC read. Nothing is pickled.

    Raises
    ------
    CryoIceError
        When the folder cannot be written or the disk is full.
    """
    numpy_format: Any = np.lib.format  # has no types
    packed = repack_fields(table)  # a file that someone saved after removing columns has gaps in its rows
    with replacing(path) as temporary, open(temporary, "wb") as stream:
        numpy_format.write_array(stream, packed, allow_pickle=False)


def table_of(columns: Mapping[str, npt.NDArray[Any]]) -> Table:
    """Return columns as one table; columns of Python text become text of a fixed width, as cryosparc-tools saves it."""
    fixed = {name: _fixed(np.asarray(values)) for name, values in columns.items()}
    rows = len(next(iter(fixed.values()))) if fixed else 0
    table = np.empty(rows, dtype=[(name, values.dtype, values.shape[1:]) for name, values in fixed.items()])
    for name, values in fixed.items():
        table[name] = values
    return table


def append(tables: Sequence[Table]) -> Table:
    """Return the rows of several tables as one, with the columns that all of them have."""
    first = tables[0]
    if len(tables) == 1:
        return first
    names = [name for name in first.dtype.names or () if all(name in (table.dtype.names or ()) for table in tables)]
    return table_of({name: np.concatenate([table[name] for table in tables]) for name in names})


def numbers(path: Path, table: Table, column: str, width: int = 1) -> npt.NDArray[np.float64]:
    """Return a column of numbers, shape (rows,) or (rows, width); ``path`` is named in the error.

    Raises
    ------
    CoordinatesError
        When the column holds something else.
    """
    try:
        return np.asarray(table[column], dtype=np.float64).reshape((len(table), width) if width > 1 else len(table))
    except (ValueError, TypeError):
        raise CoordinatesError(path, f"column {column} does not hold numbers", "export it anew") from None


def texts(path: Path, table: Table, column: str) -> List[str]:
    """Return a column of text; a leading ">" marks a path beside the file itself, and is removed.

    Raises
    ------
    CoordinatesError
        When the column holds something else; ``path`` is named.
    """
    values = table[column]
    if values.ndim != 1 or values.dtype.kind not in "SU":
        raise CoordinatesError(path, f"column {column} does not hold text", "export it anew")
    known: Dict[Any, str] = {}  # a name is repeated for each particle of its micrograph
    found = values.tolist()
    for value in found:
        if value not in known:
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            known[value] = text.lstrip(">").strip("\0")
    return [known[value] for value in found]


def _load(path: Path, stream: IO[bytes]) -> Table:
    """Return the table of a .npy stream; object columns may hold nothing but text."""
    numpy_format: Any = np.lib.format  # has no types
    version = numpy_format.read_magic(stream)
    readers = {(1, 0): numpy_format.read_array_header_1_0, (2, 0): numpy_format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the numpy format")
    shape, _, dtype = readers[version](stream)
    if dtype.names is None or len(shape) != 1:
        raise CoordinatesError(path, "is not a table of cryoSPARC", "export it anew from cryoSPARC")
    if UID in dtype.names and (dtype[UID].shape or dtype[UID].kind not in "ui"):
        raise CoordinatesError(path, f"column {UID} does not hold whole numbers", "export it anew from cryoSPARC")
    if dtype.hasobject:
        return table_of(load_columns(stream, dtype))
    if shape[0] * dtype.itemsize > path.stat().st_size:
        raise ValueError("it is shorter than its header says")
    stream.seek(0)
    array: Table = numpy_format.read_array(stream, allow_pickle=False)
    for name in dtype.names:
        if dtype[name].base.kind == "U" and not _is_text(array[name]):
            raise ValueError(f"the column {name} holds no text")
    return array


def _is_text(values: npt.NDArray[Any]) -> bool:
    """Return whether all characters of a text column exist in Unicode."""
    codes = np.ascontiguousarray(values).view(f"{values.dtype.str[0]}u4")
    return bool((codes <= sys.maxunicode).all())


def _of_stream(path: Path) -> Table:
    """Return the rows of the compressed format of cryoSPARC 4.4 and later, read by its own library."""
    try:
        from cryosparc.dataset import Dataset
    except ImportError:
        remedy = "install cryosparc-tools (pip install cryosparc-tools), or save the dataset in the numpy format"
        raise CoordinatesError(path, "is in the compressed format of cryoSPARC", remedy) from None
    try:
        dataset = Dataset.load(str(path))
        return table_of({name: np.asarray(dataset[name]) for name in dataset.fields()})
    except Exception as error:  # the library's own errors are of many kinds
        raise CoordinatesError(path, f"cannot be read ({one_line(error)})", "export it anew") from None


def _fixed(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return Python text as bytes of the width of the longest one; other columns as they are."""
    if values.dtype.kind != "O":
        return values
    encoded = [value if isinstance(value, bytes) else str(value).encode("utf-8") for value in values.tolist()]
    return np.array(encoded, dtype=np.bytes_) if encoded else np.empty(0, dtype="S1")
