# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command of cryoice in a child process, follow its progress bars, and end it with the server."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Callable, List, Optional, Sequence

from cryoice_scipion.core.errors import CryoIceError

_BAR = re.compile(r"^\s*(\w+):\s+(\d+)%\|")  # a bar of tqdm
_LIMIT = 10.0  # s to wait for the end of a stopped command
_LINES = 200  # lines that are kept


class Command:
    """One command."""

    def __init__(self, words: Sequence[str], on_bar: Callable[[str, float], None] = lambda name, share: None) -> None:
        """Take the words after ``cryoice``; ``on_bar`` is called with the name of a progress bar and its share."""
        self._words, self._on_bar = [sys.executable, "-m", "cryoice_scipion.core", *words], on_bar
        self._child: Optional[subprocess.Popen[str]] = None
        self._stopped = False
        self.lines: List[str] = []  # of its outputs, without progress bars

    def run(self, log: Path) -> None:
        """Run it to its end.

        Raises
        ------
        CryoIceError
            When it fails or is stopped; with its own last line.
        """
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with open(log, "a", encoding="utf-8") as stream:
            self._child = subprocess.Popen(
                self._words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, encoding="utf-8", errors="replace", env=environment, start_new_session=True,
            )  # fmt: skip
            assert self._child.stdout is not None
            for line in self._child.stdout:  # universal newlines: a bar's carriage returns end lines too
                self._take(line.rstrip(), stream.write)
        status = self._child.wait()
        if self._stopped:
            raise CryoIceError("The job", "was stopped")
        if status:
            last = next((line for line in reversed(self.lines) if line), f"ended with status {status}")
            what, _, reason = re.sub(r"^cryoice \w+: ", "", last).partition(": ")
            raise CryoIceError(what, reason or "failed", "" if reason else f"see {log}")

    def _take(self, line: str, write: Callable[[str], object]) -> None:
        bar = _BAR.match(line)
        if bar:
            self._on_bar(bar.group(1), int(bar.group(2)) / 100)
        elif line:
            write(f"{line}\n")
            self.lines = [*self.lines[-_LINES:], line]

    def stop(self) -> None:
        """End it, with its own children."""
        self._stopped = True
        child = self._child
        if child is None or child.poll() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_LIMIT)
                return


def in_background(work: Callable[[], None]) -> threading.Thread:
    """Start a function in a thread that does not keep the process alive."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
