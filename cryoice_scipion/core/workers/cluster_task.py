# SPDX-License-Identifier: GPL-3.0-or-later
"""Do requests in a Dask worker, which keeps each model that it has loaded."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from pathlib import Path
from typing import Any, Dict

from cryoice_scipion.core.detectors.model_folder import fingerprint, resolve_model
from cryoice_scipion.core.errors import CryoIceError, ModelError, WorkerError, one_line
from cryoice_scipion.core.results.run_folder import JOURNAL
from cryoice_scipion.core.workers.interface import Executor
from cryoice_scipion.core.workers.worker import load_executor, reply

_LOADING = threading.Lock()


def work(setup: Dict[str, Any], request: Dict[str, Any]) -> Dict[str, Any]:
    """Return the answer to a request; "refused" has the reason if this worker cannot serve the run.

    Parameters
    ----------
    setup : dict
        The arguments of :func:`load`, and ``patience``: seconds to wait for a file that the parent sees.
    request : dict
        See ``RemoteExecutor``, and ``file``: the micrograph's file if the parent sees it.
    """
    options = dict(setup)
    patience = options.pop("patience")
    try:
        with _LOADING:
            executor = load(**options)
        _await_file(Path(request["folder"], JOURNAL), patience)
        if request["file"]:
            _await_file(Path(request["file"]), patience)
    except CryoIceError as error:
        return {"refused": str(error)}
    except Exception as error:  # of a driver or library
        return {"refused": one_line(f"cannot start ({type(error).__name__}: {error})")}
    return reply(executor, request)


@functools.lru_cache(maxsize=8)
def load(model: str, expected_fingerprint: str, device: str, threads: int, version: str) -> Executor:
    """Load a model, and make sure that it is the one of the run.

    Raises
    ------
    WorkerError, ModelError
        When this package has another version, the device is not there, or the model is missing, damaged or another.
    """
    executor = load_executor(model, device, version)
    if fingerprint(resolve_model(model)) != expected_fingerprint:
        raise ModelError(model, "differs from the model of the run", "copy the same model folder to every node")
    if executor.device == "cpu":
        import torch

        torch.set_num_threads(threads)
    return executor


def _await_file(path: Path, seconds: float) -> None:
    """Wait until a file is visible, because network file systems show new files late.

    Raises
    ------
    WorkerError
        When a file that the parent sees is not here.
    """
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() >= end:
            raise WorkerError(path, "there is no such file on this machine", "use a file system that all nodes share")
        with contextlib.suppress(OSError):
            os.listdir(path.parent)  # lets NFS look again
        time.sleep(min(1.0, seconds / 4))
