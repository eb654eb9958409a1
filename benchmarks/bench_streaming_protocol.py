# SPDX-License-Identifier: GPL-3.0-or-later
"""The screening protocol with a stand-in detector and a clock; imported when Scipion's folders are made."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

from pwem.objects import SetOfCoordinates, SetOfMicrographs
from pwem.protocols import EMProtocol
from pyworkflow.object import Pointer
from pyworkflow.project import Manager
from pyworkflow.protocol.executor import StepExecutor

from cryoice_scipion.core.config import ModelConfig, ScreenConfig, ViewConfig
from cryoice_scipion.core.records import MapResult, MicrographRecord, MicrographTask, PickScore, Reference
from cryoice_scipion.core.screening.options import RunOptions  # noqa: E402
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.protocols import CryoIceProtScreen
from cryoice_scipion.protocols.screen_input import ScreenInput
from cryoice_scipion.protocols.screen_outputs import ScreenOutputs


class DrawnScores:
    """An executor that draws what it says; it writes no maps."""

    fingerprint, device = "stand-in", "cpu"

    def __init__(self) -> None:
        self.model = ModelConfig(name="stand-in", views=[ViewConfig()])

    def map(self, task: MicrographTask, config: ScreenConfig, contrast: str, folder: Path) -> MapResult:
        return MapResult([4096, 4096], 1.0, 64.0, 0.0, -0.3, False, f".maps/{task.stem}.npz", "")

    def score(
        self, task: MicrographTask, result: MapResult, reference: Reference, config: ScreenConfig, folder: Path
    ) -> MicrographRecord:
        chance = random.Random(task.id)
        area, good = 0.1 * chance.random(), [chance.random() for _ in task.picks]
        scores = [
            PickScore(pick.id, one, "good" if one > 0.2 else "support", one > 0.2)
            for pick, one in zip(task.picks, good)
        ]
        areas = {"good": 1 - area, "support": area}
        return MicrographRecord(
            task.id, task.stem, task.path, "accepted", "", area, areas, scores, mask=f"masks/{task.stem}.mrc"
        )

    def close(self) -> None:
        pass


class StandIn(CryoIceProtScreen):
    """The protocol itself, but for its detector."""

    between: Callable[[Dict[str, float]], None]

    def _openRun(self, config: ScreenConfig) -> ScreeningRun:
        options = RunOptions(retry_failed=True, summary_every=self._batchSize())
        return ScreeningRun(self._folder(), config, [DrawnScores()], options)

    def _openInput(self, stems: Dict[str, int]) -> ScreenInput:
        source = super()._openInput(stems)
        look = source.look

        def timed() -> None:
            started = time.perf_counter()
            look()
            self._looked = time.perf_counter() - started

        source.look = timed  # type: ignore[method-assign]
        return source

    def _screenWaiting(self, run: ScreeningRun, source: ScreenInput, outputs: ScreenOutputs) -> None:
        started = time.perf_counter()
        while True:
            super()._screenWaiting(run, source, outputs)
            if not source.waiting:
                break
        if not source.closed:
            self.between({"look at the input": self._looked, "screen and hand on": time.perf_counter() - started})

    def _say(self, record: MicrographRecord) -> None:
        pass

    def _getStreamingSleepOnWait(self) -> float:
        return 0


class Source(EMProtocol):
    """Whose outputs the sets are."""


def make_project(folder: Path, pixel_size: float, box: int) -> Tuple[Any, StandIn]:
    """Return a project, and in it a protocol over the sets in ``folder``."""
    project = Manager().createProject("Load")
    os.chdir(project.path)
    source = project.newProtocol(Source)
    project.saveProtocol(source)
    source.makePathsAndClean()
    micrographs = SetOfMicrographs(filename=str(folder / "micrographs.sqlite"))
    coordinates = SetOfCoordinates(filename=str(folder / "coordinates.sqlite"))
    for output in (micrographs, coordinates):
        output.setStreamState(output.STREAM_OPEN)
    micrographs.setSamplingRate(pixel_size)
    coordinates.setBoxSize(box)
    source._defineOutputs(outputMicrographs=micrographs)
    coordinates.setMicrographs(Pointer(source, extended="outputMicrographs"))
    source._defineOutputs(outputCoordinates=coordinates)
    protocol = project.newProtocol(StandIn, useGpu=False, modelSource=0)
    protocol.inputCoordinates.set(source)
    protocol.inputCoordinates.setExtended("outputCoordinates")
    project.saveProtocol(protocol)
    protocol.makePathsAndClean()
    protocol.setStepsExecutor(StepExecutor(protocol.getHostConfig()))
    return project, protocol
