# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write cryoSPARC result groups (.csg): YAML that names the .cs files of one output of a job."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats.cryosparc_dataset import UID, Table, read_dataset, table_of
from cryoice_scipion.core.images.atomic import replacing

SUFFIXES = (".cs", ".csg")
_VERSION = "v4.0.0"  # the layout that is written when the input does not say its version
#: A line of a block mapping: an optional quote, the key, and perhaps a value.
_LINE = re.compile(r"""(['"]?)([^:'"]+)\1:(?:\s+(.*))?$""")


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
        warnings.append(f"{path}: {lost} items are not in all of its .cs files and are left out")
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
        content = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CoordinatesError(path, f"cannot be read ({error.strerror or error})", "check the path") from None
    except UnicodeDecodeError:
        raise CoordinatesError(path, "is not a cryoSPARC result group", "check the file and its extension") from None
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
    lines = [
        f"created: {datetime.datetime.now().replace(microsecond=0)}",
        "group:",
        f"  description: {path.stem.replace('_', ' ').capitalize()} by cryoice",
        f"  name: {path.stem}",
        f"  title: {path.stem.replace('_', ' ').capitalize()}",
        f"  type: {kind}",
        "results:",
    ]
    for slot in slots:
        lines += [f"  {slot}:", f"    metafile: '>{data.name}'", f"    num_items: {len(table)}"]
        lines += [f"    type: {source.types.get(slot) or f'{kind}.{slot}'}"]
    lines.append(f"version: {source.version or _VERSION}\n")
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")


def parse(text: str) -> Dict[str, Any]:
    """Return the block mappings of a YAML text; values are text. Lists and other syntax are skipped.

    This is the part of YAML that cryoSPARC writes: mappings in mappings, plain or quoted values that may go on in the
    next line.
    """
    root: Dict[str, Any] = {}
    levels: List[Tuple[int, Dict[str, Any]]] = [(-1, root)]
    value: List[str] = []  # lines of the value that is being read
    owner: Tuple[int, Dict[str, Any], str] = (-1, root, "")
    for line in [*text.split("\n"), "end:"]:
        content, indent = line.strip(), len(line) - len(line.lstrip(" "))
        if not content or content.startswith("#"):
            continue
        if value and (indent > owner[0] or _is_open(" ".join(value))):
            value.append(content)
            continue
        if value:
            owner[1][owner[2]] = _unquoted(" ".join(value))
            value = []
        found = _LINE.match(content)
        if found is None or content.startswith("- "):
            continue
        while levels[-1][0] >= indent:
            levels.pop()
        inside, key = levels[-1][1], found.group(2).strip()
        owner = (indent, inside, key)
        if found.group(3):
            value = [found.group(3)]
        elif line != "end:":
            inside[key] = {}
            levels.append((indent, inside[key]))
    return root


def _is_open(value: str) -> bool:
    """Return whether a quoted value has no closing quote yet."""
    quotes = {"'": "'", '"': r'(?<!\\)"'}
    return value[0] in quotes and len(re.findall(quotes[value[0]], value)) % 2 == 1


def _unquoted(value: str) -> str:
    if value[0] == value[-1] == "'" and len(value) > 1:
        return value[1:-1].replace("''", "'")
    if value[0] == value[-1] == '"' and len(value) > 1:
        try:
            return str(json.loads(value))
        except ValueError:
            return value[1:-1]
    return value


def _with_uid(group: Path, file: Path) -> Table:
    if not file.is_file():
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
    different = len(np.unique(np.concatenate([table[UID] for table in read.values()])))
    return table_of(columns), different - len(np.unique(uids[common]))


def _wrong_numbers(path: Path, group: ResultGroup, read: Mapping[Path, Table]) -> List[str]:
    """Return a warning for each file that does not have the number of rows that the group says."""
    said = {(slot.file, slot.number) for slot in group.slots.values() if slot.number is not None}
    return [
        f"{path}: {file.name} has {len(read[file])} items, and the group says {number}"
        for file, number in sorted(said, key=str)
        if len(read[file]) != number
    ]
