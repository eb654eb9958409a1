# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading files without freezing a window."""

from __future__ import annotations

import logging
import tkinter as tk
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable

from cryoice_scipion.core.errors import CryoIceError

POLL = 25  # ms
logger = logging.getLogger(__name__)


class Background:
    """One thread that does what a window asks, in order; the answers come in the window's own thread."""

    def __init__(self, root: tk.Misc, say: Callable[[str], None]) -> None:
        """Take the window, with which the thread ends, and what tells the user of errors."""
        self._root, self._say = root, say
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._alive = True
        root.bind("<Destroy>", self._end, add="+")

    def run(
        self, work: Callable[[], Any], done: Callable[[Any], None], ended: Callable[[], None] = lambda: None
    ) -> None:
        """Do work in the thread, then ``done`` with its result; an error is told in one line instead.

        ``ended`` is called after either.
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
        except Exception as error:  # noqa: BLE001 (a window goes on, whatever it was)
            if not isinstance(error, CryoIceError):
                logger.error("the viewer could not do something", exc_info=error)
            self._say(" ".join(str(error).split()) or type(error).__name__)
        finally:
            ended()

    def _end(self, event: Any) -> None:
        if event.widget is self._root:
            self._alive = False
            self._thread.shutdown(wait=False)
