# SPDX-License-Identifier: GPL-3.0-or-later
"""Map single micrographs of a screening's input before the run, in a worker, while the window stays responsive."""

from __future__ import annotations

import contextlib
import queue
import tempfile
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CryoIceError, WorkerError, one_line
from cryoice_scipion.core.grades.grading import is_graded
from cryoice_scipion.core.maps.session_baseline import BaselineStep, SessionBaseline, has_contrast
from cryoice_scipion.core.records import MapResult, MicrographTask
from cryoice_scipion.core.results.outliers import fit_reference
from cryoice_scipion.core.results.run_folder import RunFolder
from cryoice_scipion.core.workers.client import WorkerClient
from cryoice_scipion.protocols.screen_input import ScreenInput

LISTED, MAPPED, BASELINE, FAILED = "listed", "mapped", "baseline", "failed"


class Preview:
    """Map the micrograph that the window shows and, in between, those that the run's session baseline is measured on.

    ``news`` holds pairs: LISTED with the rows of all micrographs; MAPPED with a task and its result; BASELINE with the
    reference over the micrographs mapped so far and the number that the run will use; FAILED with a line. The last
    reference also has the statistics that grades need.
    """

    def __init__(self, source: ScreenInput, config: ScreenConfig, python: str, device: str) -> None:
        """Start to read the input.

        Parameters
        ----------
        python : str
            The interpreter that runs the core.
        device : str
            "cpu" or "cuda:N"; "auto": the first GPU, or else the CPU.

        Raises
        ------
        ModelError
            When the model folder is missing or damaged.
        """
        self.news: queue.Queue[Tuple[str, Any]] = queue.Queue()
        self._temporary = tempfile.TemporaryDirectory(
            prefix="cryoice_preview_"
        )  # deleted at the latest when the process ends
        self.folder = Path(self._temporary.name)
        self.config = config.model_copy(update={"thumbnails": True})
        self._client = WorkerClient(python, config.model, device, self.folder / "worker.log")
        self.model = self._client.model
        self._source, self._device = source, device
        self._baseline = SessionBaseline(config.reference, config.contrast, self.model)
        self._requests: queue.Queue[int] = queue.Queue()
        self._is_closed = threading.Event()
        self._shown: Optional[int] = None  # the micrograph that was requested last
        self._results: Dict[int, MapResult] = {}
        self._ids: List[int] = []  # of all micrographs, sorted
        self._unusable: Set[int] = set()
        # The worker ends with the thread that started it, so this thread lives as long as the window.
        threading.Thread(target=self._work, daemon=True).start()

    @property
    def lacks_gpu(self) -> bool:
        """Return whether the CPU is used because this machine has no usable GPU."""
        return self._device == "auto" and self._client.device == "cpu"

    def ask(self, key: int) -> None:
        """Request a micrograph by its id; an earlier request that is still waiting is dropped."""
        self._requests.put(key)

    def close(self) -> None:
        """End the worker without waiting for it."""
        if not self._is_closed.is_set():
            self._is_closed.set()
            self._requests.put(-1)
            threading.Thread(target=self._client.close, daemon=True).start()

    def _work(self) -> None:
        """Serve requests until the preview is closed."""
        try:
            RunFolder(self.folder).make()
            self._source.look()
            rows = self._source.micrographs.rows
            self.news.put((LISTED, list(rows.values())))
            self._ids = sorted(rows)
            while not self._is_closed.is_set():
                key = self._next_in_background() if self._requests.empty() else None
                if key is not None:
                    self._map_in_background(key)
                else:
                    self._show(self._latest_request())
        except Exception as error:  # the window shows one line for any error
            self.news.put((FAILED, one_line(error) or type(error).__name__))
        finally:
            self._client.close()
            with contextlib.suppress(OSError):
                self._temporary.cleanup()

    def _latest_request(self) -> int:
        """Return the id that was requested last; wait for a request if there is none."""
        key = self._requests.get()
        while not self._requests.empty():
            key = self._requests.get()
        return key

    def _reference_ids(self) -> List[int]:
        """Return the micrographs that the run will measure its baseline on: the first ones that can be mapped."""
        return [key for key in self._ids if key not in self._unusable][: self._baseline.number]

    def _baseline_so_far(self) -> BaselineStep:
        """Return the step of a run that has only those of these micrographs that are mapped already."""
        return self._baseline.step([key for key in self._reference_ids() if key in self._results], self._results)

    def _next_in_background(self) -> Optional[int]:
        """Return the micrograph to map without a request: the shown one if its contrast is wrong, then the others."""
        step = self._baseline_so_far()
        shown = None if self._shown is None else self._results.get(self._shown)
        is_wrong = shown is not None and step.is_decided and not has_contrast(shown, step.contrast)
        if is_wrong and self._shown not in self._unusable:
            return self._shown
        missing = [key for key in self._reference_ids() if key not in self._results]
        return next(iter([*step.to_map, *missing]), None)

    def _show(self, key: int) -> None:
        """Send a requested micrograph to the window, and map it first if necessary."""
        self._shown = None
        if self._is_closed.is_set():
            return
        try:
            task = self._source.peek(key)
            is_new = self._map(task)
        except CryoIceError as error:
            self._fail(key, error)
            self.news.put((FAILED, str(error)))
            return
        self._shown = key
        self.news.put((MAPPED, (task, self._results[key])))
        if is_new:
            self._send_baseline(key)

    def _map_in_background(self, key: int) -> None:
        try:
            self._map(self._source.peek(key))
        except CryoIceError as error:
            self._fail(key, error)
            if isinstance(error, WorkerError) or key == self._shown:
                self.news.put((FAILED, str(error)))
            return
        if key == self._shown:
            self.news.put((MAPPED, (self._source.peek(key), self._results[key])))
        self._send_baseline(key)

    def _map(self, task: MicrographTask) -> bool:
        """Map a micrograph, unless it is mapped with the right contrast; return whether it was."""
        contrast = self._baseline_so_far().contrast
        result = self._results.get(task.id)
        if result is not None and (contrast == "auto" or has_contrast(result, contrast)):
            return False
        self._results[task.id] = self._client.map(task, self.config, contrast, self.folder)
        return True

    def _fail(self, key: int, error: CryoIceError) -> None:
        """Use a micrograph no longer; after an error of the worker, none."""
        self._unusable.update(self._ids if isinstance(error, WorkerError) else [key])

    def _send_baseline(self, key: int) -> None:
        """Tell the window the baseline if this micrograph has changed it."""
        ids, reference = self._reference_ids(), self._baseline_so_far().reference
        if key in ids and reference is not None:
            if len(reference.micrographs) == len(ids) and is_graded(self.config, self.model):
                reference.one_class = fit_reference(self.folder, reference.micrographs, self._results)
            self.news.put((BASELINE, (reference, len(ids))))
