# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack the maps, masks and pictures of each thousand screened micrographs into one archive."""

from __future__ import annotations

from pathlib import Path
from typing import Container, Dict, List

from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images.archives import archived_copy, write_archive
from cryoice_scipion.core.results.run_folder import RunFolder, writing
from cryoice_scipion.core.screening.state import RunState

MICROGRAPHS_EACH = 1000  # in an archive


class Archiver:
    """Packs files of screened micrographs, and then removes the single files.

    A kill leaves the single files, the archive, or both; the next packing removes single files that are archived. Files
    of micrographs that wait to be screened again are left alone: an executor may be writing them.
    """

    def __init__(self, files: RunFolder, state: RunState, waiting: Container[int], enabled: bool) -> None:
        """Pack the files of earlier sessions.

        Parameters
        ----------
        waiting : container of int
            Ids of the micrographs that wait to be screened.
        enabled : bool
            Whether anything is packed.
        """
        self._files, self._state, self._waiting, self._enabled = files, state, waiting, enabled
        self._screened = MICROGRAPHS_EACH  # since the last packing, and those that were left then
        self.pack_if_due()

    def note(self) -> None:
        """Count a micrograph that was screened, and pack when there are enough."""
        self._screened += 1
        self.pack_if_due()

    def pack_if_due(self) -> None:
        """Write an archive for each thousand micrographs with single files.

        Raises
        ------
        FolderError
            When the folder cannot be written.
        """
        if not self._enabled or self._screened < MICROGRAPHS_EACH:
            return
        with writing(self._files.path):
            single = self._single_files()
            stems = sorted(single)
            while len(stems) >= MICROGRAPHS_EACH:
                self._pack([name for stem in stems[:MICROGRAPHS_EACH] for name in single[stem]])
                del stems[:MICROGRAPHS_EACH]
        self._screened = len(stems)

    def _pack(self, names: List[str]) -> None:
        write_archive(self._files.path, names)
        for name in names:
            (self._files.path / name).unlink()

    def _single_files(self) -> Dict[str, List[str]]:
        """Return the single files of each screened micrograph that has any; those that are archived are removed."""
        run, found = self._files.path, {}  # type: Path, Dict[str, List[str]]
        folders = {Path(name).parent for name in self._files.archivable("")}
        there = {str(folder / path.name) for folder in folders for path in (run / folder).glob("*")}
        for stem in (self._state.stem(key) for key in self._state.digests if key not in self._waiting):
            for name in self._files.archivable(stem):
                if name in there and _is_archived(run / name):
                    (run / name).unlink()
                elif name in there:
                    found.setdefault(stem, []).append(name)
        return found


def _is_archived(path: Path) -> bool:
    """Return whether an archive has a sound copy of a single file."""
    try:
        return archived_copy(path) == path.read_bytes()
    except ImageError:  # the archive is damaged
        return False
