# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide whether a file that could not be read is tried again: it may be incomplete, or it may be broken."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Dict, Hashable, Optional, Union

from cryoice_scipion.core.images.reading import split_frame
from cryoice_scipion.core.streaming.stable_file import StableFile

RETRY_SECONDS = 60.0  # an unreadable file is given up once it has been unchanged for this long
_ATTEMPTS = 6  # during that time
_LONGEST_PAUSE = 5.0  # s between two attempts
_SECOND_ATTEMPT = 3.0  # s after the first failure of a file that was complete long ago


class RetryPolicy:
    """Retry a file until it has been unchanged for some seconds; a missing file is given as long to appear.

    Every file is tried at least twice, since network file systems fail now and then.
    """

    def __init__(self, seconds: float = 0.0, use_modification_time: bool = True) -> None:
        """Start without any failures.

        Parameters
        ----------
        seconds : float
            How long a file must be unchanged before it is given up; 0: at its first failure.
        use_modification_time : bool
            Whether the time before the first failure counts, so that an old file is tried twice only.
        """
        self.seconds, self._use_modification_time = seconds, use_modification_time
        self._files: Dict[Hashable, StableFile] = {}
        self._next: Dict[Hashable, float] = {}

    def again(self, key: Hashable, path: Union[str, Path]) -> bool:
        """Return whether a file that just failed is tried again; :meth:`is_due` says when."""
        return self.next_attempt(key, path) is not None

    def next_attempt(self, key: Hashable, path: Union[str, Path]) -> Optional[float]:
        """Return when (monotonic clock) a file that just failed is tried again; None: it is given up.

        Parameters
        ----------
        key : hashable
            Identifies the file in all calls.
        path : str or pathlib.Path
            The file, or ``12@stack.mrcs`` for a frame of a stack.
        """
        if self.seconds <= 0:
            return None
        file, is_first = self._files.get(key), key not in self._files
        if file is None:
            file = self._files[key] = StableFile(split_frame(str(path))[1], self._use_modification_time)
        if file.unchanged_seconds() < self.seconds:
            pause = min(_LONGEST_PAUSE, self.seconds / _ATTEMPTS)
        elif is_first:
            pause = min(_SECOND_ATTEMPT, self.seconds)
        else:
            self.forget(key)
            return None
        self._next[key] = time.monotonic() + pause
        return self._next[key]

    def is_due(self, key: Hashable) -> bool:
        """Return whether a file may be tried now; True for files that never failed."""
        return time.monotonic() >= self._next.get(key, 0.0)

    def forget(self, key: Hashable) -> None:
        """Forget the failures of a file."""
        self._files.pop(key, None)
        self._next.pop(key, None)
