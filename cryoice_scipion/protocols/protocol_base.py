# SPDX-License-Identifier: GPL-3.0-or-later
"""Base class of the protocols: run the core, define the GPU parameters, and report errors in one line."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sqlite3
from pathlib import Path
from typing import Any, Callable, Iterator, List

from pwem.protocols import EMProtocol
from pyworkflow.exceptions import PyworkflowException
from pyworkflow.mapper.sqlite import SqliteFlatMapperException
from pyworkflow.protocol import params

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.plugin import Plugin

logger = logging.getLogger(__name__)


class CryoIceProtocol(EMProtocol):
    """Base class of the protocols."""

    _label = None  # pyworkflow's mark of a base class

    # Report an error of the core in one line, without a traceback, in the log and in the form.
    @staticmethod
    @contextlib.contextmanager
    def _oneLine() -> Iterator[None]:
        try:
            yield
        except CryoIceError as error:
            raise PyworkflowException(str(error)) from None

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Lock an output while it is written, and report a failure in one line."""
        with self._lock:
            try:
                yield
            except (sqlite3.OperationalError, BlockingIOError) as error:
                remedy = "free disk space or set write permission"
                if "locked" in str(error):
                    remedy = "close all programs that have this set or the input open"
                raise PyworkflowException(
                    f"{name}: cannot be written ({error}); {remedy}, then press Continue"
                ) from error

    # Scipion drops and recreates the tables of the steps one by one. If it is killed in between, it can never read them
    # again, and every Continue fails. So we keep the old file until the new one is complete.
    def _storeSteps(self) -> None:
        kept = self._keptSteps()
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.getStepsFile(), kept)
        super()._storeSteps()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(kept)

    def _run(self) -> None:
        kept, path = self._keptSteps(), self.getStepsFile()
        if os.path.exists(kept):
            for rest in ("-journal", "-wal", "-shm"):  # of the new file; sqlite would apply them to the old one
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path + rest)
            os.replace(kept, path)
        super()._run()

    def _keptSteps(self) -> str:
        return str(self.getStepsFile()) + ".before"

    def loadSteps(self) -> List[Any]:
        """Return the steps of the previous run; none if their file is damaged."""
        try:
            return super().loadSteps()
        except (SqliteFlatMapperException, sqlite3.DatabaseError) as error:
            logger.warning("%s: damaged (%s); all steps are run again", self.getStepsFile(), error)
            return []

    def _complaints(self, *checks: Callable[[], Any]) -> List[str]:
        """Run checks of the core and return what each that fails complains of, for ``_validate``."""
        found = []
        for check in checks:
            try:
                check()
            except CryoIceError as error:
                faults = getattr(error, "faults", ())
                found += [f"{self._labelOf(name)} {words}." for name, words in faults] or [str(error)]
        return found

    def _validateNotNegative(self, *names: str) -> List[str]:
        """Return a complaint about each of these parameters that is below 0."""
        values = [(name, getattr(self, name).get()) for name in names]
        return [
            f"{self._labelOf(name)} must be 0 or more ({value:g} is given)."
            for name, value in values
            if value is not None and value < 0
        ]

    # Parameters whose names differ from those of the settings of the core.
    _NAMES = {
        "margins": "classMargins",
        "ignore": "ignoreClasses",
        "reference": "referenceMicrographs",
        "batch": "batchSize",
        "validation": "validationShare",
        "hold_out": "holdOut",
    }

    def _labelOf(self, setting: str) -> str:
        """Return the label in the form of a setting of the core, in quotes."""
        if not setting:
            return "Settings:"
        name = setting.split(".")[-1]
        first, *others = name.split("_")
        parameter = self.getParam(self._NAMES.get(name, first + "".join(word.capitalize() for word in others)))
        return f"'{parameter.label.get() if parameter is not None else name}'"

    def runCore(self, *arguments: Any) -> None:
        """Run a cryoice command with CRYOICE_PYTHON; its output goes to the log of the run, its error to the form."""
        words = " ".join(shlex.quote(str(word)) for word in ("-m", "cryoice_scipion.core") + arguments)
        log = Path(self.getStderrLog())
        before = log.stat().st_size if log.exists() else 0
        try:
            self.runJob(shlex.quote(Plugin.getPython()), words, env=Plugin.getEnviron(), numberOfMpi=1)
        except Exception as error:
            if isinstance(error, PyworkflowException):
                raise
            reason = _last_line(log, before, f"cryoice {arguments[0]}: ")
            raise PyworkflowException(
                reason or f"cryoice {arguments[0]} failed ({error}); see the last lines of run.stdout and run.stderr"
            ) from None

    def _validateOptional(self, *names: str) -> List[str]:
        """Return an error for each optional input whose protocol has not made it yet; the scheduler then waits."""
        awaited = [name for name in names if getattr(self, name).hasValue() and getattr(self, name).get() is None]
        remedy = "is chosen, but does not exist yet. Wait for its protocol, or leave it empty."
        return [f"'{self.getParam(name).label.get()}' {remedy}" for name in awaited if self.evalParamCondition(name)]

    def getDevices(self) -> List[str]:
        """Return the torch names of the devices selected in the form."""
        if not self.useGpu.get():
            return ["cpu"]
        gpus = self.getGpuList()
        # A queue system assigns GPUs with CUDA_VISIBLE_DEVICES, and torch then counts them from 0.
        return [f"cuda:{gpu}" for gpu in (range(len(gpus)) if self._computesInJob() else gpus)]

    def _computesInJob(self) -> bool:
        """Return whether the computations run in a job of a queue, perhaps on another machine."""
        return bool(self.useQueue())

    def _validateDevices(self) -> List[str]:
        try:
            gpus = self.getGpuList()
        except (ValueError, TypeError):  # Scipion reads them even if no GPU is used
            given = self.gpuList.get() or ""
            return [f"GPU IDs: {given!r} is no list of numbers. Enter the IDs of the GPUs, for example 0 or 0,1."]
        if self.useGpu.get() and not (Plugin.seesGpu() or self._computesInJob()):
            return ["GPU IDs: no NVIDIA GPU was found on this machine. Choose No."]
        if self.useGpu.get() and not gpus:
            return ["GPU IDs is empty. Enter the IDs of the GPUs to use, for example 0 or 0,1."]
        return []

    @staticmethod
    def _defineGpuParams(form: Any, use: str) -> None:
        form.addHidden(
            params.USE_GPU,
            params.BooleanParam,
            default=Plugin.seesGpu(),
            label="Use GPU?",
            help="*Yes*: compute on NVIDIA GPUs. *No*: compute on the CPU. Default: Yes if a GPU is found.",
        )
        form.addHidden(params.GPU_LIST, params.StringParam, default="0", label="GPU IDs", help=use)


def _last_line(log: Path, offset: int, start: str) -> str:
    """Return the last line of a log, after ``offset`` bytes, that begins with ``start``; empty if there is none."""
    try:
        text = log.read_bytes()[offset:].decode("utf-8", "replace")
    except OSError:
        return ""
    return next((line for line in reversed(text.splitlines()) if line.startswith(start)), "")
