# SPDX-License-Identifier: GPL-3.0-or-later
"""What our protocols share: running the core, and telling a user's mistake in one line."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sqlite3
from typing import Any, Callable, Iterator, List

from pwem.protocols import EMProtocol
from pyworkflow.exceptions import PyworkflowException
from pyworkflow.mapper.sqlite import SqliteFlatMapperException
from pyworkflow.protocol import params

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.plugin import Plugin

logger = logging.getLogger(__name__)


class CryoIceProtocol(EMProtocol):
    """Base of the protocols: a thin shell around the core."""

    _label = None  # pyworkflow's mark of a base class

    # One line of the core, without a traceback, in the log and in the form.
    @staticmethod
    @contextlib.contextmanager
    def _oneLine() -> Iterator[None]:
        try:
            yield
        except CryoIceError as error:
            raise PyworkflowException(str(error)) from None

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Keep other threads away while an output is written, and say in one line what went wrong."""
        with self._lock:
            try:
                yield
            except (sqlite3.OperationalError, BlockingIOError) as error:
                remedy = "free some space or give write permission"
                if "locked" in str(error):
                    remedy = "close what has this set or the input open"
                raise PyworkflowException(
                    f"{name}: cannot be written ({error}); {remedy}, then press Continue"
                ) from error

    # Scipion drops and makes the tables of the steps one by one: killed in between, it could never read them again, and
    # every Continue failed. The file of before is kept until the new one is whole; what is done is not done again.
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
            for rest in ("-journal", "-wal", "-shm"):  # of the new file: sqlite would write them into the old one
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path + rest)
            os.replace(kept, path)
        super()._run()

    def _keptSteps(self) -> str:
        return str(self.getStepsFile()) + ".before"

    def loadSteps(self) -> List[Any]:
        """Return the steps of the run before; none when their file is damaged."""
        try:
            return super().loadSteps()
        except (SqliteFlatMapperException, sqlite3.DatabaseError) as error:
            logger.warning("%s: damaged (%s); every step is done again", self.getStepsFile(), error)
            return []

    @staticmethod
    def _complaints(*checks: Callable[[], Any]) -> List[str]:
        """Return the line of each check of the core that fails, for ``_validate``."""
        found = []
        for check in checks:
            try:
                check()
            except CryoIceError as error:
                found.append(str(error))
        return found

    def runCore(self, *arguments: Any) -> None:
        """Run a command of the core under CRYOICE_PYTHON; its output goes to the run's log."""
        words = " ".join(shlex.quote(str(word)) for word in ("-m", "cryoice_scipion.core") + arguments)
        try:
            self.runJob(shlex.quote(Plugin.getPython()), words, env=Plugin.getEnviron(), numberOfMpi=1)
        except Exception as error:
            if isinstance(error, PyworkflowException):
                raise
            raise PyworkflowException(
                f"cryoice {arguments[0]} did not succeed ({error}); the last lines of run.stdout and run.stderr say why"
            ) from None

    def getDevices(self) -> List[str]:
        """Return the devices that the form asks for, as torch names them."""
        if not self.useGpu.get():
            return ["cpu"]
        gpus = self.getGpuList()
        # A queue hands out GPUs through CUDA_VISIBLE_DEVICES, and they are then counted from 0.
        return [f"cuda:{gpu}" for gpu in (range(len(gpus)) if self.useQueue() else gpus)]

    def _validateDevices(self) -> List[str]:
        if self.useGpu.get() and not Plugin.seesGpu():
            return ["There is no GPU on this machine; set 'Use GPU' to No."]
        if self.useGpu.get() and not self.getGpuList():
            return ["No GPU is named; give the numbers of the GPUs, such as 0 or 0,1."]
        return []

    @staticmethod
    def _defineGpuParams(form: Any, use: str) -> None:
        form.addHidden(
            params.USE_GPU,
            params.BooleanParam,
            default=Plugin.seesGpu(),
            label="Use GPU?",
            help="Yes: an NVIDIA GPU does the computing, and the run is refused where there is none. "
            "No: the processor does. Preset to whether a GPU is seen on this machine.",
        )
        form.addHidden(params.GPU_LIST, params.StringParam, default="0", label="GPU IDs", help=use)
