# SPDX-License-Identifier: GPL-3.0-or-later
"""Number micrographs and coordinate files of a watched run in the order they come; sessions share the numbers."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Tuple

from pydantic import TypeAdapter

from cryoice_scipion.core.results.journal import DamagedLineError, Journal, read_lines

NAME = ".register.jsonl"


@dataclasses.dataclass
class _Line:
    came: List[Tuple[int, str, str]] = dataclasses.field(default_factory=list)  # id, stem and path of micrographs
    name: str = ""  # of a coordinate file
    number: int = 0


def arrived_in(folder: Path) -> Iterator[Tuple[int, str, str]]:
    """Yield id, stem and path of each micrograph that arrived in a watched run, also while it goes on.

    There are none of another run. A damaged line ends them, until the run is continued and repairs the file.
    """
    if (folder / NAME).is_file():
        with contextlib.suppress(DamagedLineError):
            for _, _, line in read_lines(folder / NAME, TypeAdapter(_Line).validate_json):
                yield from line.came


class IdRegistry:
    """Store the ids of micrographs (from 1) and the numbers of coordinate files (from 0) in the run's folder."""

    def __init__(self, folder: Path, known: Mapping[str, int]) -> None:
        """Read the numbers of earlier sessions. The run's folder must be locked.

        Parameters
        ----------
        folder : pathlib.Path
            The run's folder.
        known : mapping
            Micrograph ids by stem, from the run's journal.
        """
        self.ids: Dict[str, int] = {}  # of micrographs, by stem
        self.paths: Dict[str, str] = {}  # of micrographs, by stem
        self.files: Dict[str, int] = {}  # numbers of coordinate files, by file name
        self._journal = Journal(folder / NAME, TypeAdapter(_Line).validate_json)
        #: What was wrong with the file, in one line; empty: nothing.
        lines, self.fault = self._journal.repaired(lambda: list(self._journal.lines()))
        for _, line in lines:
            for number, stem, path in line.came:
                self.ids[stem], self.paths[stem] = number, path
            if line.name:
                self.files[line.name] = line.number
        self.ids.update(known)  # also of sessions that did not watch a folder
        self._next_id = max(self.ids.values(), default=0) + 1

    def add_micrographs(self, paths: Mapping[str, str]) -> None:
        """Give ids to new micrographs and store the paths of all; both by stem."""
        came = []
        for stem, path in paths.items():
            if stem not in self.ids:
                self.ids[stem], self._next_id = self._next_id, self._next_id + 1
            if self.paths.get(stem) != path:
                self.paths[stem] = path
                came.append((self.ids[stem], stem, path))
        if came:
            self._journal.append("micrographs", came=came)

    def number_of(self, name: str) -> int:
        """Return the number of a coordinate file, a new one if it has none."""
        if name not in self.files:
            self.files[name] = max(self.files.values(), default=-1) + 1
            self._journal.append("coordinates", name=name, number=self.files[name])
        return self.files[name]

    def close(self) -> None:
        """Close the file."""
        self._journal.close()
