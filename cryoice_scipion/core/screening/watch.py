# SPDX-License-Identifier: GPL-3.0-or-later
"""Screen micrographs and coordinates that arrive in folders, for days if needed. Imports no torch."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, Set, Tuple, Union

from cryoice_scipion.constants import FAILED
from cryoice_scipion.core.images.naming import free_stem, output_stem, stem_of
from cryoice_scipion.core.images.reading import file_of, is_image_name
from cryoice_scipion.core.images.stems import plain_path
from cryoice_scipion.core.records import MicrographRecord, MicrographTask
from cryoice_scipion.core.results.run_sums import MicrographValues
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.streaming.coordinate_sources import CoordinateSources
from cryoice_scipion.core.streaming.coordinate_watcher import CoordinateWatcher
from cryoice_scipion.core.streaming.folder_watcher import FolderWatcher
from cryoice_scipion.core.streaming.id_registry import IdRegistry
from cryoice_scipion.core.streaming.stable_file import SETTLE_SECONDS

_AGAIN = 2.0  # s between two calls of the run while something waits in it
_HEARTBEAT = 60.0  # longest time between two calls, s, so that monitors see that the run is alive
_PAUSE = 5.0  # s between two attempts at the end, while micrographs still wait


class Watch:
    """Gives new micrographs to a run in batches. Its cost depends on what is new, not on what is done.

    Call :meth:`begin` once, :meth:`round` repeatedly, and :meth:`finish` at the end. Micrographs get ids in the order
    in which their files arrive, and keep them in later sessions.
    """

    def __init__(
        self,
        folder: Path,
        run: ScreeningRun,
        registry: IdRegistry,
        picks: Union[CoordinateWatcher, CoordinateSources, None],
        log: logging.Logger,
        batch: int,
        settle: float = SETTLE_SECONDS,
    ) -> None:
        """Connect folder, run and coordinates.

        Parameters
        ----------
        folder : pathlib.Path
            Folder in which the micrographs arrive; it may not exist yet.
        run : ScreeningRun
            The run; its coordinates are those of ``picks``, if any.
        batch : int
            Largest number of micrographs given to the run at a time.
        settle : float
            Seconds without a change after which a micrograph is taken.
        """
        self.run, self._registry, self._picks, self._log = run, registry, picks, log
        self.files = FolderWatcher(folder, is_image_name, settle, subfolders=True)
        self.interval = self.files.interval
        self.arrived: Set[str] = set()  # stems of all micrographs that arrived, in any session
        self._batch = batch
        self._queue: List[Tuple[int, str]] = []  # a heap of ids and stems
        self._queued: Set[str] = set()
        self._paths: Dict[str, Path] = {}  # by stem; the files of this session
        self._screened: Set[str] = set()
        self._failed: Set[str] = set()
        self._duplicates: Dict[str, Path] = {}  # by stem; used if the first file of that name fails
        self._said_subfolders = False
        self._logged: Set[str] = set()  # messages that are logged only once
        self._left_over: List[str] = []  # micrographs that arrived in an earlier session and are not screened yet
        self.pause, self._called = _PAUSE, 0.0
        self._stopping = threading.Event()

    def begin(self) -> None:
        """Continue from earlier sessions, and read the coordinate files that exist.

        Raises
        ------
        SettingsError
            When neither these files nor the settings have a particle diameter or box size.
        """
        if self._registry.fault:
            self._log.warning(self._registry.fault)
        for record in self.run.micrographs():
            self._note(record)
            self._registry.paths.setdefault(record.stem, record.path)
        if any(self.files.folder in file_of(path).parent.parents for path in self._registry.paths.values()):
            self.files.in_subfolders = True
        self.arrived = set(self._registry.paths)
        self._left_over = [stem for stem in self._registry.paths if stem not in self._screened]
        if self._picks is not None:
            self._picks.begin(self._registry.files, self._registry.number_of)
            for stem in self._registry.paths:
                self._picks.picks.add_micrograph(stem, self._registry.paths[stem])
            self._enqueue(self._picks.poll(first=True))

    def stop(self) -> None:
        """Make :meth:`round` and :meth:`wait` end soon. May be called in a signal handler."""
        self._stopping.set()
        self.run.stop()

    @property
    def is_stopping(self) -> bool:
        """Return whether :meth:`stop` was called."""
        return self._stopping.is_set()

    @property
    def is_there(self) -> bool:
        """Return whether the folder exists."""
        return self.files.folder.is_dir()

    @property
    def done(self) -> int:
        """Return the number of micrographs that are screened, in any session."""
        return len(self._screened)

    @property
    def is_busy(self) -> bool:
        """Return whether micrographs wait for the next round."""
        return bool(self._queue)

    @property
    def is_quiet(self) -> bool:
        """Return whether all files that arrived have been given to the run."""
        pending = self._picks is not None and self._picks.is_pending
        return not (self._queue or self.files.has_changing_files or pending)

    @property
    def quiet_seconds(self) -> float:
        """Return for how long looks have found no new or changed file; time in which nobody looked does not count."""
        times = [self.files.quiet_seconds] + ([self._picks.quiet_seconds] if self._picks is not None else [])
        return min(times)

    def wait(self, seconds: float) -> None:
        """Wait, unless :meth:`stop` is called."""
        self._stopping.wait(seconds)

    def round(self) -> Iterator[MicrographRecord]:
        """Look for new files, give a batch to the run, and yield its records; do nothing if it is not time yet."""
        if self._picks is not None:
            self._enqueue(self._picks.poll())
        self._take(self.files.poll())
        if self.files.problem and self.files.problem not in self._logged:
            self._logged.add(self.files.problem)
            self._log.warning(self.files.problem)
        if self.files.in_subfolders and not self._said_subfolders:
            self._said_subfolders = True
            self._log.info("%s: its subfolders are watched, since the images lie there", self.files.folder)
        batch = self._next_batch()
        now = time.monotonic()
        if batch or now - self._called >= (_AGAIN if self.run.backlog else _HEARTBEAT):
            yield from self._process(batch)
            self._called = time.monotonic()

    def finish(self) -> Iterator[MicrographRecord]:
        """Screen what still waits, yield the records, and write all files.

        After :meth:`stop`, only mapped micrographs are scored; the others wait until the run is resumed.
        """
        if self._picks is not None:
            self._picks.close()
            self._picks.picks.closed = True
            self._enqueue(sorted(self.arrived))  # also those whose coordinates went away while nobody watched
        while True:
            stopping = self.is_stopping
            yield from self._process(self._next_batch(), closed=True)
            self._use_duplicates()
            if stopping or not (self.run.backlog or self._queue):
                return
            if not self._queue:
                self.wait(self.pause)

    def close(self) -> None:
        """Stop looking."""
        self.files.close()
        if self._picks is not None:
            self._picks.release()
        self._registry.close()

    def _process(self, batch: List[MicrographTask], closed: bool = False) -> Iterator[MicrographRecord]:
        if self._picks is not None:
            self.run.note_input(self._picks.counts())
        for record in self.run.process(batch, closed and not self._queue, more=len(self._queue)):
            self._note(record)
            yield record

    def _take(self, paths: Iterable[Path]) -> None:
        """Register and queue new micrographs."""
        new: Dict[str, str] = {}
        for path in paths:
            stem = self._stem_of(path)
            if self._is_duplicate(stem, path):
                continue
            if stem in self._paths:
                self._take_changed(stem)
                continue
            self._paths[stem] = path
            new[stem] = plain_path(str(path))
        if new:
            self._registry.add_micrographs(new)
        for stem in new:
            if stem not in self.arrived and self._picks is not None:
                self._enqueue(self._picks.picks.add_micrograph(stem, self._registry.paths[stem]))
            self.arrived.add(stem)
        self._enqueue(
            stem for stem in new if stem not in self._screened or stem in self._failed or self._has_changed(stem)
        )
        if self._left_over and self.files.is_there:
            self._enqueue(self._left_over)
            self._left_over = []
        self._use_duplicates()

    def _stem_of(self, path: Path) -> str:
        """Return the stem of a file; one of another subfolder with the same name gets its folder in front."""
        if not self.files.in_subfolders:
            return output_stem(stem_of(path.name))
        return free_stem(str(path), _TakenElsewhere(path.parent, self._paths, self._registry.paths))

    def _is_duplicate(self, stem: str, path: Path) -> bool:
        """Return whether another file has the same micrograph name; log a warning once."""
        known = self._paths.get(stem) or file_of(self._registry.paths.get(stem, str(path)))
        if known.name == path.name or (stem not in self._paths and not known.is_file()):
            return False
        self._duplicates[stem] = path
        if str(path) not in self._logged:
            self._logged.add(str(path))
            self._log.warning("%s: left out, since %s has the same name, and outputs are named by it", path, known)
        return True

    def _use_duplicates(self) -> None:
        """Screen the second file of a name if the first one cannot be read."""
        for stem in self._failed & set(self._duplicates):
            path = self._duplicates.pop(stem)
            self._log.warning("%s: used, since %s cannot be read", path, self._paths.get(stem, stem))
            self._paths[stem] = path
            self._registry.add_micrographs({stem: plain_path(str(path))})
            self.run.try_again(self._registry.ids[stem])
            self._enqueue([stem])

    def _take_changed(self, stem: str) -> None:
        """Screen a micrograph again if its file has changed; one that failed, also if only its time has."""
        if stem in self._failed:
            self.run.try_again(self._registry.ids[stem])
            self._enqueue([stem])
        elif self._has_changed(stem):
            self._enqueue([stem])

    def _has_changed(self, stem: str) -> bool:
        return self.run.has_changed(self._registry.ids[stem], self._registry.paths[stem])

    def _enqueue(self, stems: Iterable[str]) -> None:
        for stem in stems:
            if stem not in self._queued and stem in self._registry.paths:
                self._queued.add(stem)
                heapq.heappush(self._queue, (self._registry.ids[stem], stem))

    def _next_batch(self) -> List[MicrographTask]:
        """Return the next micrographs by id, without those screened with exactly their current coordinates."""
        batch: List[MicrographTask] = []
        while self._queue and (len(batch) < self._batch or self.is_stopping):  # when stopping, the run must know all
            number, stem = heapq.heappop(self._queue)
            self._queued.discard(stem)
            picks = self._picks.picks.of(stem) if self._picks is not None else []
            task = MicrographTask(number, self._registry.paths[stem], stem, None, picks)
            if not self.run.is_done(task):
                batch.append(task)
        return batch

    def _note(self, record: Union[MicrographRecord, MicrographValues]) -> None:
        self._screened.add(record.stem)
        if record.status == FAILED:
            self._failed.add(record.stem)
        else:
            self._failed.discard(record.stem)


class _TakenElsewhere:
    """The stems of micrographs in other folders than one."""

    def __init__(self, folder: Path, *paths: Mapping[str, object]) -> None:
        self._folder, self._paths = folder, paths

    def __contains__(self, stem: object) -> bool:
        known = [file_of(str(paths[str(stem)])) for paths in self._paths if stem in paths]
        return bool(known) and known[0].parent != self._folder
