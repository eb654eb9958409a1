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
from typing import Any, Callable, Dict

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
        threading.Thread(target=self._watch, args=(folder, self._running[folder]), daemon=True).start()

    def stop(self) -> None:
        """End all processes."""
        for process in self._running.values():
            process.terminate()

    def _watch(self, folder: Path, process: subprocess.Popen) -> None:
        """Read what TensorBoard says: its address first; the rest is read so that it never waits for us."""
        last = ""
        for line in process.stderr:
            last = line.strip() or last
            found = _ADDRESS.search(line)
            if found and folder not in self._addresses:
                self._addresses[folder] = found.group(1)
                self._browse(found.group(1))
        if self._addresses.pop(folder, None) is None:
            logger.error("TensorBoard did not start: %s", last)


BOARDS = TensorBoards()


class DashboardView(View):
    """View that opens the dashboard of a model folder in the browser."""

    def __init__(self, model: Path) -> None:
        self._folder = (model / DASHBOARD).resolve()

    def show(self) -> None:
        """Open the browser."""
        BOARDS.open(self._folder)
