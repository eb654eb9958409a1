# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the dashboard of a training, TensorBoard, in the browser."""

from __future__ import annotations

import atexit
import contextlib
import logging
import re
import subprocess
import threading
import webbrowser
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

from pyworkflow.viewer import View

from cryoice_scipion.core.detectors.model_folder import DASHBOARD
from cryoice_scipion.plugin import Plugin

_FIND = "import importlib.util, sys; sys.exit(importlib.util.find_spec('tensorboard') is None)"
_ADDRESS = re.compile(r"TensorBoard \S+ at (http://\S+)")
logger = logging.getLogger(__name__)


def has_dashboard(model: Path) -> bool:
    """Return whether a model folder, also one whose training runs, has event files."""
    return any((model / DASHBOARD).rglob("events.out.*"))


def missing() -> str:
    """Return how to install TensorBoard if the Python of the core lacks it, else an empty text."""
    python = Plugin.getPython()
    with contextlib.suppress(OSError):
        found = subprocess.run([python, "-c", _FIND], env=Plugin.getEnviron(), capture_output=True, check=False)
        if found.returncode == 0:
            return ""
    return f"TensorBoard is not installed. Install it with: {python} -m pip install tensorboard"


class TensorBoards:
    """The TensorBoard processes of this Scipion, one a folder; they end with it."""

    def __init__(self, browse: Callable[[str], Any] = webbrowser.open) -> None:
        """Set the function that shows an address."""
        self._browse = browse
        self._running: Dict[Path, subprocess.Popen] = {}
        self._addresses: Dict[Path, str] = {}
        self._watchers: Dict[Path, threading.Thread] = {}
        self._last: Dict[Path, str] = {}  # the last line that each has written
        atexit.register(self.stop)

    def open(self, folder: Path) -> None:
        """Show a folder of event files in the browser, as soon as TensorBoard has started."""
        running = self._running.get(folder)
        if running is not None and running.poll() is None:
            if folder in self._addresses:
                self._browse(self._addresses[folder])
            return
        words = [Plugin.getPython(), "-m", "tensorboard.main", "--logdir", str(folder), "--port", "0"]
        self._running[folder] = subprocess.Popen(
            words, env=Plugin.getEnviron(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8"
        )
        self._watchers[folder] = threading.Thread(target=self._watch, args=(folder, self._running[folder]), daemon=True)
        self._watchers[folder].start()

    def state(self, folder: Path) -> Tuple[str, bool]:
        """Return what to tell the user about an opened folder, and whether its dashboard is still starting."""
        is_alive = self._watchers[folder].is_alive()  # asked first: the address may come in between
        if folder in self._addresses:
            return f"TensorBoard runs at {self._addresses[folder]}", False
        if is_alive:
            return "Starting TensorBoard ...", True
        return f"TensorBoard did not start: {self._last[folder]}", False

    def stop(self) -> None:
        """End all processes."""
        for process in self._running.values():
            process.terminate()

    def _watch(self, folder: Path, process: subprocess.Popen) -> None:
        """Read what TensorBoard says: its address first; the rest is read so that it never waits for us."""
        self._last[folder] = ""
        for line in process.stderr:
            self._last[folder] = line.strip() or self._last[folder]
            found = _ADDRESS.search(line)
            if found and folder not in self._addresses:
                self._addresses[folder] = found.group(1)
                self._browse(found.group(1))
        if self._addresses.pop(folder, None) is None:
            logger.error("TensorBoard did not start: %s", self._last[folder])


BOARDS = TensorBoards()


class DashboardView(View):
    """View that opens the dashboard of a model folder in the browser."""

    def __init__(self, model: Path) -> None:
        self._folder = (model / DASHBOARD).resolve()

    def show(self) -> None:
        """Open the browser."""
        BOARDS.open(self._folder)

    def state(self) -> Tuple[str, bool]:
        """Return what to tell the user, and whether to ask again soon."""
        return BOARDS.state(self._folder)
