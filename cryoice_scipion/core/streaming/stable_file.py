# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell whether a file is still being written: it is complete when size and modification time stop changing."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Optional, Tuple, Union

SETTLE_SECONDS = 2.0  # without a change, after which a new file in a watched folder is read

FileState = Tuple[int, int]  # size in bytes, modification time in ns


def file_state(path: Union[str, Path]) -> Optional[FileState]:
    """Return size and modification time of a regular file; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def seconds_since_modified(state: FileState) -> float:
    """Return the age of a file's last modification by this machine's clock; 0 if it lies in the future."""
    return max(0.0, time.time() - state[1] / 1e9)


class StableFile:
    """Measure how long a file has been unchanged.

    Changes are timed by when this object sees them, because the clock of the machine that writes the file may differ.
    """

    def __init__(self, path: Union[str, Path], use_modification_time: bool = False) -> None:
        """Look at the file for the first time.

        Parameters
        ----------
        path : str or pathlib.Path
            The file, which may be missing.
        use_modification_time : bool
            Whether the time before this first look counts, according to the file's modification time.
        """
        self._path, self.state = path, file_state(path)
        self.first_seen = self.unchanged_since = time.monotonic()
        if use_modification_time and self.state is not None:
            self.unchanged_since -= seconds_since_modified(self.state)

    def unchanged_seconds(self) -> float:
        """Look at the file again and return for how long it has been as it is now: unchanged, or missing."""
        state, now = file_state(self._path), time.monotonic()
        if state != self.state:
            self.state, self.unchanged_since = state, now
        return now - self.unchanged_since
