# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of the screening protocol: the values of the form, translated for the core, and their checks."""

from __future__ import annotations

from typing import Any, List, Optional

from pwem.objects import SetOfMicrographs

from cryoice_scipion.constants import DEFAULT_MODEL, KEEP_ALL
from cryoice_scipion.core.config import ModelConfig, ScreenConfig, parse_margins
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.grades.grading import check_grades
from cryoice_scipion.core.workers.client import Limits
from cryoice_scipion.protocols.screen_form import (
    CONTRASTS,
    MICS_OTHER,
    MODEL_DEFAULT,
    MODEL_OBJECT,
    SCALE_MICROGRAPHS,
    ScreenForm,
)
from cryoice_scipion.protocols.screen_input import Pairing
from cryoice_scipion.streams import MicrographReader


class ScreenSettings(ScreenForm):
    """The form of the screening protocol, with methods that read its values."""

    # ---- input ----------------------------------------------------------------------------------------------

    def _hasOtherMicrographs(self) -> bool:
        return self.micsSource.get() == MICS_OTHER

    def _isScaled(self) -> bool:
        return self._hasOtherMicrographs() and self.useOtherScale.get() == SCALE_MICROGRAPHS

    def _outputScale(self) -> float:
        return self.getBoxScale() if self._isScaled() else 1.0

    def _outputMicrographsPointer(self) -> Any:
        """Return the pointer to the micrographs of the output coordinates."""
        if self._isScaled():
            return self.getInputMicrographsPointer()
        return self.inputCoordinates.get().getMicrographs(asPointer=True)

    def getInputMicrographsPointer(self) -> Any:
        """Return the pointer to the micrographs that are screened."""
        if self._hasOtherMicrographs():
            return self.inputMicrographs
        return self.inputCoordinates.get().getMicrographs(asPointer=True)

    def getInputMicrographs(self) -> Optional[SetOfMicrographs]:
        """Return the micrographs that are screened."""
        return self.getInputMicrographsPointer().get()

    def getBoxScale(self) -> float:
        """Return the number of pixels of the screened micrographs per pixel of the coordinates."""
        if not self._hasOtherMicrographs():
            return 1.0
        picked = self.inputCoordinates.get().getMicrographs().getSamplingRate()
        return picked / self.getInputMicrographs().getSamplingRate()

    def _makePairing(self, micrographs: MicrographReader) -> Optional[Pairing]:
        if not self._hasOtherMicrographs():
            return None
        return Pairing(MicrographReader(self.inputCoordinates.get().getMicrographs(asPointer=True)), micrographs)

    # ---- model and thresholds -------------------------------------------------------------------------------

    def _getModel(self) -> str:
        source = self.modelSource.get()
        if source == MODEL_DEFAULT:
            return DEFAULT_MODEL
        if source == MODEL_OBJECT:
            return self.inputModel.get().getPath() if self.inputModel.get() is not None else ""
        return (self.modelFolder.get() or "").strip()

    def _modelConfig(self) -> ModelConfig:
        return load_config(resolve_model(self._getModel()))

    def _getConfig(self) -> ScreenConfig:
        """Return the settings of the form as a configuration of the core."""
        margin, margins = parse_margins([str(self.margin.get() or 0), *(self.classMargins.get() or "").split()])
        return ScreenConfig.make(
            model=self._getModel(),
            threshold=self.threshold.get(),
            margin=margin,
            margins=margins,
            ignore=sorted(set((self.ignoreClasses.get() or "").split())),
            min_area=self.minArea.get(),
            particle_diameter=self.particleDiameter.get() or None,
            contrast=CONTRASTS[self.contrast.get()],
            reference=self.referenceMicrographs.get(),
            max_bad_area=self.maxBadArea.get(),
            grade=self.gradeMicrographs.get(),
            grader=self._getGrader(),
            miss_cost=self.missCost.get(),
            reject_grades=self._rejectedGrades(),
            full_size_masks=self.saveMasks.get(),
            thumbnails=self.saveMicThumbnailWithMask.get(),
            max_thumbnails=self.maxThumbnails.get(),
        )

    def _getLimits(self) -> Limits:
        """Return the time and the memory that a worker may use for one micrograph."""
        return Limits.given(item_timeout=self.itemTimeout.get(), memory_limit=self.memoryLimit.get())

    def _getGrader(self) -> str:
        """Return the folder of the grader; empty: the shipped one."""
        if self.inputGrader.get() is not None:
            return str(self.inputGrader.get().getPath())
        return (self.graderFolder.get() or "").strip()

    def _rejectedGrades(self) -> List[str]:
        """Return the rejected grades; the form hides the field, and keeps its value, if there are no grades."""
        return sorted(set((self.rejectGrades.get() or "").split())) if self.gradeMicrographs.get() else []

    def getUsedThreshold(self) -> Optional[float]:
        """Return the goodness threshold of the form, or the model's recommended one if the form has none."""
        if self.threshold.get() is not None:
            return self.threshold.get()
        try:
            return self._modelConfig().threshold_for_picks
        except CryoIceError:
            return None

    def _thresholdInWords(self) -> str:
        """Return the threshold and its origin, for the summary."""
        if self.threshold.get() == KEEP_ALL:
            return "threshold -1: all scored and kept"
        used = self.getUsedThreshold()
        origin = "recommended by the model" if self.threshold.get() is None else "set in the form"
        return "threshold unknown" if used is None else f"threshold {used:g}, {origin}"

    # ---- checks ---------------------------------------------------------------------------------------------

    def _validateSettings(self) -> List[str]:
        errors = self._complaints(self._getConfig, self._getLimits, self._modelConfig)
        return errors or self._complaints(lambda: check_grades(self._getConfig(), self._modelConfig()))

    def _validateInput(self) -> List[str]:
        coordinates, micrographs = self.inputCoordinates.get(), None
        if coordinates is None:
            return []  # pyworkflow reports missing inputs itself
        if not coordinates.getBoxSize() and not self.particleDiameter.get():
            return ["The coordinates have no box size. Enter 'Particle diameter (Å)'."]
        if coordinates.getMicrographs() is None:
            return ["The coordinates are not linked to micrographs. Pick or import them on a set of micrographs."]
        micrographs = self.getInputMicrographs()
        if micrographs is None:
            return []
        if not micrographs.getSamplingRate():
            return ["The micrographs have no pixel size. Set it in the protocol that imports them."]
        return self._validateNames() if self._hasOtherMicrographs() else []

    def _validateNames(self) -> List[str]:
        others = MicrographReader(self.inputMicrographs)
        pairing = self._makePairing(others)
        pairing.look(others.look())
        if pairing.ids or not (others.closed and pairing.closed):
            return []  # coordinates with an ambiguous micrograph name are left out, and counted
        none = "None of the 'Input micrographs' matches a picked micrograph, by name or by id. Choose another set."
        return pairing.complaints or [none]
