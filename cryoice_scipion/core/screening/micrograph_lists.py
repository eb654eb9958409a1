# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the lists ``micrographs/STATUS.star`` and ``micrographs/GRADE.star`` of a run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Dict, Optional, Sequence, Tuple

from cryoice_scipion.constants import ACCEPTED, ALL_GRADES, DISCARDED, FAILED
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.run_folder import MICROGRAPH_LISTS, writing


class MicrographLists:
    """Collects status and grade of each micrograph, and writes one list for each status and each grade."""

    STORED = {"_found": Dict[int, Tuple[Tuple[str, str], str, Optional[float]]]}  # attributes for a checkpoint

    def __init__(self, folder: Path, inputs: Sequence[Path]) -> None:
        """Take the folder of the run, and the .star files that name its micrographs, if any.

        The columns of the input are kept if it is a single .star file.
        """
        self._folder, self._inputs = folder, inputs
        #: Status and grade, path, pixel size; by id.
        self._found: Dict[int, Tuple[Tuple[str, str], str, Optional[float]]] = {}
        self._stale = True

    def add(self, record: MicrographRecord) -> None:
        """Store the record of a micrograph; a later one replaces an earlier one."""
        entry = (record.status, record.grade), record.path, record.pixel_size
        self._stale = self._stale or self._found.get(record.id) != entry
        self._found[record.id] = entry

    def write(self) -> None:
        """Write the lists, if a micrograph was added or changed since the last call; grades only if there are any."""
        if not self._stale:
            return
        from cryoice_scipion.core.formats.micrograph_lists import InputList, write_micrographs  # loads pandas

        given: Optional[InputList] = None
        with contextlib.suppress(CryoIceError):  # the list may have been removed since the start
            given = InputList(self._inputs[0]) if len(self._inputs) == 1 else None
        graded = any(grade for (_, grade), _, _ in self._found.values())
        with writing(self._folder):
            for name in (ACCEPTED, DISCARDED, FAILED, *(ALL_GRADES if graded else ())):
                part = {path: size for _, (names, path, size) in sorted(self._found.items()) if name in names}
                write_micrographs(self._folder / MICROGRAPH_LISTS / f"{name}.star", part, given)
        self._stale = False
