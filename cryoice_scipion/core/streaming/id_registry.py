# SPDX-License-Identifier: GPL-3.0-or-later
"""What came into a watched run, and under which number: remembered on the disk, so that numbers outlive sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Mapping

from cryoice_scipion.core.results.journal import Journal

NAME = ".register.jsonl"


class IdRegistry:
    """Numbers of micrographs (from 1) and of coordinate files (from 0), in the order in which they came."""

    def __init__(self, folder: Path, known: Mapping[str, int]) -> None:
        """Read what came before; only while the run's folder is locked.

        Parameters
        ----------
        folder : pathlib.Path
            Of the run.
        known : mapping
            Ids of the run's micrographs by stem, as its journal has them.
        """
        self.ids: Dict[str, int] = {}  # of micrographs, by stem
        self.paths: Dict[str, str] = {}  # of micrographs, by stem
        self.files: Dict[str, int] = {}  # numbers of coordinate files, by name
        self._journal = Journal(folder / NAME)
        for _, line in self._journal.lines():
            if line["kind"] == "micrographs":
                for number, stem, path in line["came"]:
                    self.ids[stem], self.paths[stem] = number, path
            elif line["kind"] == "coordinates":
                self.files[line["name"]] = line["number"]
        self.ids.update(known)  # also those of a run that was not watched
        self._free = max(self.ids.values(), default=0) + 1

    def add_micrographs(self, paths: Mapping[str, str]) -> None:
        """Give ids to micrographs that are new, and note paths; both by stem."""
        came = []
        for stem, path in paths.items():
            if stem not in self.ids:
                self.ids[stem], self._free = self._free, self._free + 1
            if self.paths.get(stem) != path:
                self.paths[stem] = path
                came.append((self.ids[stem], stem, path))
        if came:
            self._journal.append("micrographs", came=came)

    def number_of(self, name: str) -> int:
        """Return the number of a coordinate file."""
        if name not in self.files:
            self.files[name] = len(self.files)
            self._journal.append("coordinates", name=name, number=self.files[name])
        return self.files[name]

    def close(self) -> None:
        """Close the file."""
        self._journal.close()
