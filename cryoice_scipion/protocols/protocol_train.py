# SPDX-License-Identifier: GPL-3.0-or-later
"""Good and bad coordinates -> a detector."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Callable, List, Optional

from cryoice_scipion import convert
from cryoice_scipion.constants import DEFAULT_MODEL, ENOUGH_BAD
from cryoice_scipion.core.config import PatchConfig, TrainConfig
from cryoice_scipion.core.detectors.choice import UNET
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.images.naming import stem_of
from cryoice_scipion.objects import METRICS, CryoIceModel
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol
from cryoice_scipion.protocols.train_form import CONTRASTS, FROM_DEFAULT, FROM_NOTHING, FROM_OBJECT, VIEWS, TrainForm

OUTPUT_MODEL = "outputModel"


class CryoIceProtTrain(TrainForm, CryoIceProtocol):
    """Trains an ice detector from good and bad coordinates of your own micrographs.

    Good coordinates are particles on clean ice, bad ones lie on crystals, dirt, carbon or whatever else is to be
    recognised. The shipped model is tuned to them, for which 5 to 50 bad ones are enough, or a new network is trained
    on a few hundred of each, over several micrographs. The result is a model for *screen micrographs*, with its
    training curves, its accuracy on micrographs it was not trained on, a recommended threshold, and a card that says
    what it is.
    """

    _label = "train ice detector"
    _possibleOutputs = {OUTPUT_MODEL: CryoIceModel}

    # ---- steps ----------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        self._insertFunctionStep(self.convertInputStep, self._getConfig().to_text(), needsGPU=False)
        self._insertFunctionStep(self.trainStep, needsGPU=self.useGpu.get())
        self._insertFunctionStep(self.createOutputStep, needsGPU=False)

    def convertInputStep(self, settings: str) -> None:
        """Write the coordinates, the micrographs and the settings for the core."""
        good, bad = self.goodCoordinates.get(), self.badCoordinates.get()
        Path(self._getExtraPath("train.json")).write_text(settings, encoding="utf-8")
        with self._oneLine():
            micrographs = convert.labelled_micrographs([good, bad])
            for name, coordinates in (("good", good), ("bad", bad)):
                convert.write_picks_star(Path(self._getExtraPath(f"{name}.star")), coordinates)
            convert.write_micrographs_star(Path(self._getExtraPath("micrographs.star")), micrographs)
            if self.cleanMicrographs.get() is not None:
                clean = convert.sampled_micrographs(self.cleanMicrographs.get())
                convert.write_micrographs_star(Path(self._getExtraPath("clean.star")), clean)

    def trainStep(self) -> None:
        """Let the core train, from nothing: what a killed training left is not a model."""
        shutil.rmtree(self._modelPath(), ignore_errors=True)
        arguments: List[Any] = ["train"]
        for name in ("good", "bad", "micrographs"):
            arguments += [f"--{name}", self._getExtraPath(f"{name}.star")]
        if self.cleanMicrographs.get() is not None:
            arguments += ["--clean", self._getExtraPath("clean.star")]
        arguments += ["--output", self._modelPath(), "--config", self._getExtraPath("train.json")]
        self.runCore(*arguments, "--device", self.getDevices()[0])

    def createOutputStep(self) -> None:
        """Describe the model to Scipion."""
        model = CryoIceModel(self._modelPath())
        with self._oneLine():
            model.copyConfig(load_config(Path(self._modelPath())))
        self._defineOutputs(**{OUTPUT_MODEL: model})
        for pointer in (self.goodCoordinates, self.badCoordinates):
            self._defineSourceRelation(pointer, model)

    # ---- information ----------------------------------------------------------------------------------------

    def _modelPath(self) -> str:
        return self._getExtraPath("model")

    def _getConfig(self) -> TrainConfig:
        """Return the form's settings, as the core takes them."""
        patches = PatchConfig.make(
            sampling=self.sampling.get() if self.startFrom.get() == FROM_NOTHING else PatchConfig().sampling,
            contrast=CONTRASTS[self.contrast.get()],
            background=self.useBackground.get(),
            background_ratio=self.backgroundRatio.get(),
            max_per_micrograph=self.maxPerMicrograph.get(),
            seed=self.seed.get(),
        )
        return TrainConfig.make(
            name=(self.modelName.get() or "").strip() or "model",
            patches=patches,
            views=VIEWS[self.views.get()],
            epochs=self.epochs.get(),
            patience=self.patience.get(),
            batch=self.batchSize.get(),
            learning_rate=self.learningRate.get(),
            validation=self.validationShare.get(),
            hold_out=self._heldOut(),
            class_weights=self.classWeights.get(),
            base=self._getBase(),
            seed=self.seed.get(),
        )

    def _getBase(self) -> str:
        """Return the model that training starts from: its name or folder; empty for none."""
        if self.startFrom.get() == FROM_DEFAULT:
            return DEFAULT_MODEL
        if self.startFrom.get() == FROM_NOTHING or self.baseModel.get() is None:
            return ""
        return str(self.baseModel.get().getPath())

    def _baseNetwork(self) -> str:
        try:
            return load_config(resolve_model(self._getBase())).network
        except CryoIceError:
            return ""

    def _heldOut(self) -> List[str]:
        names = (name.strip() for name in (self.holdOut.get() or "").split(","))
        return [stem_of(name) for name in names if name]

    def _validate(self) -> List[str]:
        errors = self._validateDevices()
        try:
            self._getConfig()
        except CryoIceError as error:
            errors.append(str(error))
        if self.startFrom.get() == FROM_OBJECT and self.baseModel.get() is None:
            errors.append("Choose the model to start from.")
        elif self.startFrom.get() == FROM_OBJECT and self._baseNetwork() != UNET:
            errors.append("That model is not of the shipped one's kind: it cannot be tuned here. Start from nothing.")
        for pointer, name in ((self.goodCoordinates, "good"), (self.badCoordinates, "bad")):
            if pointer.get() is not None and pointer.get().getMicrographs() is None:
                errors.append(f"The {name} coordinates have no micrographs; pick or import them on some.")
        return errors or self._validateNames()

    def _validateNames(self) -> List[str]:
        sets = [self.goodCoordinates.get(), self.badCoordinates.get()]
        if None in sets:
            return []  # pyworkflow says so itself
        try:
            rows = convert.labelled_micrographs(sets)
        except CryoIceError as error:
            return [str(error)]
        missing = sorted(set(self._heldOut()) - {row.stem for row, _ in rows})
        if missing:
            return [f"Held-out micrographs: {', '.join(missing)}: none of that name has coordinates."]
        return []

    def _warnings(self) -> List[str]:
        found = []
        bad = self.badCoordinates.get()
        if self.startFrom.get() == FROM_NOTHING and bad is not None and bad.getSize() < ENOUGH_BAD:
            few = f"{bad.getSize()} bad coordinates are few for a new network ({ENOUGH_BAD} and more are wanted)"
            found.append(f"{few}: starting from the shipped model does better with them.")
        if not self._heldOut():
            found.append("No micrograph is held out: the figures will be those of the micrographs it was tuned on.")
        return found

    def _summary(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_MODEL):
            return ["Not trained yet."]
        held = len(self._heldOut())
        on_test = self.outputModel.getMeasuredOn() == "test"
        where = f"the {held} held-out micrographs" if on_test else "the validation micrographs (optimistic)"
        words = _figures(self.outputModel.getMetric)
        lines = [f"Model: {self.outputModel}", f"On {where}: {words}", *self._before()]
        if held and not on_test:
            lines.append("The held-out micrographs have no good or no bad positions: they measure nothing")
        lines.append("Background as further GOOD: " + ("yes" if self.useBackground.get() else "no"))
        return lines + [f"Card: {self._modelPath()}/card.md"]

    def _before(self) -> List[str]:
        """Return a line about the model that training started from, on the same micrographs; none if there was none."""
        try:
            metrics = load_config(Path(self._modelPath())).metrics
        except CryoIceError:
            return []
        words = _figures(lambda key: metrics.get(f"before_{METRICS[f'_{key}']}"))
        return [f"Before tuning, on the same: {words}"] if words else []

    def _methods(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_MODEL):
            return []
        good, bad = self.goodCoordinates.get().getSize(), self.badCoordinates.get().getSize()
        made = (
            f"An ice detector (views: {', '.join(VIEWS[self.views.get()])}; {self.sampling.get():g} Å/px) was trained "
        )
        if self.startFrom.get() != FROM_NOTHING:
            made = f"The ice detector '{Path(self._getBase()).name}' was tuned (its last layer fitted anew) "
        text = f"{made}on {good} good and {bad} bad coordinates"
        text += " with clean background as further good examples" if self.useBackground.get() else ""
        text += (
            f" (seed {self.seed.get()}), calibrated by temperature scaling [Guo2017]; the recommended threshold "
            f"{self.outputModel.getThreshold():.2f} is at Youden's point [Youden1950] on validation micrographs, or "
            "within one standard error of it."
        )
        return [text]

    def _citations(self) -> List[str]:
        return ["Guo2017", "Youden1950"]


def _figures(value_of: Callable[[str], Optional[float]]) -> str:
    """Return the figures of ``FIGURES`` that are known, in one line."""
    values = ((name, value_of(key)) for name, key in FIGURES)
    return ", ".join(f"{name} {value:.3f}" for name, value in values if value is not None)


FIGURES = (("AUC", "auc"), ("AP", "averagePrecision"), ("F1", "f1"), ("ECE", "ece"))
