# SPDX-License-Identifier: GPL-3.0-or-later
"""Micrographs and picks -> those worth keeping, and the others."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from pwem.objects import SetOfCoordinates, SetOfMicrographs
from pyworkflow.exceptions import PyworkflowException

from cryoice_scipion import convert
from cryoice_scipion.constants import DEFAULT_MODEL, KEEP_ALL
from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.errors import CryoIceError, SettingsError
from cryoice_scipion.core.networks.bundle import CARD, load_config, resolve_model
from cryoice_scipion.core.records import Judgement, MicrographTask
from cryoice_scipion.core.screening.client import WorkerClient, check_worker
from cryoice_scipion.core.screening.folder import JOURNAL
from cryoice_scipion.core.screening.recorded import read_judgements, read_summary
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.plugin import Plugin
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol
from cryoice_scipion.protocols.screen_form import (
    CONTRASTS,
    MICS_OTHER,
    MODEL_DEFAULT,
    MODEL_OBJECT,
    SCALE_MICROGRAPHS,
    ScreenForm,
)

OUTPUT_COORDINATES = "outputCoordinates"
OUTPUT_REJECTED = "outputCoordinatesRejected"
OUTPUT_MICROGRAPHS = "outputMicrographs"
OUTPUT_DISCARDED = "outputMicrographsDiscarded"

#: Where a run's files lie, below the protocol's folder.
FOLDER = ("extra", "screening")

logger = logging.getLogger(__name__)


class CryoIceProtScreen(ScreenForm, CryoIceProtocol):
    """Finds ice, contamination and support in micrographs, and cleans picks and micrographs of it.

    Between picking and extraction: each micrograph is mapped by a trained detector, each coordinate gets a goodness
    (1 clean .. 0 bad) over the disc of its particle, and coordinates and micrographs are handed on in two sets each:
    those to keep, and the others. Nothing is lost: what comes in is in exactly one of the two.
    """

    _label = "screen micrographs"
    _possibleOutputs = {
        OUTPUT_COORDINATES: SetOfCoordinates,
        OUTPUT_REJECTED: SetOfCoordinates,
        OUTPUT_MICROGRAPHS: SetOfMicrographs,
        OUTPUT_DISCARDED: SetOfMicrographs,
    }

    # ---- steps ----------------------------------------------------------------------------------------------
    # Few and long ones: what is done is known by the journal in the run's folder, not by steps.

    def _insertAllSteps(self) -> None:
        # The settings are an argument so that a changed form is not taken for a finished step.
        self._insertFunctionStep(self.screenStep, self._getConfig().to_text(), needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, needsGPU=False)

    def screenStep(self, settings: str) -> None:
        """Let the engine screen everything that its journal does not have yet."""
        with self._oneLine():
            tasks, unmatched = self._readInput()
            with self._openRun(ScreenConfig.model_validate_json(settings), unmatched) as run:
                for judgement in run.process(tasks):
                    self._say(judgement)

    def _openRun(self, config: ScreenConfig, unmatched: int) -> ScreeningRun:
        """Return the engine at work in this run's folder; a run that is there is continued."""
        python, log, folder = Plugin.getPython(), Path(self.getStderrLog()), self._folder()
        workers = [WorkerClient(python, self._getModel(), device, log) for device in self.getDevices()]
        resume = (folder / JOURNAL).is_file()
        try:
            return ScreeningRun(folder, config, workers, logger, resume, unmatched=unmatched, card=self._card())
        except SettingsError as error:
            raise SettingsError(error.what, error.reason, "set them back, or choose Restart") from None

    def createOutputStep(self) -> None:
        """Make the four sets from the journal; what an interrupted earlier attempt left is replaced."""
        judgements = {judgement.id: judgement for judgement in read_judgements(self._folder())}
        missing = [key for key in self.getInputMicrographs().getIdSet() if key not in judgements]
        if missing:
            raise PyworkflowException(f"{len(missing)} micrographs are not screened ({missing[:5]}); press Continue")
        self._createCoordinates(judgements)
        self._createMicrographs(judgements)

    def _createCoordinates(self, judgements: Dict[int, Judgement]) -> None:
        scores = {score.id: score for judgement in judgements.values() for score in judgement.scores}
        coordinates, pointer = self.inputCoordinates.get(), self._outputMicrographsPointer()
        sets = {}
        for name, suffix in ((OUTPUT_COORDINATES, ""), (OUTPUT_REJECTED, "Rejected")):
            sets[name] = self._createSetOfCoordinates(pointer, suffix)
            sets[name].setBoxSize(int(round(coordinates.getBoxSize() * self._outputScale())))
        convert.write_coordinates(coordinates, scores, self._placing(), sets[OUTPUT_COORDINATES], sets[OUTPUT_REJECTED])
        self._hand(sets, self.inputCoordinates)

    def _createMicrographs(self, judgements: Dict[int, Judgement]) -> None:
        micrographs, sets = self.getInputMicrographs(), {}
        for name, suffix in ((OUTPUT_MICROGRAPHS, ""), (OUTPUT_DISCARDED, "Discarded")):
            sets[name] = self._createSetOfMicrographs(suffix)
            sets[name].copyInfo(micrographs)
        convert.write_micrographs(
            micrographs, judgements, str(self._folder()), sets[OUTPUT_MICROGRAPHS], sets[OUTPUT_DISCARDED]
        )
        self._hand(sets, self.getInputMicrographsPointer())

    def _hand(self, sets: Dict[str, Any], source: Any) -> None:
        self._defineOutputs(**sets)
        for output in sets.values():
            self._defineSourceRelation(source, output)

    def _say(self, judgement: Judgement) -> None:
        words = f"{judgement.stem}: {judgement.status}, {judgement.kept} of {len(judgement.scores)} picks kept"
        self.info(f"{words} ({judgement.reason})" if judgement.reason else words)

    # ---- input ----------------------------------------------------------------------------------------------

    def _readInput(self) -> Tuple[List[MicrographTask], int]:
        """Return what is to be screened, and how many coordinates are of micrographs that are not there."""
        micrographs = self.getInputMicrographs()
        rows = convert.read_micrographs(micrographs)
        pairs = self._pairs()
        picks = convert.picks_of(self.inputCoordinates.get(), self.getBoxScale(), pairs)
        tasks = convert.screening_tasks(rows, picks, micrographs.getSamplingRate())
        unmatched = self.inputCoordinates.get().getSize() - sum(len(task.picks) for task in tasks)
        if unmatched:
            self.warning(f"{unmatched} coordinates are of micrographs that are not there; they are rejected, unscored")
        return tasks, unmatched

    def _pairs(self) -> Optional[Dict[int, int]]:
        """Return micrograph id of a coordinate -> id of the screened micrograph; None: the same."""
        if not self._hasOtherMicrographs():
            return None
        own = convert.read_micrographs(self.inputCoordinates.get().getMicrographs())
        return convert.match_micrographs(own, convert.read_micrographs(self.inputMicrographs.get()))

    def _placing(self) -> convert.Placing:
        if not self._isScaled():
            return convert.Placing()
        names = {row.id: row.name for row in convert.read_micrographs(self.getInputMicrographs())}
        return convert.Placing(self.getBoxScale(), self._pairs(), names)

    def _hasOtherMicrographs(self) -> bool:
        return self.micsSource.get() == MICS_OTHER

    def _isScaled(self) -> bool:
        return self._hasOtherMicrographs() and self.useOtherScale.get() == SCALE_MICROGRAPHS

    def _outputScale(self) -> float:
        return self.getBoxScale() if self._isScaled() else 1.0

    def _outputMicrographsPointer(self) -> Any:
        """Return the micrographs that the output coordinates lie on: at their scale."""
        if self._isScaled():
            return self.getInputMicrographsPointer()
        return self.inputCoordinates.get().getMicrographs(asPointer=True)

    def getInputMicrographsPointer(self) -> Any:
        """Return the pointer to the micrographs that are looked at."""
        if self._hasOtherMicrographs():
            return self.inputMicrographs
        return self.inputCoordinates.get().getMicrographs(asPointer=True)

    def getInputMicrographs(self) -> Optional[SetOfMicrographs]:
        """Return the micrographs that are looked at."""
        return self.getInputMicrographsPointer().get()

    def getBoxScale(self) -> float:
        """Return px of the micrographs that are looked at, for each px of the coordinates."""
        if not self._hasOtherMicrographs():
            return 1.0
        picked = self.inputCoordinates.get().getMicrographs().getSamplingRate()
        return picked / self.getInputMicrographs().getSamplingRate()

    # ---- settings -------------------------------------------------------------------------------------------

    def _folder(self) -> Path:
        return Path(self._getPath(*FOLDER))

    def _getModel(self) -> str:
        source = self.modelSource.get()
        if source == MODEL_DEFAULT:
            return DEFAULT_MODEL
        if source == MODEL_OBJECT:
            return self.inputModel.get().getPath() if self.inputModel.get() is not None else ""
        return (self.modelFolder.get() or "").strip()

    def _modelConfig(self) -> ModelConfig:
        return load_config(resolve_model(self._getModel()))

    def _card(self) -> str:
        path = resolve_model(self._getModel()) / CARD
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def _getConfig(self) -> ScreenConfig:
        """Return the form's settings, as the core takes them."""
        return ScreenConfig.make(
            model=self._getModel(),
            threshold=self.threshold.get(),
            margin=self.margin.get(),
            contrast=CONTRASTS[self.contrast.get()],
            reference=self.referenceMicrographs.get(),
            max_bad_area=self.maxBadArea.get(),
            full_size_masks=self.saveMasks.get(),
            thumbnails=self.saveMicThumbnailWithMask.get(),
        )

    def getUsedThreshold(self) -> Optional[float]:
        """Return the threshold on the goodness: the form's, else the model's recommended one."""
        if self.threshold.get() is not None:
            return self.threshold.get()
        try:
            return self._modelConfig().recommended_threshold
        except CryoIceError:
            return None

    # ---- information ----------------------------------------------------------------------------------------

    def _validate(self) -> List[str]:
        errors = self._validateInput() + self._validateDevices()
        errors += self._complaints(self._getConfig, self._modelConfig)
        return errors or self._validateWorkers()

    def _validateInput(self) -> List[str]:
        coordinates, micrographs = self.inputCoordinates.get(), None
        if coordinates is None:
            return []  # pyworkflow says so itself
        if not coordinates.getBoxSize():
            return ["The coordinates have no box size, so that the particles' size is unknown; give them one."]
        if coordinates.getMicrographs() is None:
            return ["The coordinates have no micrographs; pick or import them on a set of micrographs."]
        micrographs = self.getInputMicrographs()
        if micrographs is None:
            return []
        if not micrographs.getSamplingRate():
            return ["The micrographs have no pixel size; give it where they are imported."]
        return self._validateNames() if self._hasOtherMicrographs() else []

    def _validateNames(self) -> List[str]:
        try:
            pairs = self._pairs()
        except CryoIceError as error:
            return [str(error)]
        return [] if pairs else ["None of the picked micrographs is among the 'other' micrographs, by name or by id."]

    def _validateWorkers(self) -> List[str]:
        problems = [check_worker(Plugin.getPython(), self._getModel(), device) for device in self.getDevices()]
        return sum(problems, [])

    def _summary(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_DISCARDED):
            return ["Not finished yet."]
        kept, rejected = self.outputCoordinates.getSize(), self.outputCoordinatesRejected.getSize()
        accepted, discarded = self.outputMicrographs.getSize(), self.outputMicrographsDiscarded.getSize()
        lines = [
            f"Coordinates: {kept} kept, {rejected} rejected ({self._words()})",
            f"Micrographs: {accepted} accepted, {discarded} discarded",
        ]
        summary = read_summary(self._folder())
        if summary is None:
            return lines
        if summary.failed:
            lines.append(f"{summary.failed} of the discarded micrographs failed: _cryoiceReason says why")
        if summary.unmatched_picks:
            lines.append(f"{summary.unmatched_picks} of the rejected coordinates are of micrographs that are not there")
        if summary.mean_bad_area is not None:
            lines.append(f"Bad area: {100 * summary.mean_bad_area:.1f} % on average")
        if summary.rejected_by_class:
            classes = sorted(summary.rejected_by_class.items(), key=lambda pair: -pair[1])
            lines.append("Rejected by class: " + ", ".join(f"{name} {number}" for name, number in classes))
        return lines + [f"*Look at this:* {warning}" for warning in summary.warnings]

    def _words(self) -> str:
        if self.threshold.get() == KEEP_ALL:
            return "threshold -1: all kept, only scored"
        used = self.getUsedThreshold()
        origin = "the model's" if self.threshold.get() is None else "given"
        return "threshold unknown" if used is None else f"threshold {used:g}, {origin}"

    def _methods(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_DISCARDED):
            return []
        kept, rejected = self.outputCoordinates.getSize(), self.outputCoordinatesRejected.getSize()
        accepted, discarded = self.outputMicrographs.getSize(), self.outputMicrographsDiscarded.getSize()
        shipped = self.modelSource.get() == MODEL_DEFAULT
        model = "the default model of cryoice" if shipped else f"the model {self._getModel()}"
        return [
            f"{accepted + discarded} micrographs were screened for ice, contamination and support with {model}: "
            f"{discarded} were discarded. Of {kept + rejected} coordinates {kept} were kept ({self._words()}). "
            "Cleaning coordinates by a map of bad areas follows [SanchezGarcia2020]."
        ]

    def _citations(self) -> List[str]:
        return ["SanchezGarcia2020"]
