# SPDX-License-Identifier: GPL-3.0-or-later
"""One screening: many micrographs through one or several executors, resumable at any moment. Imports no torch.

The results do not depend on the number of executors or on kills: nothing is screened before the data-set reference is
frozen, the reference depends on the first micrographs by id only (of those that have come when there are enough, which
are the same ones whenever ids come in order), and the journal is the only truth.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from cryoice_scipion.constants import FAILED, OUTSIDE
from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.maps import session_baseline
from cryoice_scipion.core.maps.scoring import particle_diameter, pick_threshold
from cryoice_scipion.core.records import (
    MapResult,
    MicrographRecord,
    MicrographTask,
    PickCounts,
    PickScore,
    Reference,
    Summary,
)
from cryoice_scipion.core.results.run_folder import RunFolder
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.outputs import Outputs
from cryoice_scipion.core.screening.state import LATE_FAILED, RunState, digest_of
from cryoice_scipion.core.screening.thumbnail_retention import ThumbnailRetention
from cryoice_scipion.core.streaming.file_retry import RetryPolicy
from cryoice_scipion.core.workers.interface import Executor
from cryoice_scipion.core.workers.pool import Done, ExecutorPool, Failure, Job

if TYPE_CHECKING:
    pass

Mapped = Tuple[Optional[MapResult], MicrographRecord]


class ScreeningRun:
    """Screens micrographs into one folder.

    Use it as a context manager. :meth:`process` can be called again and again while the input grows.
    """

    def __init__(
        self,
        folder: Path,
        config: ScreenConfig,
        executors: Sequence[Executor],
        options: Optional[RunOptions] = None,
        log: Optional[logging.Logger] = None,
    ) -> None:
        """Open or continue a run.

        Parameters
        ----------
        folder : pathlib.Path
            Made when it is not there.
        executors : sequence of Executor
            One a device, all with the same model. They are closed with the run.
        options : RunOptions, optional
            How the run behaves. ``options.picks`` also gives coordinates their ids.

        Raises
        ------
        SettingsError
            When the folder holds a run and ``options.resume`` is not set, or one with other settings or another model.
        FolderError
            When the folder cannot be written, or another run has it.
        """
        self.folder, self.config, self.log = Path(folder), config, log or logging.getLogger(__name__)
        self.model: ModelConfig = executors[0].model
        options = options or RunOptions()
        self._on_mapped = options.on_mapped or (lambda task: None)
        self._place = RunFolder(self.folder)
        self._place.make()
        self._place.lock()
        try:
            self._place.sweep()
            self._state = RunState(self.folder, config, executors[0].fingerprint, options.resume)
            self._retry = self._state.failed | self._state.incomplete if options.retry_failed else set()
            self._gallery = ThumbnailRetention(self.folder, config.max_thumbnails, self._state)
            settings = {**config.model_dump(), "model_name": self.model.name, "threshold": self.threshold}
            self._outputs = Outputs(self.folder, self.recorded, settings, options, self.model)
        except BaseException:
            self._place.unlock()
            raise
        self._waiting: Dict[int, MicrographTask] = {}
        self._patience, self._more, self._stopping, self._finished = RetryPolicy(options.retry_seconds), 0, False, False
        self._pool = ExecutorPool(executors, self.log)

    def __enter__(self) -> ScreeningRun:
        """Return the run."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the run."""
        self.close()

    @property
    def threshold(self) -> float:
        """Return the threshold for coordinates that is in force: the one given, else the model's."""
        return pick_threshold(self.config, self.model)

    @property
    def reference(self) -> Optional[Reference]:
        """Return the data-set reference; None until it is frozen."""
        return self._state.reference

    @property
    def backlog(self) -> int:
        """Return how many micrographs are known and not screened yet."""
        return len(self._waiting) + self._more

    @property
    def failure(self) -> str:
        """Return why micrographs failed, in one line, when none could be screened; empty otherwise."""
        return self._outputs.failure

    def is_done(self, task: MicrographTask) -> bool:
        """Return whether a micrograph is screened already, with just these coordinates."""
        return task.id not in self._retry and self._state.digests.get(task.id) == digest_of(task.picks)

    def recorded(self) -> Iterator[MicrographRecord]:
        """Yield what the journal says of each screened micrograph, by id."""
        return self._state.records()

    @property
    def ids(self) -> Dict[str, int]:
        """Return the ids that micrographs had in earlier sessions of this run, by stem."""
        return dict(self._state.ids)

    def process(
        self, tasks: Iterable[MicrographTask], closed: bool = True, more: int = 0
    ) -> Iterator[MicrographRecord]:
        """Screen micrographs; yield each one's record when it is in the journal.

        A micrograph that is screened already is skipped, unless its coordinates are others than then: then they are
        scored on its stored map.

        Parameters
        ----------
        tasks : iterable of MicrographTask
            With all coordinates that are known so far.
        closed : bool
            Whether no further micrographs will come. If not, and they are too few for the data-set reference, they
            are mapped, and screened in a later call.
        more : int
            How many micrographs are known beyond these, for the backlog in summary.json.

        Raises
        ------
        SettingsError
            When two micrographs have one stem or id, or the particles' size is not known.
        FolderError
            When the folder cannot be written; all that was done stays.
        WorkerError
            When no executor works any more.
        """
        self._more = more
        self._admit(tasks)
        self._finished, broken = False, True
        try:
            yield from self._fail_again()
            yield from self._prepare_reference(closed)
            if self.reference is not None:
                yield from self._score_waiting(self.reference)
            self._finished, broken = closed and not self.backlog, False
        finally:
            if broken:  # an interrupt may have come between the journal and what is made from it
                self._state.read()
                self._gallery.reload()
                self._outputs.reload()
            self._outputs.finish(self.backlog, self.reference, self._finished, everything=closed or broken)
        if self._finished:
            for warning in self.summary().warnings:
                self.log.warning(warning)

    def mapped(self, key: int) -> MapResult:
        """Return what is recorded of the map of a micrograph, by its id."""
        return self._state.mapped[key]

    def summary(self) -> Summary:
        """Return the state of the run, as summary.json has it."""
        return self._outputs.summary(self.backlog, self.reference, self._finished)

    def stop(self) -> None:
        """Map nothing more, so that :meth:`process` ends soon; what is mapped is screened. Safe in a signal handler."""
        self._stopping = True

    def try_again(self, key: int) -> None:
        """Let a micrograph that failed be screened once more when it is given again: its file has changed."""
        if key in self._state.failed:
            self._retry.add(key)

    def note_input(self, given: PickCounts) -> None:
        """Note how many coordinates the input has, and which are left out."""
        self._outputs.given = given

    def close(self) -> None:
        """Let the executors finish what they have in hand, close them, and let other runs into the folder."""
        self._pool.close()
        self._state.close()
        self._place.unlock()

    def _admit(self, tasks: Iterable[MicrographTask]) -> None:
        """Take what is not done yet into the waiting list."""
        for task in tasks:
            self._state.name(task)
            for pick in task.picks:
                particle_diameter(pick, self.config, 1.0, "coordinates")
            if not self.is_done(task):
                self._waiting[task.id] = task

    def _fail_again(self) -> Iterator[MicrographRecord]:
        """Reject late coordinates of micrographs that failed."""
        for key in [key for key in self._waiting if key in self._state.failed and key not in self._retry]:
            earlier = self._state.record(key)
            yield self._fail(self._waiting[key], earlier.reason if earlier else "")

    def _chosen(self, closed: bool) -> Optional[List[int]]:
        """Return the micrographs that the reference is taken from; None while they are not all mapped."""
        chosen = session_baseline.first_mapped(sorted(self._waiting), self._state.mapped, self.config.reference)
        if chosen is None or not chosen or (len(chosen) < self.config.reference and not closed):
            return None
        return chosen

    def _prepare_reference(self, closed: bool) -> Iterator[MicrographRecord]:
        """Map micrographs until the reference can be frozen, and freeze it; yield the micrographs that fail."""
        if not self.config.reference and self.reference is None:
            self._state.set_reference(session_baseline.without(self.config.contrast))
        while self.reference is None:
            for done in self._pool.run(self._jobs_for_reference()):
                yield from self._record_map(done)
            chosen = self._chosen(closed)
            if chosen is None:
                return
            mapped = {key: self._state.mapped[key] for key in chosen}
            contrast = session_baseline.vote(list(mapped.values()), self.config.contrast)
            wrong = [self._waiting[key] for key in chosen if not session_baseline.has_contrast(mapped[key], contrast)]
            if not wrong:
                self._freeze(mapped, contrast)
            elif self._stopping:
                return
            for done in self._pool.run(self._map_job(task, contrast) for task in wrong):
                yield from self._record_map(done)

    def _jobs_for_reference(self) -> Iterator[Job[MapResult]]:
        for key in sorted(self._waiting):
            if self._stopping or self._chosen(closed=False) is not None:
                return
            if key in self._waiting and key not in self._state.mapped and self._patience.is_due(key):
                yield self._map_job(self._waiting[key], self.config.contrast)

    def _map_job(self, task: MicrographTask, contrast: str) -> Job[MapResult]:
        return Job(task, lambda executor: executor.map(task, self.config, contrast, self.folder))

    def _freeze(self, mapped: Dict[int, MapResult], contrast: str) -> None:
        frozen = session_baseline.freeze(mapped, contrast, self.model)
        self._state.set_reference(frozen)
        self.log.info(
            "session reference over %d micrographs: particles are %s, offset of the log-odds of BAD subtracted: %.2f",
            len(mapped),
            contrast,
            frozen.logit_offset,
        )

    def _record_map(self, done: Done[MapResult]) -> Iterator[MicrographRecord]:
        if isinstance(done.answer, Failure):
            yield from self._fail_or_wait(done.job.task, done.answer)
        elif done.answer is not None:
            self._state.add_map(done.job.task, done.answer)
            self._on_mapped(done.job.task)

    def _score_waiting(self, reference: Reference) -> Iterator[MicrographRecord]:
        """Score all waiting micrographs, from stored maps where these exist."""
        tasks = [self._waiting[key] for key in sorted(self._waiting) if self._patience.is_due(key)]
        ready = (task for task in tasks if not self._stopping or task.id in self._state.mapped)
        for done in self._pool.run(self._scoring_job(task, reference) for task in ready):
            if isinstance(done.answer, Failure):
                yield from self._fail_or_wait(done.job.task, done.answer)
            elif done.answer is not None:
                result, record = done.answer
                if result is not None:
                    self._state.add_map(done.job.task, result)
                    self._on_mapped(done.job.task)
                yield self._record(record)

    def _scoring_job(self, task: MicrographTask, reference: Reference) -> Job[Mapped]:
        """Return the job that scores a micrograph, and maps it again if the stored map is missing or unusable."""
        stored = self._state.mapped.get(task.id)
        if stored is not None and not session_baseline.has_contrast(stored, reference.contrast):
            stored = None

        def work(executor: Executor) -> Mapped:
            if stored is not None:
                with contextlib.suppress(ImageError):
                    return None, executor.score(task, stored, reference, self.config, self.folder)
            result = executor.map(task, self.config, reference.contrast, self.folder)
            return result, executor.score(task, result, reference, self.config, self.folder)

        return Job(task, work)

    def _fail_or_wait(self, task: MicrographTask, failure: Failure) -> Iterator[MicrographRecord]:
        """Fail a micrograph, unless its file may still be being written: then it stays waiting."""
        if self._patience.again(task.id, task.path):
            self.log.warning("%s; tried again, since the file may still be being written", failure.reason)
        else:
            yield self._fail(task, failure.reason)

    def _fail(self, task: MicrographTask, reason: str) -> MicrographRecord:
        """Reject a micrograph's coordinates, unscored; one that was screened before stays what it was."""
        earlier = None if task.id in self._state.failed else self._state.record(task.id)
        return self._record(_failed(task, reason, earlier))

    def _record(self, record: MicrographRecord) -> MicrographRecord:
        """Write a record into the journal, then into everything that is made from it."""
        task = self._waiting.pop(record.id)
        self._retry.discard(record.id)
        self._patience.forget(record.id)
        lost = self._gallery.admit(record)
        earlier = self._state.add_record(record, digest_of(task.picks))
        self._gallery.remove(lost)
        self._outputs.add(record, earlier, self.backlog, self.reference, lost)
        if record.status == FAILED:
            self.log.error("failed: %s", record.reason)
        outside = sum(score.cls == OUTSIDE for score in record.scores)
        if outside:
            self.log.warning("%s: %d coordinates are outside the frame %s", task.path, outside, record.shape)
        return record


def _failed(task: MicrographTask, reason: str, earlier: Optional[MicrographRecord]) -> MicrographRecord:
    """Return the record of a micrograph that could not be screened; coordinates scored earlier keep their scores."""
    known = {score.id: score for score in earlier.scores} if earlier else {}
    scores = [known.get(pick.id) or PickScore(pick.id, None, FAILED, False) for pick in task.picks]
    if earlier is not None:
        flags = [flag for flag in earlier.flags if flag != LATE_FAILED]
        return dataclasses.replace(earlier, scores=scores, flags=[*flags, LATE_FAILED])
    return MicrographRecord(id=task.id, stem=task.stem, path=task.path, status=FAILED, reason=reason, scores=scores)
