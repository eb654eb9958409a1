# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the state of a run: its journal, and a small index of the journal in memory."""

from __future__ import annotations

import datetime
import hashlib
import time
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Set, Tuple

from cryoice_scipion.constants import FAILED, VERSION
from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.detectors import model_folder
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.records import (
    RECORDS_VERSION,
    MapResult,
    MicrographRecord,
    MicrographTask,
    Pick,
    Reference,
    from_json,
    to_json,
)
from cryoice_scipion.core.results.journal import Journal, Line
from cryoice_scipion.core.results.run_folder import JOURNAL
from cryoice_scipion.core.screening import checkpoint

_FREE = ("max_thumbnails", "box_files")  # settings that do not affect results and may change on resume
LATE_FAILED = "late_picks_failed"  # flag of a screened micrograph with later coordinates that could not be scored
_ANEW = "use the same settings, or start a new run in another folder"


def digest_of(picks: Sequence[Pick]) -> str:
    """Return a digest of the coordinates of a micrograph, to detect changes."""
    text = ";".join(
        f"{pick.id},{pick.x!r},{pick.y!r},{pick.diameter!r},{pick.box_size!r},{pick.pixel_size!r}" for pick in picks
    )
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class StoredMapResults(Mapping[int, MapResult]):
    """The map results of a journal, by id. They stay on disk; only their byte offsets are in memory."""

    def __init__(self, journal: Journal) -> None:
        """Begin without any."""
        self.offsets: Dict[int, int] = {}
        self._journal = journal

    def __getitem__(self, key: int) -> MapResult:
        """Return the latest map result of a micrograph."""
        return from_json(MapResult, next(self._journal.read([self.offsets[key]]))["result"])

    def __contains__(self, key: object) -> bool:
        """Return whether a micrograph is mapped."""
        return key in self.offsets

    def __iter__(self) -> Iterator[int]:
        """Iterate over the ids, in the order in which the micrographs were first mapped."""
        return iter(self.offsets)

    def __len__(self) -> int:
        """Return the number of mapped micrographs."""
        return len(self.offsets)


class RunState:
    """The journal of a run and an index of it. Records stay on disk; only their byte offsets are in memory."""

    _INDEX = ("digests", "failed", "incomplete", "ids", "pictured", "_stems", "_offsets")

    def __init__(self, folder: Path, config: ScreenConfig, model: ModelConfig, fingerprint: str, resume: bool) -> None:
        """Open the journal, or create it.

        Raises
        ------
        SettingsError
            When a journal exists and ``resume`` is not set, or when it has other settings or another model.
        """
        self.reference: Optional[Reference] = None
        self.digests: Dict[int, str] = {}  # of the scored coordinates
        self.failed: Set[int] = set()
        self.incomplete: Set[int] = set()  # screened, but later coordinates failed
        self.ids: Dict[str, int] = {}  # by stem
        self.pictured: Dict[int, float] = {}  # bad area of the micrographs that have a thumbnail
        self._stems: Dict[int, str] = {}
        self._offsets: Dict[int, int] = {}
        self._folder, self._journal = folder, Journal(folder / JOURNAL)
        self.mapped = StoredMapResults(self._journal)
        self._settings = repr(sorted({**config.model_dump(), **dict.fromkeys(_FREE)}.items())) + fingerprint
        #: What outputs had stored in the checkpoint; None: there was none, so they read all records.
        self.stored: Optional[checkpoint.Stored] = None
        self._replaced: Dict[int, Optional[int]] = {}  # offsets of the records that newer ones than these replace
        try:
            head = self.read()
            if head is None:
                self._begin(config, model, fingerprint)
            elif not resume:
                raise SettingsError(
                    folder, "holds a run already", "continue it with --resume, or choose another folder"
                )
            else:
                _compare(folder, head, config, fingerprint)
        except BaseException:
            self._journal.close()
            raise

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
        self.mapped.offsets[task.id] = self._journal.append("mapped", waiting, **line)

    def add_record(self, record: MicrographRecord, digest: str) -> Optional[MicrographRecord]:
        """Write a record to the journal and return the record that it replaces."""
        earlier = self.record(record.id)
        record.screened_at = (earlier.screened_at if earlier else 0.0) or round(time.time(), 1)
        values = to_json(record)
        self._index(values, digest, self._journal.append("screened", record=values, picks=digest))
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

    def records(self) -> Iterator[MicrographRecord]:
        """Yield the latest record of each micrograph, sorted by id."""
        return self._records([self._offsets[key] for key in sorted(self._offsets)])

    def unstored(self) -> Iterator[Tuple[Optional[MicrographRecord], MicrographRecord]]:
        """Yield each record that is newer than the checkpoint, with the record of it that the checkpoint has."""
        for key, offset in self._replaced.items():
            earlier = None if offset is None else next(self._records([offset]))
            yield earlier, next(self._records([self._offsets[key]]))

    def store(self, outputs: checkpoint.Stored) -> None:
        """Write a checkpoint of this index and of what is made from the journal so far."""
        index = checkpoint.attributes(self, self._INDEX)
        reference = to_json(self.reference) if self.reference else None
        own = {**index, "mapped": self.mapped.offsets, "reference": reference}
        checkpoint.save(self._folder, self._journal.end, self._settings, {**outputs, "state": own})

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _records(self, offsets: Sequence[int]) -> Iterator[MicrographRecord]:
        for line in self._journal.read(offsets):
            record = from_json(MicrographRecord, line["record"])
            if record.id not in self.pictured:
                record.thumbnail = ""
            yield record

    def _begin(self, config: ScreenConfig, model: ModelConfig, fingerprint: str) -> None:
        created = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self._journal.append(
            "head",
            records_version=RECORDS_VERSION,
            version=VERSION,
            config=config.model_dump(),
            model=fingerprint,
            model_config=model.model_dump(),  # what scoring from stored maps needs, without the model
            grader=_fingerprint_of_grader(config),
            created=created,
        )

    def read(self) -> Optional[Line]:
        """Rebuild the index from checkpoint and journal, and return the journal's head; None if it is empty."""
        for index in (*checkpoint.attributes(self, self._INDEX).values(), self.mapped.offsets, self._replaced):
            index.clear()
        self.reference = None
        self._journal.mend()
        head = next((line for _, line in self._journal.lines() if line["kind"] == "head"), None)
        for offset, line in self._journal.lines(self._restore()):
            if line["kind"] == "mapped":
                self.mapped.offsets[line["id"]] = offset
                self.ids[line["stem"]], self._stems[line["id"]] = line["id"], line["stem"]
            elif line["kind"] == "reference":
                self.reference = from_json(Reference, line["reference"])
            elif line["kind"] == "screened":
                self._replaced.setdefault(line["record"]["id"], self._offsets.get(line["record"]["id"]))
                self._index(line["record"], line["picks"], offset)
            elif line["kind"] == "thinned":
                for key in line["ids"]:
                    self.pictured.pop(key, None)
        return head

    def _restore(self) -> int:
        """Take the checkpoint, and return the byte of the journal at which it ends; 0 without a checkpoint."""
        found = checkpoint.load(self._folder, self._settings)
        if found is None:
            self.stored = None
            return 0
        end, self.stored = found
        index = self.stored.pop("state")
        self.mapped.offsets = index.pop("mapped")
        reference = index.pop("reference")
        self.reference = from_json(Reference, reference) if reference else None
        checkpoint.set_attributes(self, self._INDEX, index)
        return end

    def _index(self, screened: Line, digest: str, offset: int) -> None:
        key, stem = screened["id"], screened["stem"]
        self._offsets[key], self.digests[key] = offset, digest
        self.ids[stem], self._stems[key] = key, stem
        self.pictured.pop(key, None)
        if screened["thumbnail"]:
            self.pictured[key] = screened["bad_area"] or 0.0
        for members, is_one in (
            (self.failed, screened["status"] == FAILED),
            (self.incomplete, LATE_FAILED in screened["flags"]),
        ):
            (members.add if is_one else members.discard)(key)


def _fingerprint_of_grader(config: ScreenConfig) -> str:
    return model_folder.fingerprint(model_folder.resolve_model(config.grader)) if config.grader else ""


def _compare(folder: Path, head: Line, config: ScreenConfig, fingerprint: str) -> None:
    """Refuse to continue a run with other settings.

    Raises
    ------
    SettingsError
        Names the settings that differ.
    """
    if head["records_version"] > RECORDS_VERSION:
        raise SettingsError(folder, f"was written by a newer version ({head['version']})", "update this package")
    # A run of a version without a setting continues with its default.
    models = {"model": head["model"], "grader": head.get("grader", "")}
    then: Dict[str, Any] = {**ScreenConfig().model_dump(), **head["config"], **models}
    now: Dict[str, Any] = {**config.model_dump(), "model": fingerprint, "grader": _fingerprint_of_grader(config)}
    binding = [name for name in now if name not in _FREE]
    differing = [f"{name} was {then.get(name)}, is {now[name]}" for name in binding if then.get(name) != now[name]]
    if differing:
        raise SettingsError(folder, f"cannot be continued with other settings ({'; '.join(differing)})", _ANEW)
