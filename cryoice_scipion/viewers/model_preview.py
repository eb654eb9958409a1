# SPDX-License-Identifier: GPL-3.0-or-later
"""Single micrographs of a screening's input, mapped before the run: by a worker, while the window stays free."""

from __future__ import annotations

import contextlib
import itertools
import queue
import tempfile
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CryoIceError, WorkerError
from cryoice_scipion.core.maps.session_baseline import freeze
from cryoice_scipion.core.records import MapResult
from cryoice_scipion.core.results.run_folder import RunFolder
from cryoice_scipion.core.workers.client import WorkerClient
from cryoice_scipion.protocols.screen_input import ScreenInput

REFERENCE = 5  # micrographs at most that the data set's level is taken from: the run takes more, which takes longer

LISTED, MAPPED, BASELINE, FAILED = "listed", "mapped", "baseline", "failed"


class Preview:
    """Maps what is asked for and, in between, the first micrographs, for the level of the data set.

    ``news`` holds pairs: LISTED with the rows of all micrographs; MAPPED with a task and its map; BASELINE
    with the shift of the log-odds, and how many micrographs it is of and how many there will be; FAILED with a line.
    """

    def __init__(self, source: ScreenInput, config: ScreenConfig, python: str, device: str) -> None:
        """Begin to read the input.

        Parameters
        ----------
        python : str
            The interpreter that runs the core.
        device : str
            "cpu" or "cuda:N".

        Raises
        ------
        ModelError
            When the model folder is missing or damaged.
        """
        self.news: queue.Queue[Tuple[str, Any]] = queue.Queue()
        self._place = tempfile.TemporaryDirectory(prefix="cryoice_preview_")  # goes with the process at the latest
        self.folder = Path(self._place.name)
        self.config = config.model_copy(update={"thumbnails": True})
        self._client = WorkerClient(python, config.model, device, self.folder / "worker.log")
        self.model = self._client.model
        self._source = source
        self._wanted: queue.Queue[int] = queue.Queue()
        self._closed = threading.Event()
        self._results: Dict[int, MapResult] = {}
        self._ids: List[int] = []  # of all micrographs, in order
        self._unusable: Set[int] = set()
        # The worker ends with the thread that started it, which therefore has to live as long as the window.
        threading.Thread(target=self._work, daemon=True).start()

    def ask(self, key: int) -> None:
        """Ask for a micrograph by its id; an earlier request that was not taken up yet is dropped."""
        self._wanted.put(key)

    def close(self) -> None:
        """End the worker, without waiting for it."""
        if not self._closed.is_set():
            self._closed.set()
            self._wanted.put(-1)
            threading.Thread(target=self._client.close, daemon=True).start()

    def _work(self) -> None:
        try:
            RunFolder(self.folder).make()
            self._source.look()
            rows = self._source.micrographs.rows
            self.news.put((LISTED, list(rows.values())))
            self._ids = sorted(rows)
            while not self._closed.is_set():
                self._serve(*self._next())
        except Exception as error:  # the window shows one line, whatever it was
            self.news.put((FAILED, " ".join(str(error).split()) or type(error).__name__))
        finally:
            self._client.close()
            with contextlib.suppress(OSError):
                self._place.cleanup()

    def _first(self) -> List[int]:
        """Return the micrographs that the level is taken from: those of the run, or the first of them."""
        usable = (key for key in self._ids if key not in self._unusable)
        return list(itertools.islice(usable, min(REFERENCE, self.config.reference)))

    def _next(self) -> Tuple[int, bool]:
        """Return the micrograph to be mapped next, and whether somebody waits for it; the latest wish counts."""
        wanted: Optional[int] = None
        while wanted is None or not self._wanted.empty():
            waiting = [key for key in self._first() if key not in self._results]
            if wanted is None and waiting and self._wanted.empty():
                return waiting[0], False
            wanted = self._wanted.get()
        return wanted, True

    def _serve(self, key: int, is_wanted: bool) -> None:
        if self._closed.is_set():
            return
        try:
            task = self._source.peek(key)
            if key not in self._results:
                self._results[key] = self._client.map(task, self.config, self.config.contrast, self.folder)
        except CryoIceError as error:
            self._unusable.update(self._ids if isinstance(error, WorkerError) else [key])
            if is_wanted or isinstance(error, WorkerError):
                self.news.put((FAILED, str(error)))
            return
        if is_wanted:
            self.news.put((MAPPED, (task, self._results[key])))
        first = self._first()
        if key in first:
            found = {other: self._results[other] for other in first if other in self._results}
            offset = freeze(found, self.config.contrast, self.model).logit_offset
            self.news.put((BASELINE, (offset, len(found), len(first))))
