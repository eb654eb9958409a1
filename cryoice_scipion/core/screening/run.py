# SPDX-License-Identifier: GPL-3.0-or-later
"""Screen many micrographs with one or several executors; a run can be resumed at any moment. Imports no torch.

The results do not depend on the number of executors or on kills:

- No micrograph is scored before the session reference is frozen.
- The reference depends only on the first micrographs by id.
- All other files of the run are made from the journal.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Optional, Sequence

from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.grades.grading import check_grades
from cryoice_scipion.core.maps.scoring import pick_threshold
from cryoice_scipion.core.maps.session_baseline import BaselineStep, SessionBaseline
from cryoice_scipion.core.records import MapResult, MicrographRecord, MicrographTask, PickCounts, Reference, Summary
from cryoice_scipion.core.results.outliers import fit_reference
from cryoice_scipion.core.results.run_folder import RunFolder
from cryoice_scipion.core.results.run_sums import MicrographValues
from cryoice_scipion.core.screening.archiving import Archiver
from cryoice_scipion.core.screening.failures import failed_record, log_problems, log_reference
from cryoice_scipion.core.screening.jobs import JobMaker
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.outputs import Outputs
from cryoice_scipion.core.screening.quarantine import Quarantine
from cryoice_scipion.core.screening.state import RunState, digest_of
from cryoice_scipion.core.screening.thumbnail_retention import ThumbnailRetention
from cryoice_scipion.core.screening.waiting_list import WaitingList
from cryoice_scipion.core.workers.interface import Executor
from cryoice_scipion.core.workers.pool import ExecutorPool, Failure, Job


class ScreeningRun:
    """Screens micrographs into one folder, as a context manager; call :meth:`process` while the input grows."""

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
            Folder of the run; created if it does not exist.
        executors : sequence of Executor
            One per device, all with the same model. The run closes them.
        options : RunOptions, optional
            How the run behaves. ``options.picks`` also gives coordinates their ids.

        Raises
        ------
        SettingsError
            When the folder holds a run and ``options.resume`` is not set, or when that run has other settings or
            another model, or when grades are rejected and the model gives none.
        FolderError
            When the folder cannot be written, or another run uses it.
        """
        self.folder, self.config, self.log = Path(folder), config, log or logging.getLogger(__name__)
        self.model: ModelConfig = executors[0].model
        check_grades(config, self.model)
        options = options or RunOptions()
        self._on_mapped = options.on_mapped or (lambda task: None)
        self._files = RunFolder(self.folder)
        self._files.make()
        self._files.lock()
        try:
            self._files.sweep()
            self._state = RunState(self.folder, config, self.model, executors[0].fingerprint, options.resume)
            if options.picks is None and self._files.remove_coordinates():
                self.log.warning("%s: no coordinates are given, so those of the earlier session are removed", folder)
            if self._state.fault:
                self.log.warning(self._state.fault)
            self._quarantine = Quarantine(self.folder, options.resume, options.retry_quarantined)
            self._waiting = WaitingList(self._state, config, options, self._quarantine, self.log)
            self._thumbnails = ThumbnailRetention(self.folder, config.max_thumbnails, self._state)
            self._archiver = Archiver(self._files, self._state, self._waiting, options.archive)
            self._outputs = Outputs(self.folder, self._state, config, options, self.model)
        except BaseException:
            self._files.unlock()
            raise
        self._baseline = SessionBaseline(config.reference, config.contrast, self.model)
        self._jobs = JobMaker(self.folder, config, self._state, self._quarantine)
        self._more, self._stopping, self._finished = 0, False, False
        self.executors = len(executors)  # number of micrographs that are computed at a time
        self._pool = ExecutorPool(executors, self.log)

    def __enter__(self) -> ScreeningRun:
        """Return the run."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the run."""
        self.close()

    @property
    def threshold(self) -> float:
        """Return the threshold for coordinates: the one in the settings, else the model's."""
        return pick_threshold(self.config.threshold, self.model)

    @property
    def reference(self) -> Optional[Reference]:
        """Return the session reference; None until it is frozen."""
        return self._state.reference

    @property
    def backlog(self) -> int:
        """Return the number of micrographs that are known and not screened yet."""
        return len(self._waiting) + self._more

    @property
    def failure(self) -> str:
        """Return why micrographs failed, in one line, when none could be screened; empty otherwise."""
        return self._outputs.failure

    def is_done(self, task: MicrographTask) -> bool:
        """Return whether a micrograph has been screened with exactly these coordinates."""
        return self._waiting.is_done(task)

    def has_changed(self, key: int, path: str) -> bool:
        """Return whether the file of a micrograph has changed since it was mapped."""
        return self._waiting.has_changed(key, path)

    def recorded(self) -> Iterator[MicrographRecord]:
        """Yield the record of each screened micrograph from the journal, sorted by id."""
        return self._state.records()

    def micrographs(self) -> List[MicrographValues]:
        """Return the values of each screened micrograph, sorted by id, without reading the journal."""
        return self._outputs.micrographs

    @property
    def ids(self) -> Dict[str, int]:
        """Return the ids of micrographs in earlier sessions of this run, by stem."""
        return dict(self._state.ids)

    def process(
        self, tasks: Iterable[MicrographTask], closed: bool = True, more: int = 0
    ) -> Iterator[MicrographRecord]:
        """Screen micrographs; yield the record of each micrograph once the journal holds it.

        Micrographs that are screened already are skipped. If their coordinates have changed since, the new coordinates
        are scored on the stored map.

        Parameters
        ----------
        tasks : iterable of MicrographTask
            Micrographs with all coordinates that are known so far.
        closed : bool
            Whether these are the last micrographs. If they are not, and too few are known for the session reference,
            this call only maps them, and a later call scores them.
        more : int
            Number of further micrographs that are known, for the backlog in summary.json.

        Raises
        ------
        SettingsError
            When two micrographs have the same stem or id, or the particle diameter is not known.
        FolderError
            When the folder cannot be written. Finished micrographs are kept.
        WorkerError
            When all executors have failed.
        """
        self._files.check_lock()
        self._more = more
        self._waiting.add(tasks)
        self._finished, broken = False, True
        try:
            for key, reason in self._waiting.failed_earlier().items():  # they have late coordinates
                yield self._fail(self._waiting[key], reason)
            yield from self._prepare_reference(closed)
            if self.reference is not None:
                yield from self._score_waiting(self.reference)
            self._finished, broken = closed and not self.backlog, False
        finally:
            if broken:  # an interrupt may have come between writing the journal and updating what is made from it
                self._state.read()
                self._waiting.reload()
                self._thumbnails.reload()
                self._outputs.reload()
            self._outputs.finish(self.backlog, self.reference, self._finished, everything=closed or broken)
        if self._finished:
            for warning in self.summary().warnings:
                self.log.warning(warning)

    def mapped(self, key: int) -> MapResult:
        """Return the map result of the micrograph with this id."""
        return self._state.mapped[key]

    def summary(self) -> Summary:
        """Return the state of the run, as written to summary.json."""
        return self._outputs.summary(self.backlog, self.reference, self._finished)

    def stop(self) -> None:
        """Map no further micrographs; mapped ones are still scored. May be called in a signal handler."""
        self._stopping = True

    def try_again(self, key: int) -> None:
        """Screen a failed micrograph once more when :meth:`process` gets it again: its file has changed."""
        self._waiting.try_again(key)

    def note_input(self, given: PickCounts) -> None:
        """Record how many coordinates the input has, and how many are left out."""
        self._outputs.given = given

    def close(self) -> None:
        """Wait for the jobs in progress, close the executors, and release the folder."""
        self._pool.close()
        self._state.close()
        self._quarantine.close()
        self._files.unlock()

    def _baseline_step(self, closed: bool, suspects: bool = True) -> BaselineStep:
        ids = [key for key in sorted(self._waiting) if suspects or not self._waiting.is_suspect(key)]
        return self._baseline.step(ids, self._state.mapped, closed)

    def _prepare_reference(self, closed: bool) -> Iterator[MicrographRecord]:
        """Map micrographs until the reference can be frozen, and freeze it; yield the micrographs that fail."""
        while self.reference is None:
            for keys in self._waiting.rounds(sorted(self._waiting)):
                yield from self._map(self._jobs_for_reference(keys))
            step = self._baseline_step(closed)
            if step.reference is not None:
                self._freeze(step.reference)
                return
            due = [key for key in step.to_map if self._waiting.is_due(key)]
            if not step.is_decided or self._stopping or not due:
                return
            for keys in self._waiting.rounds(due):
                ready = (key for key in keys if not self._stopping)
                yield from self._map(self._jobs.map(self._waiting[key], step.contrast) for key in ready)

    def _jobs_for_reference(self, keys: Sequence[int]) -> Iterator[Job[MapResult]]:
        alone = any(self._waiting.is_suspect(key) for key in keys)
        for key in keys:
            if self._stopping or self._baseline_step(closed=False, suspects=alone).is_decided:
                return
            if key in self._waiting and key not in self._state.mapped and self._waiting.is_due(key):
                yield self._jobs.map(self._waiting[key], self.config.contrast)

    def _freeze(self, reference: Reference) -> None:
        if self.config.outlier:
            reference.one_class = fit_reference(self.folder, reference.micrographs, self._state.mapped)
        self._state.set_reference(reference)
        log_reference(self.log, reference)

    def _map(self, jobs: Iterable[Job[MapResult]]) -> Iterator[MicrographRecord]:
        """Map micrographs; yield those that fail."""
        for done in self._pool.run(jobs):
            if isinstance(done.answer, Failure):
                yield from self._fail_or_wait(done.job.task, done.answer)
            elif done.answer is not None:
                self._state.add_map(done.job.task, done.answer)
                self._on_mapped(done.job.task)

    def _score_waiting(self, reference: Reference) -> Iterator[MicrographRecord]:
        """Score all waiting micrographs that are due, from stored maps where these exist."""
        for keys in self._waiting.rounds([key for key in sorted(self._waiting) if self._waiting.is_due(key)]):
            ready = (key for key in keys if not self._stopping or key in self._state.mapped)
            for done in self._pool.run(self._jobs.score(self._waiting[key], reference) for key in ready):
                if isinstance(done.answer, Failure):
                    yield from self._fail_or_wait(done.job.task, done.answer)
                elif done.answer is not None:
                    result, record = done.answer
                    if result is not None:
                        self._state.add_map(done.job.task, result, waiting=False)  # the record follows at once
                        self._on_mapped(done.job.task)
                    yield self._record(record)

    def _fail_or_wait(self, task: MicrographTask, failure: Failure) -> Iterator[MicrographRecord]:
        """Mark a micrograph as failed, unless it is tried again: then it keeps waiting."""
        again = self._waiting.again(task, failure)
        if again:
            self.log.warning("%s; %s", failure.reason, again)
        else:
            yield self._fail(task, self._quarantine.reason(task.path, failure.died) if failure.died else failure.reason)

    def _fail(self, task: MicrographTask, reason: str) -> MicrographRecord:
        """Reject the coordinates of a micrograph, unscored; if it was screened before, it keeps its earlier results."""
        return self._record(failed_record(task, reason, self._state))

    def _record(self, record: MicrographRecord) -> MicrographRecord:
        """Write a record to the journal, then to the files that are made from it."""
        task, lost = self._waiting[record.id], self._thumbnails.admit(record)
        earlier = self._state.add_record(record, digest_of(task.picks))
        self._waiting.remove(record.id)
        self._thumbnails.remove(lost)
        self._outputs.add(record, earlier, self.backlog, self.reference, lost)
        self._archiver.note()
        log_problems(self.log, task, record)
        return record
