# SPDX-License-Identifier: GPL-3.0-or-later
"""Micrographs that cannot be read yet: whether a file may still be being written, and when to look at it again."""

from __future__ import annotations

import os
import time
from typing import Dict, Optional, Tuple

SETTLE = 2.0  # s without a change after which a file that nobody told of counts as come
STREAMING = 60.0  # s without a change after which a file is taken for finished
_LOOKS = 6  # during that time
_SECOND = 3.0  # s until the second look at a file that is finished

_State = Optional[Tuple[int, int]]


class RetryPolicy:
    """Tells a file that is still being written from one that is broken.

    A file is finished when it has not changed for ``seconds``; one that is not there is given as long to appear. Every
    file is looked at twice, since network file systems fail now and then.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        """Take how long to wait; 0: never."""
        self.seconds = seconds
        self._seen: Dict[int, Tuple[_State, float]] = {}  # what the file was like, and since when
        self._next: Dict[int, float] = {}

    def again(self, key: int, path: str) -> bool:
        """Return whether the micrograph that just failed is to be tried again, and note when."""
        if self.seconds <= 0:
            return False
        now, state, is_first = time.monotonic(), _state(path), key not in self._seen
        if key not in self._seen or self._seen[key][0] != state:
            self._seen[key] = (state, now - _age(state))
        if now - self._seen[key][1] < self.seconds:
            self._next[key] = now + self.seconds / _LOOKS
        elif is_first:
            self._next[key] = now + min(_SECOND, self.seconds)
        else:
            self.forget(key)
            return False
        return True

    def is_due(self, key: int) -> bool:
        """Return whether it is time to try a micrograph; always, for those that never failed."""
        return time.monotonic() >= self._next.get(key, 0.0)

    def forget(self, key: int) -> None:
        """Drop what is known of a micrograph that is done."""
        self._seen.pop(key, None)
        self._next.pop(key, None)


def _state(path: str) -> _State:
    """Return size and time of change of a micrograph's file; None when it is not there."""
    try:
        status = os.stat(path.rpartition("@")[2])  # a frame of a stack is written 12@stack.mrcs
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _age(state: _State) -> float:
    """Return for how many seconds a file has not changed, by its own clock; 0 when it is not there."""
    return 0.0 if state is None else max(0.0, time.time() - state[1] / 1e9)
