# SPDX-License-Identifier: GPL-3.0-or-later
"""Protocol that trains an ice detector from good and bad coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, List, Optional

from cryoice_scipion import convert
from cryoice_scipion.constants import DEFAULT_MODEL, ENOUGH_BAD
from cryoice_scipion.core.config import PatchConfig, TrainConfig
from cryoice_scipion.core.detectors.kinds import KINDS
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.errors import CryoIceError, counted
from cryoice_scipion.core.images.naming import stem_of
from cryoice_scipion.label_counts import complaints, labels_by_micrograph
from cryoice_scipion.objects import METRICS
from cryoice_scipion.protocols.train_form import CONTRASTS, FROM_DEFAULT, FROM_NOTHING, FROM_OBJECT, VIEWS, TrainForm
from cryoice_scipion.protocols.training_protocol import OUTPUT_MODEL, CryoIceTrainingProtocol


class CryoIceProtTrain(TrainForm, CryoIceTrainingProtocol):
    """Trains an ice detector on good and bad coordinates of your own micrographs.

    Good coordinates are particles on clean ice. Bad coordinates lie on ice crystals, contamination, carbon or any other
    feature that the detector should find. By default the protocol fine-tunes the shipped model, which needs 5 to 50 bad
    coordinates. It can also train a new network, which needs a few hundred good and bad coordinates on several
    micrographs. The output is a model for *screen micrographs*, with training curves, the accuracy on micrographs that
    were not used for training, a recommended threshold, and a model card.
    """

    _label = "train ice detector"
    _trainedOn = ("goodCoordinates", "badCoordinates")

    # ---- steps ----------------------------------------------------------------------------------------------

    def convertInputStep(self, settings: str, *_: str) -> None:
        """Write coordinates, micrographs and settings to files for the core."""
        good, bad = self.goodCoordinates.get(), self.badCoordinates.get()
        self._writeConfig(settings)
        with self._oneLine():
            micrographs = convert.labelled_micrographs([good, bad])
            for name, coordinates in (("good", good), ("bad", bad)):
                convert.write_picks_star(Path(self._getExtraPath(f"{name}.star")), coordinates)
            convert.write_micrographs_star(Path(self._getExtraPath("micrographs.star")), micrographs)
            if self.cleanMicrographs.get() is not None:
                clean = convert.sampled_micrographs(self.cleanMicrographs.get())
                convert.write_micrographs_star(Path(self._getExtraPath("clean.star")), clean)

    def trainStep(self, *_: str) -> None:
        """Train with the core."""
        names = ["good", "bad", "micrographs"] + (["clean"] if self.cleanMicrographs.get() is not None else [])
        words = [word for name in names for word in (f"--{name}", self._getExtraPath(f"{name}.star"))]
        self._train(*words, dashboard=self.dashboard.get())

    # ---- information ----------------------------------------------------------------------------------------

    def _getConfig(self) -> TrainConfig:
        """Return the settings of the form as a configuration of the core."""
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
        """Return the name or folder of the model that training starts from; empty for none."""
        if self.startFrom.get() == FROM_DEFAULT:
            return DEFAULT_MODEL
        if self.startFrom.get() == FROM_NOTHING or self.baseModel.get() is None:
            return ""
        return str(self.baseModel.get().getPath())

    def _isTunable(self) -> bool:
        """Return whether the model that training starts from can be fine-tuned."""
        try:
            kind = KINDS.get(load_config(resolve_model(self._getBase())).network)
        except CryoIceError:
            return False
        return kind is not None and kind.tunable

    def _heldOut(self) -> List[str]:
        names = (name.strip() for name in (self.holdOut.get() or "").split(","))
        return [stem_of(name) for name in names if name]

    def _validate(self) -> List[str]:
        errors = self._validateDevices() + self._validateOptional("cleanMicrographs")
        errors += self._complaints(self._getConfig)
        is_given = self.startFrom.get() == FROM_OBJECT and self.baseModel.get() is not None
        if is_given and not self._isTunable():  # pyworkflow says if it is missing
            errors.append(
                "Model to start from: this network cannot be fine-tuned. Choose a U-Net model, such as the shipped "
                "one, or set 'Start from' to nothing."
            )
        for pointer, name in ((self.goodCoordinates, "good"), (self.badCoordinates, "bad")):
            if pointer.get() is not None and pointer.get().getMicrographs() is None:
                errors.append(
                    f"The {name} coordinates are not linked to micrographs. "
                    "Pick or import them on a set of micrographs."
                )
        return errors or self._validateNames()

    def _validateNames(self) -> List[str]:
        sets = [self.goodCoordinates.get(), self.badCoordinates.get()]
        if None in sets:
            return []  # pyworkflow reports missing inputs itself
        if Path(sets[0].getFileName()).resolve() == Path(sets[1].getFileName()).resolve():
            return ["Good and bad coordinates are the same set. Choose two sets."]
        try:
            labels = labels_by_micrograph(self.goodCoordinates, self.badCoordinates)
        except CryoIceError as error:
            return [str(error)]
        missing = sorted(set(self._heldOut()) - set(labels))
        if missing:
            return [f"Held-out micrographs: no micrograph with coordinates has the name {', '.join(missing)}."]
        background = self.useBackground.get() and self.cleanMicrographs.get() is None
        return complaints(labels, self._heldOut(), self.validationShare.get(), background)

    def _warnings(self) -> List[str]:
        found = []
        bad = self.badCoordinates.get()
        if self.startFrom.get() == FROM_NOTHING and bad is not None and bad.getSize() < ENOUGH_BAD:
            few = counted(bad.getSize(), "bad coordinate is", "bad coordinates are")
            few += f" few for a new network (at least {ENOUGH_BAD} are recommended)."
            found.append(f"{few} Starting from the shipped model gives better results.")
        if not self._heldOut():
            found.append(
                "No micrographs are held out. The accuracy will be measured on the validation micrographs, which is "
                "too optimistic."
            )
        return found

    def _summary(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_MODEL):
            return ["Not trained yet."]
        held = len(self._heldOut())
        on_test = self.outputModel.getMeasuredOn() == "test"
        where = f"the {counted(held, 'held-out micrograph')}" if on_test else "the validation micrographs (optimistic)"
        words = _metrics_in_words(self.outputModel.getMetric)
        lines = [f"Model: {self.outputModel}", f"On {where}: {words}", *self._before()]
        if held and not on_test:
            lines.append("The held-out micrographs lack good or bad coordinates, so accuracy was not measured on them")
        lines.append("Background used as good examples: " + ("yes" if self.useBackground.get() else "no"))
        return lines + [f"Model card: {self._modelPath()}/card.md"]

    def _before(self) -> List[str]:
        """Return a line with the accuracy of the initial model on the same micrographs; none without initial model."""
        try:
            metrics = load_config(Path(self._modelPath())).metrics
        except CryoIceError:
            return []
        words = _metrics_in_words(lambda key: metrics.get(f"before_{METRICS[f'_{key}']}"))
        return [f"Before fine-tuning, on the same micrographs: {words}"] if words else []

    def _methods(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_MODEL):
            return []
        good, bad = self.goodCoordinates.get().getSize(), self.badCoordinates.get().getSize()
        made = (
            f"An ice detector (views: {', '.join(VIEWS[self.views.get()])}; {self.sampling.get():g} Å/px) was trained "
        )
        if self.startFrom.get() != FROM_NOTHING:
            made = f"The ice detector '{Path(self._getBase()).name}' was fine-tuned (last layer only) "
        text = f"{made}on {good} good and {counted(bad, 'bad coordinate')}"
        text += " with clean background as additional good examples" if self.useBackground.get() else ""
        text += (
            f" (seed {self.seed.get()}), calibrated by temperature scaling [Guo2017]; the recommended threshold "
            f"{self.outputModel.getThreshold():.2f} maximises Youden's index [Youden1950] on the validation "
            "micrographs, within one standard error."
        )
        return [text]

    def _citations(self) -> List[str]:
        return ["Guo2017", "Youden1950"]


def _metrics_in_words(value_of: Callable[[str], Optional[float]]) -> str:
    """Return the known values of ``SHOWN_METRICS`` in one line."""
    values = ((name, value_of(key)) for name, key in SHOWN_METRICS)
    return ", ".join(f"{name} {value:.3f}" for name, value in values if value is not None)


SHOWN_METRICS = (("AUC", "auc"), ("AP", "averagePrecision"), ("F1", "f1"), ("ECE", "ece"))
