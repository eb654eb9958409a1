# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals that end a command. This module is loaded at each start, so it imports no library."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Callable, ContextManager, Iterator, Optional, Set

from cryoice_scipion.core.errors import Terminated

_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(__file__))) + os.sep
_IMPORT = "<frozen importlib._bootstrap>"  # the file name in the frames of an import


@contextlib.contextmanager
def on_signals(act: Callable[[int], None], *signals: signal.Signals) -> Iterator[None]:
    """Call ``act`` on these signals. Do nothing outside the main thread, which alone receives signals.

    A signal during an import waits until code of this package continues: an exception that is raised in a library while
    it is loaded may be lost, or end the process with a core dump. The same signal again does not wait.

    SIGHUP stays ignored if it is, because ``nohup`` keeps a command alive by that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    waited: Set[int] = set()

    def handle(number: int, frame: Optional[FrameType]) -> None:
        importer = None if number in waited else _importer(frame)
        if importer is None:
            act(number)
        else:
            waited.add(number)
            _call_when_back(importer, lambda: act(number))

    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    before = {one: signal.signal(one, handle) for one in signals if one != signal.SIGHUP or not ignored}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ending_in_order() -> ContextManager[None]:
    """Interrupt the program on Ctrl-C, SIGTERM and SIGHUP.

    Ctrl-C stays ignored if it is, as in a background command of a shell script.
    """
    is_ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    return on_signals(interrupt, signal.SIGTERM, signal.SIGHUP, *([] if is_ignored else [signal.SIGINT]))


def interrupt(number: int) -> None:
    """Interrupt the program as Ctrl-C does.

    Raises
    ------
    KeyboardInterrupt
        ``Terminated`` for SIGTERM and SIGHUP.
    """
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _importer(frame: Optional[FrameType]) -> Optional[FrameType]:
    """Return the frame of this package that waits for an import; None if there is none, or if its own code runs."""
    stack = []
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    if not any(one.f_code.co_filename == _IMPORT for one in stack) or _is_ours(stack[0]):
        return None
    return next(filter(_is_ours, stack), None)


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_PACKAGE)


def _call_when_back(importer: FrameType, act: Callable[[], None]) -> None:
    """Call ``act`` as soon as this frame continues, or other code of this package runs."""

    def trace(frame: FrameType, event: str, value: Any) -> None:
        if _is_ours(frame):
            sys.settrace(None)
            act()

    importer.f_trace = trace
    sys.settrace(trace)
