# SPDX-License-Identifier: GPL-3.0-or-later
"""Protocol that trains on whole micrographs: on clean ones alone, or on graded ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

from pyworkflow.protocol import params

from cryoice_scipion import convert
from cryoice_scipion.constants import FEWEST_CLEAN, FEWEST_GRADED, FEWEST_TRAINED, GRADES
from cryoice_scipion.core.config import PatchConfig, TrainConfig
from cryoice_scipion.core.detectors.kinds import KINDS
from cryoice_scipion.core.errors import CryoIceError, counted
from cryoice_scipion.label_counts import grade_complaints, grades_by_micrograph
from cryoice_scipion.protocols.training_protocol import OUTPUT_MODEL, CryoIceTrainingProtocol

NETWORKS = ["one_class", "autoencoder", "resnet"]
ONE_CLASS, AUTOENCODER, GRADER = range(3)
FEWEST = [FEWEST_CLEAN, FEWEST_CLEAN + FEWEST_TRAINED, FEWEST_GRADED]  # micrographs of each
DEPTHS = [10, 18, 34]
_TRAINED = f"network!={ONE_CLASS}"


class CryoIceProtTrainMicrographs(CryoIceTrainingProtocol):
    """Trains a detector on clean micrographs, or a grader on graded micrographs. No coordinates are needed.

    A detector that is trained on clean micrographs finds whatever they do not contain, also contamination that no
    model was trained on. A grader gives each micrograph one of seven grades. The output is a model for *screen
    micrographs*: a detector is its *Model*, a grader its *Grader*.
    """

    _label = "train on micrographs"
    _trainedOn = ("inputMicrographs",)

    def _defineParams(self, form: Any) -> None:
        self._defineGpuParams(
            form,
            "*Yes*: train on an NVIDIA GPU. Enter its ID, for example 0. *No*: train on the CPU, which is slower. "
            "Default: Yes if a GPU is found.",
        )
        form.addSection(label="Input")
        form.addParam(
            "network",
            params.EnumParam,
            choices=["detector, distance", "detector, autoencoder", "grader"],
            default=ONE_CLASS,
            label="Train",
            help="*detector, distance* (default, recommended): measures how far local spectra and grey levels are from "
            "those of clean micrographs. It takes seconds a micrograph. *detector, autoencoder*: reconstructs clean "
            "micrographs and measures the residuals. It finds less in simulations and takes longer. *grader*: a "
            "residual network that learns the grades in a table; it needs some hundred micrographs.",
        )
        form.addParam(
            "inputMicrographs",
            params.PointerParam,
            pointerClass="SetOfMicrographs",
            important=True,
            label="Micrographs",
            help="For a detector: clean micrographs, better 20, all from the session that will be screened. The "
            f"distance needs {FEWEST[ONE_CLASS]} or more, the autoencoder {FEWEST[AUTOENCODER]} or more. "
            "For a grader: the micrographs in the table of grades.",
        )
        form.addParam(
            "gradesFile",
            params.FileParam,
            default="",
            condition=f"network=={GRADER}",
            label="Table of grades",
            help="A CSV file with the columns *micrograph* and *grade*. *micrograph* is the name of the file. "
            f"The grades are {', '.join(GRADES)}.",
        )
        form.addParam(
            "holdOut",
            params.StringParam,
            default="",
            condition=f"network=={GRADER}",
            label="Held-out micrographs",
            help="Names of micrographs that only measure the grader, separated by commas; patterns such as "
            "session3_* are allowed. The wand lists the micrographs with their grades. Empty (default): the accuracy "
            "is that of the validation micrographs, which is too optimistic.",
        )
        form.addParam(
            "modelName",
            params.StringParam,
            default="",
            label="Model name",
            help="The name of the model in its model card. Empty (default): 'model'.",
        )
        form.addSection(label="Training")
        form.addParam(
            "epochs",
            params.IntParam,
            default=0,
            condition=_TRAINED,
            label="Epochs",
            help="The number of passes over the micrographs. 0 (default): "
            f"{_default(AUTOENCODER, 'epochs')} for the autoencoder, {_default(GRADER, 'epochs')} for the grader.",
        )
        form.addParam(
            "textureWeight",
            params.BooleanParam,
            default=False,
            condition=f"network=={AUTOENCODER}",
            label="Weight by texture?",
            help="*Yes*: places with little texture have more weight in the training. *No* (default): all places have "
            "the same weight.",
        )
        form.addParam(
            "depth",
            params.EnumParam,
            choices=[str(depth) for depth in DEPTHS],
            default=0,
            condition=f"network=={GRADER}",
            label="Layers",
            help="The number of layers with weights. More layers need more micrographs. Default: 10.",
        )
        form.addParam(
            "classWeights",
            params.BooleanParam,
            default=False,
            condition=f"network=={GRADER}",
            expertLevel=params.LEVEL_ADVANCED,
            label="Weight grades equally?",
            help="*Yes*: all grades have the same total weight, however many micrographs have them. The probabilities "
            "are then poorly calibrated. *No* (default).",
        )
        form.addParam(
            "contrast",
            params.EnumParam,
            choices=["dark", "bright"],
            default=0,
            condition=f"network=={AUTOENCODER}",
            label="Contrast",
            help="Whether particles are *dark* (default) or *bright* (inverted contrast) on the micrographs.",
        )
        form.addParam(
            "seed",
            params.IntParam,
            default=TrainConfig().seed,
            label="Seed",
            help=f"Seed of the random numbers. Default: {TrainConfig().seed}.",
        )
        form.addParam(
            "dashboard",
            params.BooleanParam,
            default=False,
            condition=_TRAINED,
            label="Write a dashboard?",
            help="*Yes*: write the training for TensorBoard while it runs. *Analyze results* opens it in the browser. "
            "TensorBoard must be installed beside the plugin. *No* (default).",
        )

    # ---- steps ----------------------------------------------------------------------------------------------

    def convertInputStep(self, settings: str, *_: str) -> None:
        """Write micrographs and settings to files for the core."""
        self._writeConfig(settings)
        with self._oneLine():
            rows = convert.sampled_micrographs(self.inputMicrographs.get())
            convert.write_micrographs_star(Path(self._getExtraPath("micrographs.star")), rows)

    def trainStep(self, *_: str) -> None:
        """Train with the core."""
        micrographs = self._getExtraPath("micrographs.star")
        graded = ["--micrographs", micrographs, "--grades", self.gradesFile.get()]
        words = graded if self.network.get() == GRADER else ["--clean", micrographs]
        self._train(*words, dashboard=self.dashboard.get() and self.network.get() != ONE_CLASS)

    def _getInput(self) -> List[str]:
        if self.network.get() != GRADER:
            return super()._getInput()
        table = Path(self.gradesFile.get() or "")
        changed = table.stat().st_mtime if table.is_file() else 0
        return [*super()._getInput(), f"{table}, changed at {changed}"]

    # ---- information ----------------------------------------------------------------------------------------

    def _getConfig(self) -> TrainConfig:
        """Return the settings of the form as a configuration of the core."""
        chosen = self.network.get()
        kind = KINDS[NETWORKS[chosen]]
        values: Dict[str, Any] = {**kind.defaults, "network": kind.name, "seed": self.seed.get()}
        values["name"] = (self.modelName.get() or "").strip() or "model"
        if self.epochs.get() and chosen != ONE_CLASS:
            values["epochs"] = self.epochs.get()
        if chosen == AUTOENCODER:
            contrast = ("dark", "bright")[self.contrast.get()]
            values["patches"] = PatchConfig.make(**{**values.get("patches", {}), "contrast": contrast})
            values["texture_weight"] = self.textureWeight.get()
        elif chosen == GRADER:
            values["depth"] = DEPTHS[self.depth.get()]
            values["class_weights"] = self.classWeights.get()
            values["hold_out"] = self._heldOut()
        return TrainConfig.make(**values)

    def _heldOut(self) -> List[str]:
        return [name.strip() for name in (self.holdOut.get() or "").split(",") if name.strip()]

    def getGrades(self) -> Dict[str, str]:
        """Return the grades of the input by the stem of the micrograph."""
        return grades_by_micrograph(self.inputMicrographs.get(), Path(self.gradesFile.get()))

    def _validate(self) -> List[str]:
        errors = self._validateDevices() + self._complaints(self._getConfig)
        is_grader, has_table = self.network.get() == GRADER, Path(self.gradesFile.get() or "").is_file()
        if is_grader and not has_table:
            errors.append("Table of grades: there is no such file. Choose a CSV file.")
        given, least = self.inputMicrographs.get(), FEWEST[self.network.get()]
        if given is not None and given.getSize() < least:
            few = counted(given.getSize(), "micrograph is", "micrographs are")
            errors.append(f"{few} too few. This training needs {least} or more.")
        if errors or given is None or not is_grader:
            return errors
        try:
            return grade_complaints(self.getGrades(), self._heldOut())
        except CryoIceError as error:
            return [str(error)]

    def _warnings(self) -> List[str]:
        if self.network.get() != GRADER or self._heldOut():
            return []
        words = "The accuracy will be measured on the validation micrographs, which is too optimistic."
        return [f"No micrographs are held out. {words}"]

    def _summary(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_MODEL):
            return ["Not trained yet."]
        use = "Grader" if self.network.get() == GRADER else "Model"
        lines = [f"Model: {self.outputModel}, for the parameter '{use}' of *screen micrographs*"]
        return [*lines, *self._accuracy(), f"Model card: {self._modelPath()}/card.md"]

    def _accuracy(self) -> List[str]:
        """Return what was measured on micrographs that were not trained on; nothing for a detector."""
        auc: Optional[float] = self.outputModel.getMetric("auc")
        if auc is None:
            return []
        where = "held-out" if self.outputModel.getMeasuredOn() == "test" else "validation"
        return [f"On the {where} micrographs: AUC of bad against good {auc:.3f}"]

    def _methods(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_MODEL):
            return []
        what = "graded" if self.network.get() == GRADER else "clean"
        number = self.inputMicrographs.get().getSize()
        return [f"A {NETWORKS[self.network.get()]} model was trained on {number} {what} micrographs with cryoice."]


def _default(network: int, name: str) -> Any:
    return KINDS[NETWORKS[network]].defaults[name]
