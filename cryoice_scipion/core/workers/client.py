# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a worker process and send it requests. A dead worker is distinguished from a failed micrograph. No torch."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, Dict, List, Optional, Sequence, Tuple

from pydantic import Field

from cryoice_scipion.constants import BINARY, CRYOICE_PYTHON, VERSION
from cryoice_scipion.core.config import Settings
from cryoice_scipion.core.detectors.model_folder import MODEL_JSON, fingerprint, load_config, resolve_model
from cryoice_scipion.core.errors import CryoIceError, WorkerError
from cryoice_scipion.core.images.atomic import open_no_link
from cryoice_scipion.core.results.run_folder import writing
from cryoice_scipion.core.workers.interface import WorkerDied
from cryoice_scipion.core.workers.requests import RemoteExecutor

START_LIMIT = 300.0  # s: a cold file system takes minutes to load torch
ANSWER_LIMIT = 600.0  # s, enough for the slowest machine; a worker that takes longer hangs, and the others wait for it
CHECK_LIMIT = 120.0  # s
STARTS = 3  # attempts, because the system may end a worker when memory is short
_CHECKED: Dict[Tuple[str, str, float, str], List[str]] = {}
_CHECKING = threading.Lock()


class Limits(Settings):
    """What a worker may use for one micrograph."""

    item_timeout: float = Field(ANSWER_LIMIT, ge=1)  # s; a worker that does not answer by then is ended
    memory_limit: Optional[float] = Field(None, ge=1)  # GB of main memory; None: no limit

    @classmethod
    def given(cls, **values: Optional[float]) -> Limits:
        """Return the limits of an option or a field of a form; None: the default.

        Raises
        ------
        SettingsError
            When a limit is too small.
        """
        return cls.make(**{name: value for name, value in values.items() if value is not None})


def worker_command(python: str, model: str, device: str, memory: Optional[float] = None) -> List[str]:
    """Return the shell words that start a worker; ``memory`` is its limit in GB, None: no limit."""
    options = ["--model", model, "--device", device, "--expect-version", VERSION]
    options += ["--memory-limit", f"{memory:g}"] if memory else []
    # PYTHONPATH names packages for Scipion's interpreter, which another one must not import.
    isolation = [] if Path(python).absolute() == Path(sys.executable).absolute() else ["-E"]
    return [python, *isolation, "-m", "cryoice_scipion.core", "worker", *options]


class WorkerClient(RemoteExecutor):
    """Compute in a child process, which is started when it is needed."""

    def __init__(
        self,
        python: str,
        model: str,
        device: str,
        log_path: Path,
        command: Optional[Sequence[str]] = None,
        limits: Optional[Limits] = None,
    ) -> None:
        """Read the model's settings; the first request starts the child.

        Parameters
        ----------
        python : str
            The interpreter that runs the core.
        model : str
            Name or folder.
        device : str
            "cpu", "cuda:N" or "auto"; the attribute ``device`` names the one that the child uses once it has started.
        log_path : pathlib.Path
            The child's messages are appended to it.
        command : sequence of str, optional
            A command to use instead of :func:`worker_command`.
        limits : Limits, optional
            Time and memory; None: the defaults.

        Raises
        ------
        ModelError
            When the model folder is missing or damaged.
        """
        folder, limits = resolve_model(model), limits or Limits()
        self.model, self.fingerprint, self.device = load_config(folder), fingerprint(folder), device
        self._command = list(command or worker_command(python, str(folder), device, limits.memory_limit))
        self._log_path, self._limit = Path(log_path), limits.item_timeout
        self._child: Optional[subprocess.Popen[str]] = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """End the child by closing its stdin; kill it if it has not ended after 5 s."""
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(OSError):
            _pipe(child.stdin).close()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def start(self) -> Dict[str, Any]:
        """Start the child and return its first line: version, device, model and process id.

        Raises
        ------
        WorkerError
            If it does not get ready, with its own message. A child that ends without one is started again first.
        """
        for left in reversed(range(STARTS)):
            try:
                return self._start()
            except WorkerDied as error:
                if not left:
                    reason = f"could not start on {self.device} ({error.reason})"
                    raise WorkerError("worker", reason, error.remedy) from None
        raise AssertionError

    def _start(self) -> Dict[str, Any]:
        self._answers = queue.Queue()
        with writing(self._log_path.parent):
            log = open_no_link(self._log_path, os.O_WRONLY | os.O_APPEND)
        try:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C in the terminal does not end it: this process decides
            )
        except OSError as error:
            raise WorkerError(
                self._command[0], f"cannot be started ({error.strerror})", f"check {CRYOICE_PYTHON}"
            ) from None
        finally:
            os.close(log)
        threading.Thread(target=_pump, args=(_pipe(self._child.stdout), self._answers), daemon=True).start()
        said = self._receive(START_LIMIT)
        if "error" in said:
            self._end()
            raise WorkerError(f"worker on {self.device}", str(said["error"]))
        if said.get("version") != VERSION:
            self._end()
            raise WorkerError("worker", f"is version {said.get('version')}, not {VERSION}", "install the same version")
        self.device = str(said.get("device", self.device))
        return said

    def send(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Send one request and return the answer; start the child if it does not run, or has ended between requests."""
        if self._child is not None and self._child.poll() is not None:
            self._end()
        if self._child is None:
            self.start()
        number = next(self._numbers)
        try:
            stream = _pipe(self._child.stdin if self._child else None)
            stream.write(json.dumps({"id": number, **request}, separators=(",", ":")) + "\n")
            stream.flush()
        except OSError:
            raise self._died("ended") from None
        answer = self._receive(self._limit)
        if answer.get("id") != number:
            raise self._died(f"answered {answer.get('id')} to request {number}")
        return answer

    def _receive(self, limit: float) -> Dict[str, Any]:
        """Return the child's next line; raise WorkerDied if none comes within ``limit`` seconds."""
        try:
            line = self._answers.get(timeout=limit)
        except queue.Empty:
            raise self._died(f"did not answer within {limit:.0f} s") from None
        if not line.endswith("\n"):
            raise self._died("ended")
        try:
            answer: Dict[str, Any] = json.loads(line)
        except ValueError:
            raise self._died("wrote a line that is no answer") from None
        return answer

    def _died(self, how: str) -> WorkerDied:
        """End the child and return the error that says how it ended."""
        status = self._end()
        if how == "ended":
            how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        return WorkerDied("worker", how, f"see {self._log_path}")

    def _end(self) -> int:
        """End the child now and return its exit status."""
        child, self._child = self._child, None
        if child is None:
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(1)  # its own exit status is reported, not the signal sent below
        child.kill()
        return child.wait()


def check_worker(python: str, model: str, device: str) -> List[str]:
    """Return the problems that keep a worker from starting, one line each.

    A good result is remembered for each interpreter, model (with its modification time) and device, because forms call
    this often. A check that :func:`begin_checks` has begun is awaited, not repeated.
    """
    try:
        folder = resolve_model(model)
        stamp = (folder / MODEL_JSON).stat().st_mtime
    except CryoIceError as error:
        return [str(error)]
    key = (python, str(folder), stamp, device)
    with _CHECKING:
        if key not in _CHECKED:
            _CHECKED[key] = _check([*worker_command(python, str(folder), device), "--check"])
            if _CHECKED[key]:
                return _CHECKED.pop(key)  # checked again next time, because the user corrects it meanwhile
        return _CHECKED[key]


def begin_checks(python: str, model: str, devices: Sequence[str]) -> None:
    """Check workers in the background, because importing torch takes seconds; :func:`check_worker` then need not."""

    def check() -> None:
        for device in devices:
            check_worker(python, model, device)

    if not _CHECKING.locked():
        threading.Thread(target=check, daemon=True).start()


def _check(command: Sequence[str]) -> List[str]:
    """Run the worker's own check and return the problems that it finds."""
    python = command[0]
    remedy = (
        f"set {CRYOICE_PYTHON} to an interpreter in which this package is installed (python -m pip install .), or make "
        f"the plugin's environment anew (scipion3 uninstallb {BINARY}-{VERSION}, then scipion3 installb {BINARY})"
    )
    try:
        finished = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CHECK_LIMIT
        )
    except OSError as error:
        return [f"{python}: cannot be started ({error.strerror}); {remedy}"]
    except subprocess.TimeoutExpired:
        return [f"{python}: did not answer within {CHECK_LIMIT:.0f} s; {remedy}"]
    try:
        found: List[str] = json.loads(finished.stdout)["problems"]
    except (ValueError, KeyError, TypeError):
        last = (finished.stderr.strip().splitlines() or [f"status {finished.returncode}"])[-1]
        return [f"{python}: cannot run the core ({last}); {remedy}"]
    return found


def _pump(stream: IO[str], answers: queue.Queue[str]) -> None:
    """Put the child's lines into the queue; an empty one marks the end."""
    with contextlib.suppress(OSError, ValueError):
        for line in stream:
            answers.put(line)
    answers.put("")


def _pipe(stream: Optional[IO[str]]) -> IO[str]:
    if stream is None:
        raise BrokenPipeError
    return stream
