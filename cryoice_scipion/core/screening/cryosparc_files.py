# SPDX-License-Identifier: GPL-3.0-or-later
"""Write back to cryoSPARC: the rows of the input .cs files, split into accepted and rejected, with all their columns.

Each row of the input is in exactly one file. Accepted rows were examined and kept. Rows that were never examined, such
as particles without a position or without a micrograph, are rejected: cryoSPARC would otherwise go on with particles
that were never checked. Rows that can still be examined, because their micrograph has no map yet, are pending.
"""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np
import numpy.typing as npt

from cryoice_scipion.constants import ACCEPTED
from cryoice_scipion.core.formats.coordinates import PickSource, PickTable
from cryoice_scipion.core.formats.cryosparc_cs import UID_COLUMN
from cryoice_scipion.core.formats.cryosparc_dataset import UID, append, write_dataset
from cryoice_scipion.core.formats.cryosparc_exposures import micrographs_of
from cryoice_scipion.core.formats.cryosparc_group import GroupTable, read_group_table, write_group
from cryoice_scipion.core.images.naming import NameIndex, contradicting_names, resolve_beside
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.run_folder import EXPOSURES, PARTICLES, writing
from cryoice_scipion.core.screening.stars import Verdicts

_STATES = (ACCEPTED, "pending", "rejected")  # of several rows with one uid, the last state counts
_ACCEPTED, _PENDING, _REJECTED = range(len(_STATES))
_Codes = npt.NDArray[np.int8]


class ParticleFiles:
    """Write particles_accepted.cs and particles_rejected.cs, and their .csg files."""

    def __init__(self, folder: Path, sources: Sequence[Path]) -> None:
        """Take the folder of the run and the .cs and .csg files that the coordinates are from."""
        self._folder, self._sources = folder, sources

    @classmethod
    def of(cls, folder: Path, picks: Optional[PickSource]) -> Optional[ParticleFiles]:
        """Return the writer for these coordinates; None unless they were read at once from files of cryoSPARC."""
        sources = picks.sources if isinstance(picks, PickTable) else ()
        return cls(folder, sources) if sources else None

    def write(self, verdicts: Verdicts) -> None:
        """Write the files.

        Raises
        ------
        CoordinatesError
            When a file of the input cannot be read any more.
        FolderError
            When the folder cannot be written.
        """
        known = verdicts.table[UID_COLUMN].notna().to_numpy()  # other rows are from files of other formats
        uids = np.array(list(map(int, verdicts.table[UID_COLUMN][known])), dtype=np.uint64)
        codes = np.where(verdicts.kept, _ACCEPTED, np.where(verdicts.pending, _PENDING, _REJECTED))[known].astype(
            np.int8
        )
        source = _joined(self._sources)
        _write(self._folder / PARTICLES, "particle", source, _codes_of(source.table[UID], uids, codes))


class ExposureFiles:
    """Write exposures_accepted.cs and exposures_rejected.cs, and their .csg files."""

    STORED = {"_status": Dict[str, str]}  # attributes for a checkpoint

    def __init__(self, folder: Path, sources: Sequence[Path]) -> None:
        """Take the folder of the run and the .cs and .csg files that list its micrographs."""
        self._folder, self._sources = folder, sources
        self._status: Dict[str, str] = {}  # by path

    @classmethod
    def of(cls, folder: Path, sources: Sequence[Path]) -> Optional[ExposureFiles]:
        """Return the writer for micrographs that files of cryoSPARC list; None if there are no such files."""
        return cls(folder, sources) if sources else None

    def add(self, record: MicrographRecord) -> None:
        """Store the status of a micrograph; a later record replaces an earlier one."""
        self._status[record.path] = record.status

    def write(self) -> None:
        """Write the files. Failed micrographs are rejected, because they were not examined.

        Raises
        ------
        CryoIceError
            When a file of the input cannot be read any more.
        FolderError
            When the folder cannot be written.
        """
        listed: List[str] = []
        for source in self._sources:
            names = micrographs_of(source, read_group_table(source).table)
            listed += [resolve_beside(name, source) for name in names]
        screened = self._screened(listed)
        codes = [_code(self._status[screened[path]] if path in screened else None) for path in listed]
        _write(self._folder / EXPOSURES, "exposure", _joined(self._sources), np.array(codes, dtype=np.int8))

    def _screened(self, listed: Sequence[str]) -> Dict[str, str]:
        """Return the screened micrograph of each path; others are not screened yet.

        They are found by name, because a resumed run may have been started in another folder.
        """
        index = NameIndex(self._status)
        found = {path: one for path, one in ((path, index.find(path)) for path in dict.fromkeys(listed)) if one}
        paths: Dict[str, List[str]] = defaultdict(list)
        for path, one in found.items():
            paths[one].append(path)
        for one, names in paths.items():
            for path in itertools.chain(*contradicting_names(names, one)):  # another one of the same name
                del found[path]
        return found


def _code(status: Optional[str]) -> int:
    if status is None:
        return _PENDING
    return _ACCEPTED if status == ACCEPTED else _REJECTED


def _joined(sources: Sequence[Path]) -> GroupTable:
    """Return the rows of all files, one after the other, with the columns that all of them have."""
    read = [read_group_table(source) for source in sources]
    table = append([one.table for one in read])
    given = {name for one in read for name in one.table.dtype.names or ()}
    left_out = sorted(given.difference(table.dtype.names or ()))
    if left_out:
        logging.getLogger(__name__).warning(
            "%s and the other .cs files have different columns; left out: %s", sources[0], ", ".join(left_out)
        )
    types = {name: kind for one in read for name, kind in one.types.items()}
    return read[0]._replace(table=table, types=types)


def _codes_of(wanted: npt.NDArray[np.uint64], uids: npt.NDArray[np.uint64], codes: _Codes) -> _Codes:
    """Return the state of each wanted uid; a uid that was never read is rejected."""
    order = np.argsort(uids, kind="stable")
    known, starts = np.unique(uids[order], return_index=True)
    found = np.full(len(wanted), _REJECTED, dtype=np.int8)
    if len(known):
        worst = np.maximum.reduceat(codes[order], starts)
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        there = known[at] == wanted
        found[there] = worst[at[there]]
    return found


def _write(base: Path, kind: str, source: GroupTable, codes: _Codes) -> None:
    """Write a .cs and a .csg file for each state; the pending ones only if there are pending rows."""
    for code, state in enumerate(_STATES):
        path = base.with_name(f"{base.name}_{state}.cs")
        group = path.with_suffix(".csg")
        rows = source.table[codes == code]
        with writing(base.parent):
            if code == _PENDING and not len(rows):
                for stale in (path, group):
                    if stale.exists():
                        stale.unlink()
                continue
            write_dataset(path, rows)
            write_group(group, kind, path, rows, source)
