# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute for a protocol in a child process: requests on stdin and answers on stdout, one JSON line each.

The first line says that the worker is ready, or why it is not. Answers go to a copy of stdout. stdout itself is
redirected to stderr, so that a library's messages are not mixed with answers.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import resource
import signal
import sys
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Optional

from cryoice_scipion.constants import VERSION
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.errors import CryoIceError, WorkerError, one_line
from cryoice_scipion.core.records import MapResult, MicrographTask, Reference, from_json, to_json
from cryoice_scipion.core.workers.devices import find_device
from cryoice_scipion.core.workers.interface import Executor, is_device_lost, unexpected

_PR_SET_PDEATHSIG = 1  # prctl(2)
_UPDATE = "install the same version for both interpreters"
log = logging.getLogger(__name__)


def serve(make_executor: Callable[[], Executor], requests: Optional[IO[str]] = None) -> int:
    """Answer requests until stdin ends; return the exit status.

    Parameters
    ----------
    make_executor : callable
        Loads the model. An error that it raises is the first line: the reason why the worker is not ready.
    """
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal that is shared; the parent decides when this ends
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # at once, also while a driver hangs
    answers = _private_stdout()
    try:
        executor = make_executor()
    except CryoIceError as error:
        _answer(answers, {"error": str(error)})
        return 1
    except Exception as error:  # the parent shows one line for any error of a driver or library
        log.exception("the worker cannot start")
        _answer(answers, {"error": one_line(f"worker: cannot start ({type(error).__name__}: {error})")})
        return 1
    model = executor.model.name
    _answer(answers, {"ready": True, "version": VERSION, "device": executor.device, "model": model, "pid": os.getpid()})
    print(f"cryoice: worker {os.getpid()} is ready on {executor.device}, model {model}", file=sys.stderr, flush=True)
    for line in requests or sys.stdin:
        if line.strip():
            _answer(answers, reply(executor, json.loads(line)))
    executor.close()
    return 0


def die_with_parent() -> None:
    """Ask Linux to end this process with its parent; elsewhere it ends when stdin is closed."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def limit_memory(gigabytes: float) -> None:
    """Let allocations fail above this amount of main memory (Linux; elsewhere the system may ignore it)."""
    limit = int(gigabytes * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # not RLIMIT_AS: drivers of GPUs reserve much more


def problems(model: str, device: str, expected_version: str = "") -> List[str]:
    """Return the problems that keep a worker from starting, one line each; loads no weights."""
    found = []
    for check in _checks(model, device, expected_version):
        try:
            check()
        except CryoIceError as error:
            found.append(str(error))
    return found


def _checks(model: str, device: str, expected_version: str) -> List[Callable[[], object]]:
    """Return the checks before a worker starts; each raises a CryoIceError if it fails."""
    return [
        lambda: check_version(expected_version),
        lambda: load_config(resolve_model(model)),
        lambda: find_device(device),
    ]


def check_version(expected: str) -> None:
    """Make sure that this package has the version of the parent; an empty string skips the check.

    Raises
    ------
    WorkerError
        If the versions differ.
    """
    if expected and expected != VERSION:
        raise WorkerError("worker", f"is version {VERSION}, but the plugin is version {expected}", _UPDATE)


def load_executor(model: str, device: str, expected_version: str = "") -> Executor:
    """Return the executor of a worker.

    Raises
    ------
    WorkerError, ModelError
        The first problem that the checks find.
    """
    for check in _checks(model, device, expected_version):
        check()
    from cryoice_scipion.core.workers.local_executor import LocalExecutor

    return LocalExecutor.load(resolve_model(model), find_device(device))


def reply(executor: Executor, request: Dict[str, Any]) -> Dict[str, Any]:
    """Do one request and return its answer, which is an error if it fails."""
    try:
        return {"id": request.get("id"), "result": _do(executor, request)}
    except CryoIceError as error:
        return _refusal(request, error)
    except Exception as error:  # one bad micrograph must not end the worker
        log.exception("unexpected")
        if is_device_lost(error):  # later results of this process would be unreliable
            sys.stderr.flush()
            os._exit(70)
        return _refusal(request, unexpected(request.get("task", {}).get("path", "worker"), error))


def _refusal(request: Dict[str, Any], error: CryoIceError) -> Dict[str, Any]:
    """Return the answer to a request that failed."""
    parts = [error.what, error.reason, error.remedy]
    return {"id": request.get("id"), "error": str(error), "kind": type(error).__name__, "parts": parts}


def _do(executor: Executor, request: Dict[str, Any]) -> Dict[str, Any]:
    task = from_json(MicrographTask, request["task"])
    config, folder = ScreenConfig.make(**request["config"]), Path(request["folder"])
    if request["verb"] == "map":
        return to_json(executor.map(task, config, request["contrast"], folder))
    if request["verb"] == "score":
        result, reference = from_json(MapResult, request["map"]), from_json(Reference, request["reference"])
        return to_json(executor.score(task, result, reference, config, folder))
    if request["verb"] == "screen":
        reference = from_json(Reference, request["reference"])
        result = executor.map(task, config, reference.contrast, folder)
        return {"map": to_json(result), "record": to_json(executor.score(task, result, reference, config, folder))}
    raise WorkerError("worker", f"knows no '{request['verb']}'", _UPDATE)


def _private_stdout() -> IO[str]:
    """Return a copy of stdout, and redirect stdout to stderr."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _answer(stream: IO[str], answer: Dict[str, Any]) -> None:
    stream.write(json.dumps(answer, separators=(",", ":")) + "\n")
    stream.flush()
