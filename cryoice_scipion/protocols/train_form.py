# SPDX-License-Identifier: GPL-3.0-or-later
"""Form of the training protocol: its parameters, labels and help texts."""

from __future__ import annotations

from typing import Any

from pyworkflow.protocol import params

from cryoice_scipion.core.config import PatchConfig, TrainConfig

VIEWS = [["patch", "fft"], ["patch"], ["fft"]]
CONTRASTS = ["dark", "bright"]
FROM_DEFAULT, FROM_OBJECT, FROM_NOTHING = range(3)
_ANEW = f"startFrom=={FROM_NOTHING}"
_FIT, _PATCHES = TrainConfig(), PatchConfig()


class TrainForm:
    """Parameters of the training. The default values are those of the core."""

    def _defineParams(self, form: Any) -> None:
        self._defineGpuParams(
            form,
            "*Yes*: train on an NVIDIA GPU. Enter its ID, for example 0; if there are several IDs, only the first is "
            "used. *No*: train on the CPU, which is slower. Default: Yes if a GPU is found.",
        )
        self._defineInputParams(form)
        self._definePatchParams(form)
        self._defineFitParams(form)

    @staticmethod
    def _defineInputParams(form: Any) -> None:
        form.addSection(label="Input")
        form.addParam(
            "goodCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates",
            important=True,
            label="Good coordinates",
            help="Coordinates to keep: particles on clean ice. The set does not have to be complete.",
        )
        form.addParam(
            "badCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates",
            important=True,
            label="Bad coordinates",
            help="Coordinates to reject: on crystalline ice, frost, ethane, carbon or gold, or aggregates. Check them "
            "before training. Lists of false positives often contain mostly empty, clean ice, and a detector trained "
            "on such a list classifies clean ice as bad.",
        )
        form.addParam(
            "cleanMicrographs",
            params.PointerParam,
            pointerClass="SetOfMicrographs",
            allowsNull=True,
            label="Clean micrographs (optional)",
            help="Micrographs without any contamination. If given, background examples are taken only from them. "
            "Empty (default): background examples are taken from the micrographs of the coordinates.",
        )
        form.addParam(
            "startFrom",
            params.EnumParam,
            choices=["shipped model", "trained or imported here", "nothing"],
            default=FROM_DEFAULT,
            display=params.EnumParam.DISPLAY_HLIST,
            label="Start from",
            help="*shipped model* (default, recommended): fine-tune the model that comes with the plugin. Only its "
            "last layer is fitted to your coordinates; 5 to 50 bad coordinates are enough. *trained or imported "
            "here*: the same, starting from the output of *train ice detector* or *import ice detector*. *nothing*: "
            "train a new network on your coordinates only. This needs a few hundred good and a few hundred bad "
            "coordinates on several micrographs.",
        )
        form.addParam(
            "baseModel",
            params.PointerParam,
            pointerClass="CryoIceModel",
            condition=f"startFrom=={FROM_OBJECT}",
            label="Model to start from",
            help="The output of *train ice detector* or *import ice detector*.",
        )
        form.addParam(
            "holdOut",
            params.StringParam,
            default="",
            label="Held-out micrographs",
            help="Names of the micrographs of the test set, separated by commas. They are not used for training, "
            "fine-tuning or calibration, so that the accuracy measured on them is unbiased. Hold out at least two "
            "micrographs if possible. Empty (default): the accuracy is measured on the validation micrographs, which "
            "is too optimistic. The wand lists the micrographs.",
        )
        form.addParam(
            "modelName",
            params.StringParam,
            default="",
            label="Model name",
            help="The name of the model in its model card. Empty (default): 'model'.",
        )

    @staticmethod
    def _definePatchParams(form: Any) -> None:
        form.addSection(label="Patches")
        form.addParam(
            "useBackground",
            params.BooleanParam,
            default=_PATCHES.background,
            label="Use background as good examples?",
            help="*Yes* (default, recommended): positions away from all good and bad coordinates are additional good "
            "examples. *No*: the detector learns to distinguish particles from everything else, and classifies most "
            "clean, empty ice as bad. It then still cleans coordinates, but its masks and bad areas are unreliable.",
        )
        form.addParam(
            "views",
            params.EnumParam,
            choices=["patch and its FFT", "patch only", "FFT only"],
            default=0,
            condition=_ANEW,
            label="Views",
            help="The input of the network at each position: the image patch, the logarithm of its power spectrum "
            "(FFT), or both (default).",
        )
        form.addParam(
            "sampling",
            params.FloatParam,
            default=_PATCHES.sampling,
            condition=_ANEW,
            label="Sampling (Å/px)",
            help=f"The pixel size to which every micrograph is rescaled. A patch is {_PATCHES.window} px wide, or "
            f"{_PATCHES.window * _PATCHES.sampling:g} Å at the default of {_PATCHES.sampling:g} Å/px. Micrographs with "
            "a larger pixel size cannot be used.",
        )
        form.addParam(
            "contrast",
            params.EnumParam,
            choices=CONTRASTS,
            default=0,
            label="Contrast",
            help="Whether particles and contamination are *dark* (default) or *bright* (inverted contrast) on the "
            "micrographs.",
        )
        form.addParam(
            "backgroundRatio",
            params.FloatParam,
            default=_PATCHES.background_ratio,
            condition="useBackground",
            expertLevel=params.LEVEL_ADVANCED,
            label="Background examples per good coordinate",
            help="The number of background examples divided by the number of good coordinates. Default: "
            f"{_PATCHES.background_ratio:g}.",
        )
        form.addParam(
            "maxPerMicrograph",
            params.IntParam,
            default=_PATCHES.max_per_micrograph,
            expertLevel=params.LEVEL_ADVANCED,
            label="Maximum examples per micrograph",
            help="The maximum number of examples of each kind (good, bad, background) from one micrograph, so that a "
            f"crowded micrograph does not dominate the training. Default: {_PATCHES.max_per_micrograph}.",
        )

    @staticmethod
    def _defineFitParams(form: Any) -> None:
        form.addSection(label="Training")
        form.addParam(
            "epochs",
            params.IntParam,
            default=_FIT.epochs,
            condition=_ANEW,
            label="Epochs",
            help="The maximum number of passes over the training examples. Training stops earlier if the validation "
            f"loss no longer improves (see Patience). Default: {_FIT.epochs}.",
        )
        form.addParam(
            "seed",
            params.IntParam,
            default=_FIT.seed,
            label="Seed",
            help="Seed of the random numbers. The same seed, input and settings give the same model on the same "
            f"machine. Default: {_FIT.seed}.",
        )
        form.addParam(
            "dashboard",
            params.BooleanParam,
            default=False,
            label="Write a dashboard?",
            help="*Yes*: write the training for TensorBoard: curves, precision and recall, calibration, worst mistakes "
            "and embedding, while it runs. *Analyze results* opens it in the browser. TensorBoard must be installed "
            "in the Python of the plugin (python -m pip install tensorboard). *No* (default): write the plots at the "
            "end only.",
        )
        for name, kind, default, label, words in _EXPERT:
            options = {"condition": _ANEW} if name != "validationShare" else {}
            form.addParam(
                name, kind, default=default, expertLevel=params.LEVEL_ADVANCED, label=label, help=words, **options
            )


_EXPERT = (
    (
        "patience",
        params.IntParam,
        _FIT.patience,
        "Patience",
        f"The number of epochs without a lower validation loss after which training stops. Default: {_FIT.patience}.",
    ),
    (
        "validationShare",
        params.FloatParam,
        _FIT.validation,
        "Validation fraction",
        "The fraction of the micrographs, without the held-out ones, that is used for early stopping, calibration and "
        "the recommended threshold. All patches of a micrograph are in the same set. "
        f"Default: {_FIT.validation:g}.",
    ),
    (
        "batchSize",
        params.IntParam,
        _FIT.batch,
        "Batch size",
        f"The number of examples per training step. Decrease it if GPU memory runs out. Default: {_FIT.batch}.",
    ),
    (
        "learningRate",
        params.FloatParam,
        _FIT.learning_rate,
        "Learning rate",
        f"Step size of the AdamW optimiser. Decrease it if the loss oscillates. Default: {_FIT.learning_rate:g}.",
    ),
    (
        "classWeights",
        params.BooleanParam,
        _FIT.class_weights,
        "Weight classes equally?",
        "*Yes*: good and bad examples have the same total weight, however many there are of each. The probabilities "
        "are then poorly calibrated, and more clean area is classified as bad. *No* (default): adjust the threshold "
        "instead.",
    ),
)
