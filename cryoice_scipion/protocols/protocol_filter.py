# SPDX-License-Identifier: GPL-3.0-or-later
"""Protocol that scores new coordinates on the maps of an earlier screening."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable, Dict, List

from pwem.objects import SetOfCoordinates
from pyworkflow.protocol import STEPS_SERIAL

from cryoice_scipion import convert
from cryoice_scipion.constants import NO_MICROGRAPH, WAITING
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CryoIceError, counted, plural
from cryoice_scipion.core.maps.scoring import pick_threshold
from cryoice_scipion.core.records import MicrographRecord, MicrographTask, PickScore
from cryoice_scipion.core.results.run_folder import MICROGRAPHS, SUMMARY
from cryoice_scipion.core.results.run_reader import read_summary
from cryoice_scipion.core.results.run_sums import RunSums
from cryoice_scipion.core.results.stored_maps import StoredMaps
from cryoice_scipion.core.results.throughput import Throughput
from cryoice_scipion.core.screening.filter import scored
from cryoice_scipion.core.screening.tables import MicrographTable, summarise, write_summary
from cryoice_scipion.protocols.filter_form import FilterForm
from cryoice_scipion.protocols.fixed_input import FixedInput
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol
from cryoice_scipion.protocols.screen_input import Pairing, ScreenInput
from cryoice_scipion.protocols.screen_outputs import COORDINATES, PENDING, REJECTED, ScreenOutputs
from cryoice_scipion.protocols.screen_summary import filter_lines
from cryoice_scipion.streams import CoordinateReader, MicrographReader

_AT_ONCE = 20000  # coordinates that are scored before they are written


class CryoIceProtFilter(FilterForm, FixedInput, CryoIceProtocol):
    """Filters new picks with the maps of an earlier screening. It needs neither the model nor a GPU.

    Use it after picking again: with other settings, with another program, or after 2D classification. Each coordinate
    gets the goodness and class that *screen micrographs* would give it. The outputs are the kept, the rejected and the
    pending coordinates; every input coordinate is in exactly one set. Coordinates on micrographs that failed are
    rejected. Pending coordinates are on micrographs that have no map yet. *Continue* runs the filter again over all
    coordinates.
    """

    _label = "filter picks"
    _possibleOutputs = {COORDINATES: SetOfCoordinates, REJECTED: SetOfCoordinates, PENDING: SetOfCoordinates}
    stepsExecutionMode = STEPS_SERIAL  # one step, so no threads
    _fixed = ("inputCoordinates",)  # box size and micrographs of the outputs are those of the first run

    # ---- steps ----------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        # Continue repeats a step whose arguments have changed, so the time makes it filter again.
        self._insertFunctionStep(self.filterStep, time.time(), needsGPU=False)

    def filterStep(self, started: float) -> None:
        """Score all coordinates and write the outputs; those of an earlier run of this step are replaced."""
        with self._oneLine():
            maps = StoredMaps.read(self._screenedFolder())
            config = self._configFrom(maps.config)
            self._recordInput()
            source = self._readInput()
            outputs = self._openOutputs()
            tasks = [task for task in source.take(len(source.micrographs.rows), lambda task: False) if task.picks]
            self._refuseIfUnmatched(source, tasks)
            outputs.clear()
            pending = [PickScore(key, None, NO_MICROGRAPH, False) for key in source.unmatched()]
            known = {*maps.tasks, *maps.failed}
            for task in tasks:
                if task.id not in known:
                    pending += [PickScore(pick.id, None, WAITING, False) for pick in task.picks]
            self._score(maps, [task for task in tasks if task.id in known], config, source, outputs)
            outputs.append_pending(pending)
            outputs.finish([])

    def _score(
        self,
        maps: StoredMaps,
        tasks: List[MicrographTask],
        config: ScreenConfig,
        source: ScreenInput,
        outputs: ScreenOutputs,
    ) -> None:
        """Score the coordinates on micrographs with a map; write outputs, table and summary."""
        folder = self._folder()
        folder.mkdir(parents=True, exist_ok=True)
        threshold = pick_threshold(config.threshold, maps.model)
        sums, table = RunSums(threshold, maps.model), MicrographTable(folder / MICROGRAPHS)
        batch: List[MicrographRecord] = []
        for record in scored(maps, tasks, config):
            sums.add(record)
            table.note(record)
            batch.append(record)
            if sum(len(one.scores) for one in batch) >= _AT_ONCE:
                outputs.append(batch)
                batch = []
        outputs.append(batch)
        table.refresh()
        given = source.counts()
        finished = given.matched == sums.picks
        write_summary(folder / SUMMARY, summarise(sums, Throughput(), 0, given, maps.reference, finished))
        origin = "of the screening" if self.threshold.get() is None else "set in the form"
        self.summaryVar.set(f"threshold {threshold:g}, {origin}")

    def _readInput(self) -> ScreenInput:
        """Read both sets as they are now."""
        screening, coordinates = self.inputScreening.get(), self.inputCoordinates.get()
        screened, picked = screening.getInputMicrographs(), coordinates.getMicrographs()
        scale = picked.getSamplingRate() / screened.getSamplingRate()
        micrographs = MicrographReader(screening.getInputMicrographsPointer())
        pairing = None
        if Path(picked.getFileName()).resolve() != Path(screened.getFileName()).resolve():
            pairing = Pairing(MicrographReader(coordinates.getMicrographs(asPointer=True)), micrographs)
        source = ScreenInput(
            micrographs,
            CoordinateReader(self.inputCoordinates),
            screened.getSamplingRate(),
            scale,
            convert.box_size_of(coordinates) * scale,
            pairing,
        )
        while not source.seen:  # a set is locked while its protocol writes it
            source.look()
            time.sleep(0 if source.seen else 1)
        return source

    def _refuseIfUnmatched(self, source: ScreenInput, tasks: List[MicrographTask]) -> None:
        number = source.counts().rows
        if number and not tasks:
            reason = f"of {counted(number, 'coordinate')}, none is on a micrograph of the screening"
            raise CryoIceError("Coordinates", reason, "choose the screening of these micrographs")

    def _openOutputs(self) -> ScreenOutputs:
        suffixes = {COORDINATES: "", REJECTED: "Rejected", PENDING: "Pending"}
        make: Dict[str, Callable[[], Any]] = {
            name: lambda suffix=suffix: self._newCoordinates(suffix) for name, suffix in suffixes.items()
        }
        sources = dict.fromkeys(suffixes, self.inputCoordinates)
        return ScreenOutputs(self, str(self._folder()), sources, make, convert.CoordinateTransform())

    def _newCoordinates(self, suffix: str) -> SetOfCoordinates:
        coordinates = self.inputCoordinates.get()
        output = self._createSetOfCoordinates(coordinates.getMicrographs(asPointer=True), suffix)
        output.setBoxSize(coordinates.getBoxSize())
        return output

    def _folder(self) -> Path:
        return Path(self._getExtraPath("filter"))

    # ---- information ----------------------------------------------------------------------------------------

    def _validate(self) -> List[str]:
        screening, coordinates = self.inputScreening.get(), self.inputCoordinates.get()
        if screening is None or coordinates is None:
            return []  # pyworkflow reports missing inputs itself
        missing = self._missingMaps()
        if missing:
            return missing
        if coordinates.getMicrographs() is None:
            return ["The coordinates are not linked to micrographs. Pick or import them on a set of micrographs."]
        if not (coordinates.getBoxSize() or self.particleDiameter.get() or screening.particleDiameter.get()):
            return ["The coordinates have no box size. Enter 'Particle diameter (Å)'."]
        return self._validateContinued() + self._complaints(lambda: self._configFrom(ScreenConfig()))

    def _warnings(self) -> List[str]:
        return self._runningWarning("Coordinates on micrographs without a map will be pending.")

    def _summary(self) -> List[str]:
        summary = read_summary(self._folder())
        if summary is None or not self.hasAttribute(PENDING):
            return ["Not filtered yet."]
        return filter_lines(summary, self.summaryVar.get(""))

    def _methods(self) -> List[str]:
        if not all(self.hasAttribute(name) for name in self._possibleOutputs):
            return []
        kept, rejected = self.outputCoordinates.getSize(), self.outputCoordinatesRejected.getSize()
        return [
            f"Of {counted(kept + rejected, 'coordinate')}, {counted(kept, 'was', 'were')} kept "
            f"({self.summaryVar.get('')}) by {plural(kept, 'its', 'their')} position on the maps of bad area of an "
            "earlier screening [SanchezGarcia2020]."
        ]

    def _citations(self) -> List[str]:
        return ["SanchezGarcia2020"]
