# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the state of a run: its journal, and a small index of the journal in memory."""

from __future__ import annotations

import datetime
import hashlib
import time
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence, Set

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

_FREE = ("max_thumbnails", "box_files")  # settings that do not affect results and may change on resume
LATE_FAILED = "late_picks_failed"  # flag of a screened micrograph with later coordinates that could not be scored
_ANEW = "use the same settings, or start a new run in another folder"


def digest_of(picks: Sequence[Pick]) -> str:
    """Return a digest of the coordinates of a micrograph, to detect changes."""
    text = ";".join(
        f"{pick.id},{pick.x!r},{pick.y!r},{pick.diameter!r},{pick.box_size!r},{pick.pixel_size!r}" for pick in picks
    )
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class RunState:
    """The journal of a run and an index of it. Records stay on disk; only their byte offsets are in memory."""

    def __init__(self, folder: Path, config: ScreenConfig, model: ModelConfig, fingerprint: str, resume: bool) -> None:
        """Open the journal, or create it.

        Raises
        ------
        SettingsError
            When a journal exists and ``resume`` is not set, or when it has other settings or another model.
        """
        self.reference: Optional[Reference] = None
        self.mapped: Dict[int, MapResult] = {}
        self.digests: Dict[int, str] = {}  # of the scored coordinates
        self.failed: Set[int] = set()
        self.incomplete: Set[int] = set()  # screened, but later coordinates failed
        self.ids: Dict[str, int] = {}  # by stem
        self.pictured: Dict[int, float] = {}  # bad area of the micrographs that have a thumbnail
        self._stems: Dict[int, str] = {}
        self._offsets: Dict[int, int] = {}
        self._journal = Journal(folder / JOURNAL)
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

    def add_map(self, task: MicrographTask, result: MapResult) -> None:
        """Record that a micrograph is mapped."""
        self._journal.append("mapped", id=task.id, stem=task.stem, path=task.path, result=to_json(result))
        self.mapped[task.id] = result

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
        """Rebuild the index from the journal and return its head; None if the journal is empty."""
        for index in (self.mapped, self.digests, self.failed, self.incomplete, self.ids, self.pictured):
            index.clear()
        self._stems.clear()
        self._offsets.clear()
        self.reference = None
        self._journal.mend()
        head: Optional[Line] = None
        for offset, line in self._journal.lines():
            if line["kind"] == "head":
                head = line
            elif line["kind"] == "mapped":
                self.mapped[line["id"]] = from_json(MapResult, line["result"])
                self.ids[line["stem"]], self._stems[line["id"]] = line["id"], line["stem"]
            elif line["kind"] == "reference":
                self.reference = from_json(Reference, line["reference"])
            elif line["kind"] == "screened":
                self._index(line["record"], line["picks"], offset)
            elif line["kind"] == "thinned":
                for key in line["ids"]:
                    self.pictured.pop(key, None)
        return head

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
