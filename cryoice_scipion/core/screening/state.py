# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the state of a run: its journal, and a small index of the journal in memory."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from pathlib import Path
from typing import Dict, Iterator, Mapping, Optional, Sequence, Set, Tuple

from cryoice_scipion.constants import FAILED, FILE_CHANGED
from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.errors import CryoIceError, SettingsError
from cryoice_scipion.core.records import (
    FileIdentity,
    MapResult,
    MicrographRecord,
    MicrographTask,
    Pick,
    Reference,
    to_json,
)
from cryoice_scipion.core.results.journal import ANEW, DamagedLineError, Journal
from cryoice_scipion.core.results.journal_lines import (
    Head,
    Mapped,
    Referenced,
    RunLine,
    Screened,
    Thinned,
    Touched,
    parse,
)
from cryoice_scipion.core.results.run_folder import JOURNAL, RunFolder
from cryoice_scipion.core.screening import checkpoint
from cryoice_scipion.core.screening.map_results import StoredMapResults
from cryoice_scipion.core.screening.run_head import FREE, compare, head_of, read_head

LATE_FAILED = "late_picks_failed"  # flag of a screened micrograph with later coordinates that could not be scored


def digest_of(picks: Sequence[Pick]) -> str:
    """Return a digest of the coordinates of a micrograph, to detect changes."""
    text = ";".join(
        f"{pick.id},{pick.x!r},{pick.y!r},{pick.diameter!r},{pick.box_size!r},{pick.pixel_size!r}" for pick in picks
    )
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class RunState:
    """The journal of a run and an index of it. Records stay on disk; only their byte offsets are in memory."""

    _INDEX = {
        **dict.fromkeys(("digests", "_stems"), Dict[int, str]),
        **dict.fromkeys(("failed", "incomplete", "changed"), Set[int]),
        "ids": Dict[str, int],
        "inputs": Dict[int, FileIdentity],
        "pictured": Dict[int, float],
        "_offsets": Dict[int, int],
    }
    _STORED = {"state": {**_INDEX, "mapped": Dict[int, int], "reference": Optional[Reference]}}

    def __init__(self, folder: Path, config: ScreenConfig, model: ModelConfig, fingerprint: str, resume: bool) -> None:
        """Open the journal, or create it.

        Raises
        ------
        SettingsError
            When a journal with results exists and ``resume`` is not set, or it has other settings or another model.
        """
        self.reference: Optional[Reference] = None
        self.digests: Dict[int, str] = {}  # of the scored coordinates; empty: to be screened again
        self.failed: Set[int] = set()
        self.incomplete: Set[int] = set()  # screened, but later coordinates failed
        self.changed: Set[int] = set()  # screened again, or to be, because their file had changed
        self.inputs: Dict[int, FileIdentity] = {}  # of the files that were mapped
        self.ids: Dict[str, int] = {}  # by stem
        self.pictured: Dict[int, float] = {}  # bad area of the micrographs that have a thumbnail
        self._stems: Dict[int, str] = {}
        self._offsets: Dict[int, int] = {}
        self._folder, self._journal = folder, Journal(folder / JOURNAL, parse, secrets.token_hex(4))
        self.mapped = StoredMapResults(self._lines_at)
        self._settings = repr(sorted({**config.model_dump(), **dict.fromkeys(FREE)}.items())) + fingerprint
        #: The one that the index was made from; None: outputs read all records.
        self.checkpoint: Optional[checkpoint.Checkpoint] = None
        self._replaced: Dict[int, Optional[int]] = {}  # offsets of the records that newer ones than these replace
        try:
            self.fault = ""  # what was wrong with the journal, in one line; empty: nothing
            head = self.read()
            if head is not None:
                head = self._continued(head, config, fingerprint, resume)
            if head is None:
                self._journal.append("head", **head_of(config, model, fingerprint))
        except BaseException:
            self._journal.close()
            raise

    def _continued(self, head: Head, config: ScreenConfig, fingerprint: str, resume: bool) -> Optional[Head]:
        """Return the head of the run to continue; None if it is begun anew, because all its micrographs failed."""
        try:
            if not resume:
                remedy = "continue it with --resume, or choose another folder"
                raise SettingsError(self._folder, "holds a run already", remedy)
            compare(self._folder, head, config, fingerprint)
            return head
        except SettingsError:
            if self.mapped.offsets or self.digests.keys() - self.failed:
                raise
            os.truncate(self._journal.path, 0)
            return self.read()

    def name(self, task: MicrographTask) -> None:
        """Check that no other micrograph has the same id or stem.

        Raises
        ------
        SettingsError
            When another micrograph has the same id or stem.
        """
        id_differs = self.ids.setdefault(task.stem, task.id) != task.id
        if id_differs or self._stems.setdefault(task.id, task.stem) != task.stem:
            raise SettingsError(
                task.path,
                f"another micrograph of this run has the name '{task.stem}' or the id {task.id}",
                "rename one of them, or screen them into another folder",
            )

    def set_reference(self, reference: Reference) -> None:
        """Freeze the reference."""
        self._journal.append("reference", reference=to_json(reference))
        self.reference = reference

    def add_map(self, task: MicrographTask, result: MapResult, waiting: bool = True) -> None:
        """Record that a micrograph is mapped; see ``Journal.append``."""
        line = {"id": task.id, "stem": task.stem, "path": task.path, "result": to_json(result)}
        self._index_map(task.id, task.stem, result, self._journal.append("mapped", waiting, **line))

    def forget_map(self, key: int) -> bool:
        """Let a micrograph be mapped again, whose file has changed; return whether its results are thereby outdated."""
        self.mapped.offsets.pop(key, None)
        self.inputs.pop(key, None)
        return self._outdate(key)

    def is_outdated(self, key: int) -> bool:
        """Return whether the file of a screened micrograph has changed since."""
        return self.digests.get(key) == ""

    def _outdate(self, key: int) -> bool:
        if key not in self.digests or key in self.failed:
            return False
        self.digests[key] = ""
        self.changed.add(key)
        return True

    def note_input(self, key: int, identity: FileIdentity) -> None:
        """Record that a file has another modification time, but the same content, so that it is not read again."""
        self._journal.append("touched", waiting=False, id=key, input=to_json(identity))
        self.inputs[key] = identity

    def add_record(self, record: MicrographRecord, digest: str) -> Optional[MicrographRecord]:
        """Write a record to the journal and return the record that it replaces."""
        earlier = self.record(record.id)
        if record.id in self.changed and FILE_CHANGED not in record.flags:
            record.flags = [*record.flags, FILE_CHANGED]
        record.screened_at = (earlier.screened_at if earlier else 0.0) or round(time.time(), 1)
        offset = self._journal.append("screened", record=to_json(record), picks=digest)
        self._index(record, digest, offset)
        return earlier

    def drop_thumbnails(self, keys: Sequence[int]) -> None:
        """Write to the journal that the thumbnails of micrographs are removed."""
        self._journal.append("thinned", ids=list(keys))
        for key in keys:
            self.pictured.pop(key, None)

    def stem(self, key: int) -> str:
        """Return the name of a micrograph."""
        return self._stems[key]

    def record(self, key: int) -> Optional[MicrographRecord]:
        """Return the latest record of a micrograph."""
        offset = self._offsets.get(key)
        return None if offset is None else next(self._records([offset]))

    def valid_record(self, key: int) -> Optional[MicrographRecord]:
        """Return the latest record of a micrograph; None if it failed, or if its file has changed since."""
        return self.record(key) if self.digests.get(key) and key not in self.failed else None

    def records(self) -> Iterator[MicrographRecord]:
        """Yield the latest record of each micrograph, sorted by id."""
        return self._records([self._offsets[key] for key in sorted(self._offsets)])

    def unstored(self) -> Iterator[Tuple[Optional[MicrographRecord], MicrographRecord]]:
        """Yield each record that is newer than the checkpoint, with the record of it that the checkpoint has."""
        for key, offset in self._replaced.items():
            earlier = None if offset is None else next(self._records([offset]))
            yield earlier, next(self._records([self._offsets[key]]))

    def store(self, outputs: checkpoint.Stored, types: Mapping[str, checkpoint.Types]) -> None:
        """Write a checkpoint of this index and of what is made from the journal so far."""
        index = checkpoint.attributes(self, self._INDEX)
        own = {**index, "mapped": self.mapped.offsets, "reference": self.reference}
        everything = {**outputs, "state": own}
        checkpoint.save(self._folder, self._journal.end, self._settings, everything, {**types, **self._STORED})

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _lines_at(self, offsets: Sequence[int]) -> Iterator[RunLine]:
        try:
            yield from self._journal.read(offsets)
        except DamagedLineError:
            checkpoint.delete(self._folder)  # so that the whole journal is read, and repaired
            raise

    def _records(self, offsets: Sequence[int]) -> Iterator[MicrographRecord]:
        for line in self._lines_at(offsets):
            assert isinstance(line, Screened)
            record = line.record
            if record.id not in self.pictured:
                record.thumbnail = ""
            yield record

    def read(self) -> Optional[Head]:
        """Rebuild the index from checkpoint and journal, and return the journal's head; None if it is empty.

        Damaged lines are removed from the journal.

        Raises
        ------
        CryoIceError
            When the line with the settings or that with the session reference is lost.
        """
        head, self.fault = self._journal.repaired(self._read)
        if self.reference is None and self._offsets.keys() - self.failed:
            raise CryoIceError(self._journal.path, "the line with the session reference is missing", ANEW)
        if self.fault:  # a line about removed thumbnails may be among the lost ones
            files = RunFolder(self._folder)
            there = [key for key in self.pictured if (self._folder / files.thumbnail(self._stems[key])).is_file()]
            self.pictured = {key: self.pictured[key] for key in there}
        return head

    def _read(self) -> Optional[Head]:
        for index in (*checkpoint.attributes(self, self._INDEX).values(), self.mapped.offsets, self._replaced):
            index.clear()
        self.reference = None
        self._journal.mend()
        head = read_head(self._journal)
        for offset, line in self._journal.lines(self._restore()):
            if isinstance(line, Mapped):
                self._index_map(line.id, line.stem, line.result, offset)
            elif isinstance(line, Touched):
                self.inputs[line.id] = line.input
            elif isinstance(line, Referenced):
                self.reference = line.reference
            elif isinstance(line, Screened):
                self._replaced.setdefault(line.record.id, self._offsets.get(line.record.id))
                self._index(line.record, line.picks, offset)
            elif isinstance(line, Thinned):
                for key in line.ids:
                    self.pictured.pop(key, None)
        return head

    def _restore(self) -> int:
        """Take the checkpoint, and return the byte of the journal at which it ends; 0 without a checkpoint."""
        self.checkpoint = checkpoint.load(self._folder, self._settings)
        stored = self.checkpoint.read(self._STORED) if self.checkpoint else None
        if self.checkpoint is None or stored is None:
            self.checkpoint = None
            return 0
        index = stored["state"]
        self.mapped.offsets, self.reference = index["mapped"], index["reference"]
        checkpoint.set_attributes(self, self._INDEX, index)
        return self.checkpoint.end

    def _index_map(self, key: int, stem: str, result: MapResult, offset: int) -> None:
        self.mapped.offsets[key] = offset
        self.ids[stem], self._stems[key] = key, stem
        known = self.inputs.pop(key, None)
        if result.input is not None:
            self.inputs[key] = result.input
            if known is not None and not result.input.has_content_of(known):
                self._outdate(key)  # the run may have been killed before the record was written

    def _index(self, screened: MicrographRecord, digest: str, offset: int) -> None:
        key, stem = screened.id, screened.stem
        self._offsets[key], self.digests[key] = offset, digest
        self.ids[stem], self._stems[key] = key, stem
        self.pictured.pop(key, None)
        if screened.thumbnail:
            self.pictured[key] = screened.bad_area or 0.0
        for members, is_one in (
            (self.failed, screened.status == FAILED),
            (self.incomplete, LATE_FAILED in screened.flags),
            (self.changed, FILE_CHANGED in screened.flags),
        ):
            (members.add if is_one else members.discard)(key)
