# SPDX-License-Identifier: GPL-3.0-or-later
"""Use the coordinates of each file once while the files and the lists that name them still come and change."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import Dict, List, Optional, Set, Tuple

from cryoice_scipion.core.formats.coordinates import PickTable
from cryoice_scipion.core.formats.picks import RowFiles
from cryoice_scipion.core.formats.repeated_files import are_used, files_of, repeated_lines, without_files


class DistinctFiles:
    """Know which coordinates of each source are used. A source is a file of coordinates or a list of such files.

    Of several sources with the same file, that with the lowest number counts; see :func:`are_used`. Each update costs
    time in proportion to the files of the sources that change.
    """

    def __init__(self) -> None:
        """Start without sources."""
        self._given: Dict[int, Tuple[PickTable, RowFiles]] = {}  # sources as they were last read, by number
        self._readings: Dict[str, Set[Tuple[int, int]]] = defaultdict(set)  # number and position, by real path
        self._unused: Dict[int, Set[int]] = {}  # positions of files in their source, by its number

    def given(self, number: int) -> PickTable:
        """Return all coordinates of a source as it was last read."""
        return self._given[number][0]

    def replace(self, number: int, picks: Optional[PickTable]) -> Dict[int, PickTable]:
        """Take a source as it was last read; return what is used now of it, and of the sources for which this changes.

        Parameters
        ----------
        picks : PickTable or None
            Its coordinates; None: it is gone.
        """
        paths: Set[str] = set()
        if number in self._given:
            for position, file in enumerate(self._given.pop(number)[1].files):
                self._readings[file.real_path].discard((number, position))
                paths.add(file.real_path)
        if picks is not None:
            files = files_of(Path(picks.source), picks)
            self._given[number] = picks, files
            for position, file in enumerate(files.files):
                self._readings[file.real_path].add((number, position))
                paths.add(file.real_path)
        self._unused[number] = set()
        changed = self._decide(paths) | ({number} if picks is not None else set())
        return {key: self._used_of(key) for key in sorted(changed)}

    def real_paths(self) -> Set[str]:
        """Return the real paths of all files that were read."""
        return {path for path, readings in self._readings.items() if readings}

    def lines(self) -> List[str]:
        """Return a line about the files that several sources have; no line if there are none."""
        return repeated_lines(
            self._given[number][1].files[position]
            for number, positions in sorted(self._unused.items())
            for position in sorted(positions)
        )

    def _decide(self, paths: Set[str]) -> Set[int]:
        """Decide which readings of these files are used; return the numbers of the sources for which this changes."""
        changed: Set[int] = set()
        for path in paths:
            readings = sorted(self._readings[path])
            for (number, position), is_used in zip(
                readings, are_used([self._given[number][1].files[position] for number, position in readings])
            ):
                if is_used == (position in self._unused[number]):
                    changed.add(number)
                    self._unused[number] ^= {position}
        return changed

    def _used_of(self, number: int) -> PickTable:
        picks, files = self._given[number]
        if not self._unused[number]:
            return picks
        return dataclasses.replace(picks, **without_files(picks, files, self._unused[number]))
