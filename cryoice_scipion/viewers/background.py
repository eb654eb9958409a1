# SPDX-License-Identifier: GPL-3.0-or-later
"""Run slow work in a background thread, so that a window does not freeze."""

from __future__ import annotations

import logging
import tkinter as tk
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable

from cryoice_scipion.core.errors import CryoIceError

POLL = 25  # ms
logger = logging.getLogger(__name__)


class Background:
    """A worker thread that runs tasks in order and returns their results in the thread of the window."""

    def __init__(self, root: tk.Misc, say: Callable[[str], None]) -> None:
        """Start the thread; it ends when ``root`` is closed, and errors are shown with ``say``."""
        self._root, self._say = root, say
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._alive = True
        root.bind("<Destroy>", self._end, add="+")

    def run(
        self, work: Callable[[], Any], done: Callable[[Any], None], ended: Callable[[], None] = lambda: None
    ) -> None:
        """Run ``work`` in the thread, then call ``done`` with its result, or show the error in one line.

        ``ended`` is called in both cases.
        """
        self._wait(self._thread.submit(work), done, ended)

    def _wait(self, future: Future, done: Callable[[Any], None], ended: Callable[[], None]) -> None:
        if not self._alive:
            return
        if not future.done():
            self._root.after(POLL, self._wait, future, done, ended)
            return
        try:
            done(future.result())
        except Exception as error:  # noqa: BLE001 (an error must not close the window)
            if not isinstance(error, CryoIceError):
                logger.error("unexpected error in the viewer", exc_info=error)
            self._say(" ".join(str(error).split()) or type(error).__name__)
        finally:
            ended()

    def _end(self, event: Any) -> None:
        if event.widget is self._root:
            self._alive = False
            self._thread.shutdown(wait=False)
