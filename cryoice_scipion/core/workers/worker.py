# SPDX-License-Identifier: GPL-3.0-or-later
"""The child process that computes for a protocol: one JSON line a request on stdin, one JSON line an answer.

The first line it writes says that it is ready, or in one line why not. Answers go to a copy of stdout; stdout itself is
turned into stderr, so that whatever a library prints cannot be taken for an answer.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Optional

from cryoice_scipion.constants import VERSION
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.errors import CryoIceError, WorkerError
from cryoice_scipion.core.records import MapResult, MicrographTask, Reference, from_json, to_json
from cryoice_scipion.core.workers.interface import Executor

_PR_SET_PDEATHSIG = 1  # prctl(2)
_UPDATE = "install the same version for both interpreters"
log = logging.getLogger(__name__)


def serve(make_executor: Callable[[], Executor], requests: Optional[IO[str]] = None) -> int:
    """Answer requests until stdin ends; return the exit status.

    Parameters
    ----------
    make_executor : callable
        Loads the model. What it raises is the answer that says why the worker is not ready.
    """
    die_with_parent()
    answers = _private_stdout()
    try:
        executor = make_executor()
    except CryoIceError as error:
        _answer(answers, {"error": str(error)})
        return 1
    except Exception as error:  # the parent shows one line, whatever a driver or a library raises
        log.exception("the worker cannot start")
        _answer(answers, {"error": " ".join(f"worker: cannot start ({type(error).__name__}: {error})".split())})
        return 1
    model = executor.model.name
    _answer(answers, {"ready": True, "version": VERSION, "device": executor.device, "model": model, "pid": os.getpid()})
    print(f"cryoice: worker {os.getpid()} is ready on {executor.device}, model {model}", file=sys.stderr, flush=True)
    for line in requests or sys.stdin:
        if line.strip():
            _answer(answers, _reply(executor, line))
    executor.close()
    return 0


def die_with_parent() -> None:
    """Ask Linux to end this process with its parent; elsewhere the end of stdin has to do."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def problems(model: str, device: str, expected_version: str = "") -> List[str]:
    """Return what keeps a worker from starting, one line each; quick, loads no weights."""
    found = []
    for check in _checks(model, device, expected_version):
        try:
            check()
        except CryoIceError as error:
            found.append(str(error))
    return found


def _checks(model: str, device: str, expected_version: str) -> List[Callable[[], object]]:
    """Return what is checked before a worker starts; each raises a CryoIceError when it fails."""
    return [
        lambda: check_version(expected_version),
        lambda: load_config(resolve_model(model)),
        lambda: check_device(device),
    ]


def check_version(expected: str) -> None:
    """Make sure that this package is of the version that asks; an empty one asks for none.

    Raises
    ------
    WorkerError
        When it is not.
    """
    if expected and expected != VERSION:
        raise WorkerError("worker", f"is version {VERSION}, but {expected} is asking", _UPDATE)


def check_device(device: str) -> None:
    """Make sure that torch is there and sees the device; there is no silent fall-back to the CPU.

    Raises
    ------
    WorkerError
        When it does not.
    """
    try:
        import torch
    except Exception as error:  # a broken installation raises anything
        reason = " ".join(f"torch cannot be imported ({error})".split())
        raise WorkerError(
            sys.executable, reason, "install this package for this interpreter (python -m pip install .)"
        ) from None
    if device == "cpu":
        return
    kind, _, number = device.partition(":")
    if kind != "cuda" or not (number or "0").isdigit():
        raise WorkerError(device, "no such device", "give cpu, or cuda:0 and so on")
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= seen:
        raise WorkerError(
            device, f"this GPU is not there (torch {torch.__version__} sees {seen})", "choose another, or the CPU"
        )


def load_executor(model: str, device: str, expected_version: str = "") -> Executor:
    """Return the executor of a worker.

    Raises
    ------
    WorkerError, ModelError
        The first of :func:`problems`.
    """
    for check in _checks(model, device, expected_version):
        check()
    from cryoice_scipion.core.workers.local_executor import LocalExecutor

    return LocalExecutor.load(resolve_model(model), device)


def _reply(executor: Executor, line: str) -> Dict[str, Any]:
    request = json.loads(line)
    try:
        return {"id": request["id"], "result": _do(executor, request)}
    except CryoIceError as error:
        kind, parts = type(error).__name__, [error.what, error.reason, error.remedy]
        return {"id": request["id"], "error": str(error), "kind": kind, "parts": parts}
    except Exception as error:  # one bad micrograph must not end the worker
        if "CUDA" in str(error):  # nothing that follows in this process would be sound
            log.exception("the GPU failed")
            sys.stderr.flush()
            os._exit(70)
        log.exception("unexpected")
        text = " ".join(f"unexpected {type(error).__name__}: {error}".split())
        what = request.get("task", {}).get("path", "worker")
        return {"id": request["id"], "error": f"{what}: {text}", "kind": "CryoIceError", "parts": [what, text, ""]}


def _do(executor: Executor, request: Dict[str, Any]) -> Dict[str, Any]:
    task = from_json(MicrographTask, request["task"])
    config, folder = ScreenConfig.make(**request["config"]), Path(request["folder"])
    if request["verb"] == "map":
        return to_json(executor.map(task, config, request["contrast"], folder))
    if request["verb"] == "score":
        result, reference = from_json(MapResult, request["map"]), from_json(Reference, request["reference"])
        return to_json(executor.score(task, result, reference, config, folder))
    raise WorkerError("worker", f"knows no '{request['verb']}'", _UPDATE)


def _private_stdout() -> IO[str]:
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _answer(stream: IO[str], answer: Dict[str, Any]) -> None:
    stream.write(json.dumps(answer, separators=(",", ":")) + "\n")
    stream.flush()
