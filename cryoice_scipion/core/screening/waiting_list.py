# SPDX-License-Identifier: GPL-3.0-or-later
"""The micrographs of a run that are known and not screened yet, and the failed ones that are tried again."""

from __future__ import annotations

import logging
from typing import Dict, Iterable, Iterator, Mapping, Sequence, Set

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.images.identity import identity_now
from cryoice_scipion.core.maps.scoring import particle_diameter
from cryoice_scipion.core.records import MicrographTask
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.quarantine import Quarantine
from cryoice_scipion.core.screening.state import RunState, digest_of
from cryoice_scipion.core.streaming.file_retry import RetryPolicy
from cryoice_scipion.core.workers.pool import Failure


class WaitingList(Mapping[int, MicrographTask]):
    """The micrographs that wait to be screened, by id.

    A micrograph whose file cannot be read stays in the list as long as the file may still be being written.
    """

    def __init__(
        self,
        state: RunState,
        config: ScreenConfig,
        options: RunOptions,
        quarantine: Quarantine,
        log: logging.Logger,
    ) -> None:
        """Begin with an empty list.

        Parameters
        ----------
        state : RunState
            The micrographs that are screened or have failed.
        options : RunOptions
            Sets whether micrographs that failed in an earlier session are tried again, and for how long a file is
            given time to become readable.
        quarantine : Quarantine
            Knows the micrographs that end the process that computes them.
        """
        self._state, self._config, self._quarantine, self._log = state, config, quarantine, log
        self._tasks: Dict[int, MicrographTask] = {}
        failed = state.failed | state.incomplete if options.retry_failed else set()
        self._retry: Set[int] = {key for key in failed if not quarantine.holds(state.stem(key))}
        self._policy = RetryPolicy(options.retry_seconds)

    def __getitem__(self, key: int) -> MicrographTask:
        """Return the micrograph with this id."""
        return self._tasks[key]

    def __iter__(self) -> Iterator[int]:
        """Iterate over the ids, in the order in which the micrographs were added."""
        return iter(self._tasks)

    def __len__(self) -> int:
        """Return the number of micrographs that wait."""
        return len(self._tasks)

    def is_done(self, task: MicrographTask) -> bool:
        """Return whether a micrograph has been screened with exactly these coordinates."""
        return self._is_scored(task) and not self.has_changed(task.id, task.path)

    def _is_scored(self, task: MicrographTask) -> bool:
        return task.id not in self._retry and self._state.digests.get(task.id) == digest_of(task.picks)

    def has_changed(self, key: int, path: str) -> bool:
        """Return whether the file of a micrograph has changed since it was screened; False if that cannot be told."""
        return self._state.is_outdated(key) or self._differs_from_map(key, path)

    def _differs_from_map(self, key: int, path: str) -> bool:
        known = self._state.inputs.get(key)
        now = identity_now(path, known) if known else None
        if known is None or now is None or now == known:
            return False
        if not now.has_content_of(known):
            return True
        self._state.note_input(key, now)
        return False

    def add(self, tasks: Iterable[MicrographTask]) -> None:
        """Add the micrographs that are not done; newer coordinates replace the ones in the list.

        A micrograph whose file has changed is mapped again.

        Raises
        ------
        SettingsError
            When another micrograph of the run has the same name or id.
        CoordinatesError
            When the particle diameter is not known.
        """
        for task in tasks:
            self._state.name(task)
            for pick in task.picks:
                particle_diameter(pick, self._config, 1.0, "coordinates")
            if self._differs_from_map(task.id, task.path) and self._state.forget_map(task.id):
                self._log.warning("%s: has changed since it was screened; it is screened again", task.path)
            if not self._is_scored(task):
                self._tasks[task.id] = task

    def reload(self) -> None:
        """Compare the list with the state again, which was read anew from the journal."""
        tasks, self._tasks = self._tasks, {}
        self.add(tasks.values())

    def remove(self, key: int) -> None:
        """Remove a micrograph that is screened or has failed."""
        self._retry.discard(key)
        self._policy.forget(key)
        stem = self._tasks.pop(key).stem
        if not self._quarantine.holds(stem):
            self._quarantine.forget(stem)

    def is_due(self, key: int) -> bool:
        """Return whether it is time to process a micrograph; only those that failed before must wait."""
        return self._policy.is_due(key)

    def rounds(self, keys: Sequence[int]) -> Iterator[Sequence[int]]:
        """Yield the micrographs to compute together: all but the suspects, then each suspect, alone and repeatedly."""
        yield [key for key in keys if not self.is_suspect(key)]
        for key in keys:
            ends = 0
            while key in self._tasks and self._ends(key) > ends:
                ends = self._ends(key)
                yield [key]

    def is_suspect(self, key: int) -> bool:
        """Return whether the process of a waiting micrograph ended while it was computed."""
        return self._ends(key) > 0

    def _ends(self, key: int) -> int:
        return self._quarantine.ends(self._tasks[key].stem)

    def again(self, task: MicrographTask, failure: Failure) -> str:
        """Return why a micrograph that just failed is tried again later; empty: it has failed."""
        if failure.died:
            self._quarantine.blame(task.stem)
            return "" if self._quarantine.holds(task.stem) else "tried again after the others, alone"
        is_kept = self._policy.again(task.id, task.path)
        return "tried again, since the file may still be being written" if is_kept else ""

    def try_again(self, key: int) -> None:
        """Screen a failed micrograph once more when it is added again: its file has changed."""
        if key in self._state.failed:
            self._retry.add(key)
            self._quarantine.forget(self._state.stem(key))

    def failed_earlier(self) -> Dict[int, str]:
        """Return why waiting micrographs failed that are not tried again, by id."""
        found: Dict[int, str] = {}
        for key, task in self._tasks.items():
            if key in self._state.failed and key not in self._retry:
                earlier = self._state.record(key)
                found[key] = earlier.reason if earlier else ""
            elif self._quarantine.holds(task.stem):
                found[key] = self._quarantine.reason(task.path)
        return found
