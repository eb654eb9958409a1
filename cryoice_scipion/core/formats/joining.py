# SPDX-License-Identifier: GPL-3.0-or-later
"""Join the coordinates of several files, and report the files and rows that cannot be read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import pandas as pd

from cryoice_scipion.core.errors import CoordinatesError, CryoIceError, NoCoordinatesError, counted
from cryoice_scipion.core.formats.picks import Picks, ReadFile, RowFiles
from cryoice_scipion.core.formats.repeated_files import each_file_once, not_among

__all__ = ["FilesRead", "Picks", "join", "join_optics", "read_each", "read_safely"]

_GROUP = "rlnOpticsGroup"


class FilesRead(NamedTuple):
    """The outcome of reading several files one by one."""

    parts: List[Tuple[Path, Picks]]
    not_read: Dict[str, str]
    other: Dict[str, str]  # path -> error, of files that hold no coordinates

    def and_also(self, more: FilesRead) -> FilesRead:
        """Return these files and more files together."""
        return FilesRead(self.parts + more.parts, {**self.not_read, **more.not_read}, {**self.other, **more.other})

    def refuse_if_nothing(self, source: Path) -> None:
        """Raise an error if files were given and none of them can be read.

        Raises
        ------
        CoordinatesError
            It names the first file and its error.
        """
        errors = [*self.not_read.values(), *self.other.values()]
        if self.parts or not errors:
            return
        if len(errors) == 1:
            raise CoordinatesError(*_split(errors[0]))
        reason = f"none of the {len(errors)} coordinate files can be read; the first error is: {errors[0]}"
        raise CoordinatesError(source, reason)


def _split(error: str) -> Tuple[str, str]:
    what, _, reason = error.partition(": ")
    return what, reason


def read_safely(path: Path, reader: Callable[[Path], Picks]) -> Picks:
    """Read a file.

    Raises
    ------
    CoordinatesError
        Also when the file is damaged in a way that its reader does not foresee.
    """
    try:
        return reader(path)
    except CryoIceError:
        raise
    except Exception as error:
        reason = f"cannot be read ({type(error).__name__}: {error})"
        raise CoordinatesError(path, reason, "check the file") from error


def read_each(files: Iterable[Tuple[Path, Callable[[Path], Picks]]]) -> FilesRead:
    """Read files one by one; an error in one file does not stop the others."""
    found = FilesRead([], {}, {})
    for path, reader in files:
        try:
            found.parts.append((path, read_safely(path, reader)))
        except NoCoordinatesError as error:
            found.other[str(path)] = str(error)
        except CryoIceError as error:
            found.not_read[str(path)] = str(error)
    return found


def join(read: FilesRead, empty: pd.DataFrame) -> Picks:
    """Join the coordinates of several files; a file that several of them contain is used once.

    A file whose optics groups contradict those of the files before it is left out and named.

    Parameters
    ----------
    read : FilesRead
        The files.
    empty : DataFrame
        The table to return if there are no coordinates.
    """
    optics: Optional[pd.DataFrame] = None
    parts, not_read = [], dict(read.not_read)  # type: List[Picks], Dict[str, str]
    given, repeated = each_file_once(read.parts)
    for path, part in given:
        if part.optics is not None and len(part.table) and not part.optics.equals(optics):
            try:
                optics = join_optics([known for known in (optics, part.optics) if known is not None], path)
            except CoordinatesError as error:
                not_read[str(path)] = str(error)
                continue
        parts.append(part)
    if optics is None:
        optics = next((part.optics for part in parts if part.optics is not None), None)
    tables = [part.table for part in parts if len(part.table)] or [part.table for part in parts[:1]]
    left_out: Dict[str, int] = Counter()
    for part in parts:
        left_out.update(part.left_out)
        not_read.update(part.not_read)
    table = pd.concat(tables, ignore_index=True) if tables else empty
    row_files = _row_files(parts)
    not_read = {path: not_read[path] for path in not_among(row_files.real_paths(), not_read)}
    other = [*read.other, *(path for part in parts for path in part.other)]
    warnings = [line for part in parts for line in part.warnings] + _warnings(not_read, parts)
    return Picks(
        table,
        optics,
        dict(left_out),
        warnings + _without_group(table, optics),
        sum(part.files for part in parts),
        not_read,
        not_among(row_files.real_paths(), other),
        list(dict.fromkeys([*(line for part in parts for line in part.notes), *repeated])),
        [source for part in parts for source in part.sources],
        row_files,
    )


def _row_files(parts: Sequence[Picks]) -> RowFiles:
    """Return the file of each row of the joined table."""
    files: List[ReadFile] = []
    numbers = [np.empty(0, dtype=np.int32)]
    for own in (part.row_files for part in parts if part.row_files is not None):
        numbers.append(own.numbers + np.int32(len(files)))
        files += own.files
    return RowFiles(files, np.concatenate(numbers))


def _warnings(not_read: Mapping[str, str], parts: Sequence[Picks]) -> List[str]:
    known = {line for part in parts for line in part.warnings}
    return [line for line in (f"{error}; the file is left out" for error in not_read.values()) if line not in known]


def _without_group(table: pd.DataFrame, optics: Optional[pd.DataFrame]) -> List[str]:
    """Return a line if only some coordinates have an optics group; RELION 3.1 and later read no such file."""
    number = int(table[_GROUP].isna().sum()) if optics is not None and _GROUP in table else 0
    if not number:
        return []
    have = counted(number, "coordinate has", "coordinates have")
    return [
        f"{have} no optics group, and the others have one: RELION does not read them from one file; use "
        "autopick.star, or give the files in runs of their own"
    ]


def join_optics(opticses: Sequence[pd.DataFrame], path: Path) -> Optional[pd.DataFrame]:
    """Join optics blocks; None if there are none.

    Raises
    ------
    CoordinatesError
        When they contradict each other on an optics group.
    """
    optics = pd.concat(opticses, ignore_index=True).drop_duplicates(ignore_index=True) if opticses else None
    if optics is not None and _GROUP in optics and optics[_GROUP].duplicated().any():
        group = optics[_GROUP][optics[_GROUP].duplicated()].iloc[0]
        reason = f"its optics group {group} contradicts that of the files before it"
        raise CoordinatesError(path, reason, "screen this file in a run of its own")
    return optics
