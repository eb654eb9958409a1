# SPDX-License-Identifier: GPL-3.0-or-later
"""The form of the training protocol, parameter by parameter."""

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
    """What the training asks the user. The defaults are those of the core."""

    def _defineParams(self, form: Any) -> None:
        self._defineGpuParams(
            form, "Yes: an NVIDIA GPU trains; of several numbers the first counts. No: the processor trains."
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
            help="Places that are worth keeping: particles on clean ice. They need not be all there are.",
        )
        form.addParam(
            "badCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates",
            important=True,
            label="Bad coordinates",
            help="Places that are not: on crystals, frost, ethane, carbon or gold, aggregates. Look at what they sit "
            "on: lists of 'false positives' are often mostly empty clean ice, and a detector trained on such a list "
            "learns to call clean ice bad.",
        )
        form.addParam(
            "cleanMicrographs",
            params.PointerParam,
            pointerClass="SetOfMicrographs",
            allowsNull=True,
            label="Clean micrographs (optional)",
            help="Micrographs that are clean all over. Given some, background examples are drawn on these only.",
        )
        form.addParam(
            "startFrom",
            params.EnumParam,
            choices=["shipped model", "trained or imported here", "nothing"],
            default=FROM_DEFAULT,
            display=params.EnumParam.DISPLAY_HLIST,
            label="Start from",
            help="*shipped model* (recommended): what it has learned stays, and its last layer is fitted to your "
            "coordinates; 5 to 50 bad ones are enough. *trained or imported here*: the same with a model of a run of "
            "*train ice detector* or *import ice detector*. *nothing*: a new network sees only your coordinates; a few "
            "hundred of each kind, over several micrographs, are needed.",
        )
        form.addParam(
            "baseModel",
            params.PointerParam,
            pointerClass="CryoIceModel",
            condition=f"startFrom=={FROM_OBJECT}",
            label="Model to start from",
            help="The output of *train ice detector* or of *import ice detector*.",
        )
        form.addParam(
            "holdOut",
            params.StringParam,
            default="",
            label="Held-out micrographs",
            help="Names of micrographs, separated by commas, that are kept aside as the test set: nothing is trained, "
            "tuned or calibrated on them, so that the figures of the model's card are honest. At least two, if you can "
            "spare them. Empty: none, and the figures are those of the validation micrographs.",
        )
        form.addParam(
            "modelName",
            params.StringParam,
            default="",
            label="Name of the model",
            help="How the model is called in its card. Empty: 'model'.",
        )

    @staticmethod
    def _definePatchParams(form: Any) -> None:
        form.addSection(label="Patches")
        form.addParam(
            "useBackground",
            params.BooleanParam,
            default=_PATCHES.background,
            label="Background as further GOOD?",
            help="Yes (recommended): clean places away from both kinds of coordinates are good examples too. No: the "
            "detector learns 'particle or not' and calls most clean empty ice bad; picks are still cleaned well, masks "
            "and bad areas are not to be believed.",
        )
        form.addParam(
            "views",
            params.EnumParam,
            choices=["patch and its FFT", "patch only", "FFT only"],
            default=0,
            condition=_ANEW,
            label="Views",
            help="What the network is shown of each place: the patch, the logarithm of its power spectrum, or both.",
        )
        form.addParam(
            "sampling",
            params.FloatParam,
            default=_PATCHES.sampling,
            condition=_ANEW,
            label="Sampling (Å/px)",
            help="Every micrograph is brought to this sampling. A patch is 64 px of it: 4 Å/px makes 256 Å, enough to "
            "see frost and film edges. Coarser micrographs than this cannot be used.",
        )
        form.addParam(
            "contrast",
            params.EnumParam,
            choices=CONTRASTS,
            default=0,
            label="Contrast",
            help="Whether particles and dirt are *dark* (micrographs as recorded) or *bright* (inverted ones).",
        )
        form.addParam(
            "backgroundRatio",
            params.FloatParam,
            default=_PATCHES.background_ratio,
            condition="useBackground",
            expertLevel=params.LEVEL_ADVANCED,
            label="Backgrounds for each good one",
            help="As many background examples are drawn as this times the number of good coordinates.",
        )
        form.addParam(
            "maxPerMicrograph",
            params.IntParam,
            default=_PATCHES.max_per_micrograph,
            expertLevel=params.LEVEL_ADVANCED,
            label="Most examples a micrograph",
            help="Of each kind; a crowded micrograph then does not outweigh the others.",
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
            help="The most passes over the examples. Training stops earlier when the validation loss stands still.",
        )
        form.addParam(
            "seed",
            params.IntParam,
            default=_FIT.seed,
            label="Seed",
            help="The same seed, input and settings give the same model on the same machine.",
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
        "Epochs without a better validation loss until it stops.",
    ),
    (
        "validationShare",
        params.FloatParam,
        _FIT.validation,
        "Validation share",
        "Share of the micrographs, besides the held-out ones, that early stopping, calibration and the recommended "
        "threshold are taken from. Split by micrograph, never by patch.",
    ),
    ("batchSize", params.IntParam, _FIT.batch, "Batch size", "Examples a step. Smaller ones need less GPU memory."),
    ("learningRate", params.FloatParam, _FIT.learning_rate, "Learning rate", "Step size of the optimiser (AdamW)."),
    (
        "classWeights",
        params.BooleanParam,
        _FIT.class_weights,
        "Weigh classes?",
        "Yes: good and bad count the same however many there are of each. Costs calibration: more clean area is then "
        "called bad. A threshold does the same job.",
    ),
)
