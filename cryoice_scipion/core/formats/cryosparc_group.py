# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write cryoSPARC result groups (.csg): YAML that names the .cs files of one output of a job."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import yaml

from cryoice_scipion.core.errors import CoordinatesError, counted, plural
from cryoice_scipion.core.formats.cryosparc_dataset import UID, Table, read_dataset, table_of
from cryoice_scipion.core.images.atomic import replacing

SUFFIXES = (".cs", ".csg")
_VERSION = "v4.0.0"  # the layout that is written when the input does not say its version


class Slot(NamedTuple):
    """One result of a group, such as ``location``: the columns whose names begin with its name."""

    file: Path
    type: str  # "particle.location"
    number: Optional[int]  # of rows, as the group says


class ResultGroup(NamedTuple):
    """The content of a .csg file."""

    slots: Dict[str, Slot]
    version: str  # of cryoSPARC


class GroupTable(NamedTuple):
    """The rows of a .cs file, or of the .cs files of a group joined by uid."""

    table: Table
    types: Mapping[str, str] = {}  # of the slots, as the group says
    version: str = ""  # of cryoSPARC, as the group says
    lost: int = 0  # rows that not all files of the group have
    warnings: List[str] = []


def read_group_table(path: Path) -> GroupTable:
    """Return the rows of a .cs or .csg file.

    Raises
    ------
    CoordinatesError
        When a file cannot be read, or the files of a group have no uid.
    """
    if path.suffix.lower() != ".csg":
        return GroupTable(read_dataset(path))
    group = read_group(path)
    read = {file: _with_uid(path, file) for file in dict.fromkeys(slot.file for slot in group.slots.values())}
    table, lost = _joined(group, read)
    warnings = _wrong_numbers(path, group, read)
    if lost:
        are = plural(lost, "is", "are")
        warnings.append(f"{path}: {counted(lost, 'item')} {are} not in all of its .cs files and {are} left out")
    types = {name: slot.type for name, slot in group.slots.items()}
    return GroupTable(table, types, group.version, lost, warnings)


def read_group(path: Path) -> ResultGroup:
    """Read a .csg file.

    Raises
    ------
    CoordinatesError
        When it cannot be read or names no .cs file.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CoordinatesError(path, f"cannot be read ({error.strerror or error})", "check the path") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise CoordinatesError(path, "is not a cryoSPARC result group", "check the file and its extension") from None
    content = content if isinstance(content, dict) else {}
    results = content.get("results")
    slots: Dict[str, Slot] = {}
    for name, result in results.items() if isinstance(results, dict) else ():
        if isinstance(result, dict) and isinstance(result.get("metafile"), str):
            file, number = path.parent / result["metafile"].lstrip(">"), str(result.get("num_items", ""))
            slots[name] = Slot(file, str(result.get("type", "")), int(number) if number.isdigit() else None)
    if not slots:
        raise CoordinatesError(path, "is not a cryoSPARC result group: it names no .cs file", "give another file")
    return ResultGroup(slots, str(content.get("version", "")))


def write_group(path: Path, kind: str, data: Path, table: Table, source: GroupTable) -> None:
    """Write the .csg file of a .cs file.

    Parameters
    ----------
    path : pathlib.Path
        The .csg file; its stem names the group.
    kind : str
        ``particle`` or ``exposure``.
    data : pathlib.Path
        The .cs file, in the same folder.
    table : numpy.ndarray
        Its rows.
    source : GroupTable
        The input, which may know the types of the slots.
    """
    slots = dict.fromkeys(name.split("/")[0] for name in table.dtype.names or () if "/" in name)
    title = f"{path.stem.replace('_', ' ').capitalize()}"
    content = {
        "created": datetime.datetime.now().replace(microsecond=0),
        "group": {"description": f"{title} by cryoice", "name": path.stem, "title": title, "type": kind},
        "results": {
            slot: {
                "metafile": f">{data.name}",
                "num_items": len(table),
                "type": source.types.get(slot) or f"{kind}.{slot}",
            }
            for slot in slots
        },
        "version": source.version or _VERSION,
    }
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(content), encoding="utf-8")


def _with_uid(group: Path, file: Path) -> Table:
    if not os.path.isfile(file):
        raise CoordinatesError(group, f"names {file.name}, which is not in its folder", "copy that file there")
    table = read_dataset(file)
    if UID not in (table.dtype.names or ()):
        raise CoordinatesError(file, "has no column uid", "export it anew from cryoSPARC")
    return table


def _joined(group: ResultGroup, read: Mapping[Path, Table]) -> Tuple[Table, int]:
    """Return the rows that all files have, in the order of the first one, and how many items not all of them have."""
    files = list(read)
    first = read[files[0]]
    if len(files) == 1:
        return first, 0
    uids = first[UID]
    common = np.ones(len(uids), dtype=bool)
    for file in files[1:]:
        common &= np.isin(uids, read[file][UID])
    columns = {}
    for file, table in read.items():
        order = np.argsort(table[UID], kind="stable")
        rows = order[np.searchsorted(table[UID][order], uids[common])] if common.any() else order[:0]
        for name in table.dtype.names or ():
            slot = group.slots.get(name.split("/")[0])
            owned = slot is not None and slot.file == file
            if name not in columns or (owned and name != UID):
                columns[name] = table[name][np.flatnonzero(common) if file == files[0] else rows]
    elsewhere = np.setdiff1d(np.concatenate([read[file][UID] for file in files[1:]]), uids)  # each uid once
    return table_of(columns), int((~common).sum()) + len(elsewhere)


def _wrong_numbers(path: Path, group: ResultGroup, read: Mapping[Path, Table]) -> List[str]:
    """Return a warning for each file that does not have the number of rows that the group says."""
    said = {(slot.file, slot.number) for slot in group.slots.values() if slot.number is not None}
    return [
        f"{path}: {file.name} has {counted(len(read[file]), 'item')}, and the group says {number}"
        for file, number in sorted(said, key=str)
        if len(read[file]) != number
    ]
