# SPDX-License-Identifier: GPL-3.0-or-later
"""Find micrographs whose coordinates come from several files, such as those of two pickers."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Dict, List, Sequence, Set, Tuple

import pandas as pd

from cryoice_scipion.core.errors import counted
from cryoice_scipion.core.formats.picks import Picks
from cryoice_scipion.core.images.naming import folders_of, is_in_job, micrograph_key

_X, _Y, _MICROGRAPH = "rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName"


def shared_lines(parts: Sequence[Tuple[Path, Picks]]) -> List[str]:
    """Return a line about the micrographs whose coordinates come from several files; no line if there are none."""
    numbers: Dict[str, Dict[str, Set[int]]] = defaultdict(lambda: defaultdict(set))  # files, by micrograph and folder
    for number, (_, part) in enumerate(parts):
        for name in map(str, pd.unique(part.table[_MICROGRAPH])) if len(parts) > 1 else ():
            folder = "" if is_in_job(name) else next(iter(folders_of(name)), "")
            numbers[micrograph_key(name)][folder].add(number)
    shared = {key: files for key, by_folder in numbers.items() for files in [_files_of_one(by_folder)] if files}
    if not shared:
        return []
    key, files = next(iter(shared.items()))
    first, second = (str(parts[number][0]) for number in sorted(files)[:2])
    micrographs = counted(len(shared), "micrograph")
    equal = _equal_positions(parts, shared)
    return [
        f"the coordinates of {micrographs} are in several files and are joined, such as {first} and {second} of {key}; "
        f"{equal} of their positions are in more than one file"
    ]


def _files_of_one(by_folder: Dict[str, Set[int]]) -> Set[int]:
    """Return the files that name one micrograph, if there are several. Names in two folders are two micrographs."""
    folders = [folder for folder in by_folder if folder]
    groups = list(by_folder.values())
    files = set().union(*groups) if len(folders) < 2 else max(groups, key=len)
    return files if len(files) > 1 else set()


def _equal_positions(parts: Sequence[Tuple[Path, Picks]], shared: Dict[str, Set[int]]) -> int:
    """Return how many positions on these micrographs are in more than one file."""
    tables = []
    for number in sorted(set().union(*shared.values())):
        table = parts[number][1].table[[_MICROGRAPH, _X, _Y]].copy()
        keys = {name: micrograph_key(str(name)) for name in pd.unique(table[_MICROGRAPH])}
        table[_MICROGRAPH] = table[_MICROGRAPH].map(keys)
        tables.append(table[table[_MICROGRAPH].isin(list(shared))].drop_duplicates())
    joined = pd.concat(tables, ignore_index=True)
    return int(joined[joined.duplicated(keep="first")].drop_duplicates().shape[0])
