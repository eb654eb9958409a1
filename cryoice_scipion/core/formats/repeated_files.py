# SPDX-License-Identifier: GPL-3.0-or-later
"""Use the coordinates of each file once, also if several sources of coordinates contain it."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Sequence, Set, Tuple, Union

import numpy as np

from cryoice_scipion.core.errors import counted
from cryoice_scipion.core.formats.pick_tables import MICROGRAPH
from cryoice_scipion.core.formats.picks import Picks, ReadFile, RowFiles
from cryoice_scipion.core.images.trees import distinct_paths

if TYPE_CHECKING:
    from cryoice_scipion.core.formats.coordinates import PickTable


def files_of(path: Path, picks: Union[Picks, PickTable]) -> RowFiles:
    """Return the file of each row of a source that was read from this path."""
    if picks.row_files is not None:
        return picks.row_files
    micrograph = str(picks.table[MICROGRAPH].iloc[0]) if len(picks.table) else ""
    file = ReadFile(str(path), os.path.realpath(path), micrograph, False, picks.left_out, tuple(picks.warnings))
    return RowFiles([file], np.zeros(len(picks.table), dtype=np.int32))


def are_used(readings: Sequence[ReadFile]) -> List[bool]:
    """Return which of several readings of one file are used.

    A listed file is used only through its lists. Each micrograph gets the coordinates of the file once: from the first
    reading. A link with another name stands for another micrograph if the file itself names none.
    """
    is_listed, seen, used = any(one.is_listed for one in readings), set(), []  # type: bool, Set[str], List[bool]
    for one in readings:
        used.append(one.is_listed == is_listed and one.read_for not in seen)
        if used[-1]:
            seen.add(one.read_for)
    return used


def each_file_once(parts: Sequence[Tuple[Path, Picks]]) -> Tuple[List[Tuple[Path, Picks]], List[str]]:
    """Return the coordinates that are used of each source, and a line about the files that several of them have."""
    files = [files_of(path, part) for path, part in parts]
    readings: Dict[str, List[Tuple[int, int]]] = defaultdict(list)  # part and file number, by real path
    for number, own in enumerate(files):
        for position, file in enumerate(own.files):
            readings[file.real_path].append((number, position))
    unused: List[Set[int]] = [set() for _ in parts]
    for found in readings.values() if len(readings) < sum(len(own.files) for own in files) else ():
        used = are_used([files[number].files[position] for number, position in found])
        for (number, position), is_used in zip(found, used):
            unused[number] |= set() if is_used else {position}
    left = [
        (path, part._replace(**without_files(part, own, positions) if positions else {"row_files": own}))
        for (path, part), own, positions in zip(parts, files, unused)
    ]
    return left, repeated_lines(own.files[position] for own, some in zip(files, unused) for position in sorted(some))


def without_files(picks: Union[Picks, PickTable], files: RowFiles, unused: Set[int]) -> Dict[str, Any]:
    """Return the fields of a source that change when some of its files, by their positions, are not used."""
    gone = [files.files[position] for position in unused]
    is_kept = np.array([position not in unused for position in range(len(files.files))])
    rows = is_kept[files.numbers]
    left_out = Counter(picks.left_out)
    kept = [file for position, file in enumerate(files.files) if is_kept[position]]
    warnings = {line for file in gone for line in file.warnings} - {line for file in kept for line in file.warnings}
    for file in gone:
        left_out.subtract(file.left_out)
    paths = {path for file in gone for path in (file.real_path, file.read_for)}
    return {
        "table": picks.table[rows].reset_index(drop=True),
        "left_out": {reason: number for reason, number in left_out.items() if number},
        "warnings": [line for line in picks.warnings if line not in warnings],
        "files": picks.files - len(gone),
        "sources": [source for source in picks.sources if os.path.realpath(source) not in paths],
        "row_files": RowFiles(kept, (np.cumsum(is_kept, dtype=np.int32) - np.int32(1))[files.numbers[rows]]),
    }


def not_among(used: Set[str], paths: Iterable[str]) -> List[str]:
    """Return the paths of files that were not read, each file once; without those with one of these real paths."""
    return [path for path in distinct_paths(paths) if os.path.realpath(path) not in used]


def repeated_lines(unused: Iterable[ReadFile]) -> List[str]:
    """Return a line about files that were read more than once; no line if there are none."""
    names = {file.real_path: file.name for file in unused}
    if not names:
        return []
    are = counted(len(names), "coordinate file is", "coordinate files are")
    example = (": " if len(names) == 1 else ", such as ") + next(iter(names.values()))
    return [f"{are} given more than once and used once{example}"]
