# SPDX-License-Identifier: GPL-3.0-or-later
"""Form of the screening protocol: its parameters, labels and help texts."""

from __future__ import annotations

from typing import Any

from pyworkflow.protocol import params

from cryoice_scipion.protocols.screening_tab import (
    define_grade_params,
    define_limit_params,
    define_screening_params,
)

MICS_SAME, MICS_OTHER = 0, 1
SCALE_COORDINATES, SCALE_MICROGRAPHS = 0, 1
MODEL_DEFAULT, MODEL_OBJECT, MODEL_FOLDER = 0, 1, 2
CONTRASTS = ["auto", "dark", "bright"]


class ScreenForm:
    """Parameters of the screening. Names and meanings follow Xmipp's deep micrograph cleaner where it has the same."""

    def _defineParams(self, form: Any) -> None:
        self._defineGpuParams(
            form,
            "*Yes*: compute on NVIDIA GPUs. Enter the IDs of the GPUs to use, separated by commas, for example 0 or "
            "0,1. Each GPU runs one worker process. *No*: compute on the CPU. Default: Yes if a GPU is found.",
        )
        self._defineInputParams(form)
        self._defineModelParams(form)
        define_screening_params(form)
        self._defineStreamingParams(form)

    @staticmethod
    def _defineInputParams(form: Any) -> None:
        form.addSection(label="Input")
        form.addParam(
            "inputCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates",
            important=True,
            label="Coordinates",
            help="The coordinates (picks) to clean. Micrographs without coordinates are screened too.",
        )
        form.addParam(
            "micsSource",
            params.EnumParam,
            choices=["same as coordinates", "other"],
            default=MICS_SAME,
            display=params.EnumParam.DISPLAY_HLIST,
            important=True,
            label="Micrographs source",
            help="The micrographs to screen. *same as coordinates* (default): the micrographs that were picked. "
            "*other*: other micrographs of the same fields of view. Choose *other* if particles were picked on "
            "filtered or denoised micrographs, because filters remove the signal of ice.",
        )
        form.addParam(
            "inputMicrographs",
            params.PointerParam,
            pointerClass="SetOfMicrographs",
            condition=f"micsSource=={MICS_OTHER}",
            important=True,
            label="Input micrographs",
            help="The micrographs to screen. They are matched with the picked micrographs by name; common suffixes "
            "such as _DW or _aligned are ignored. If no name matches, they are matched by id. Their pixel size may "
            "differ.",
        )
        form.addParam(
            "useOtherScale",
            params.EnumParam,
            choices=["same as coordinates", "scale to micrographs"],
            default=SCALE_COORDINATES,
            display=params.EnumParam.DISPLAY_HLIST,
            condition=f"micsSource=={MICS_OTHER}",
            label="Coordinates scale",
            help="*same as coordinates* (default): the output coordinates keep the positions, box size and micrographs "
            "of the input. *scale to micrographs*: positions and box size are scaled to the 'other' micrographs and "
            "rounded to whole pixels; the output coordinates belong to those micrographs.",
        )

    @staticmethod
    def _defineModelParams(form: Any) -> None:
        form.addSection(label="Model")
        form.addParam(
            "modelSource",
            params.EnumParam,
            choices=["shipped default", "trained or imported here", "folder"],
            default=MODEL_DEFAULT,
            display=params.EnumParam.DISPLAY_HLIST,
            label="Model",
            help="The detector. *shipped default*: the model that comes with the plugin. *trained or imported here*: "
            "the output of *train ice detector* or *import ice detector*. *folder*: a model folder on disk. The model "
            "card (card.md in the model folder) describes the training data, the accuracy and known failures.",
        )
        form.addParam(
            "inputModel",
            params.PointerParam,
            pointerClass="CryoIceModel",
            condition=f"modelSource=={MODEL_OBJECT}",
            label="Trained model",
            help="The output of *train ice detector* or *import ice detector*.",
        )
        form.addParam(
            "modelFolder",
            params.FolderParam,
            condition=f"modelSource=={MODEL_FOLDER}",
            label="Model folder",
            help="A folder that contains model.json and the weights, as written by *cryoice train*.",
        )
        form.addParam(
            "contrast",
            params.EnumParam,
            choices=CONTRASTS,
            default=0,
            expertLevel=params.LEVEL_ADVANCED,
            label="Contrast",
            help="Whether particles and contamination are *dark* or *bright* on the micrographs. *auto* (default): "
            "dark, unless at least three reference micrographs, and at least 80 % of them, show bright particles. "
            "Choose *bright* for micrographs with inverted contrast.",
        )
        form.addParam(
            "referenceMicrographs",
            params.IntParam,
            default=20,
            expertLevel=params.LEVEL_ADVANCED,
            label="Reference micrographs",
            help="The number of micrographs, from the first one on, that determine the contrast if it is *auto*. "
            "Results begin after them. *outlier* and the session map compare with them and need five. Default: 20. "
            "With 0, contrast *auto* means dark.",
        )
        define_grade_params(form)

    @staticmethod
    def _defineStreamingParams(form: Any) -> None:
        form.addSection(label="Streaming")
        form.addParam(
            "streamingBatchSize",
            params.IntParam,
            default=-1,
            label="Batch size",
            help="The maximum number of micrographs that are screened between two checks for new input. *-1* (default) "
            "or *0*: 64 micrographs per GPU (or CPU worker). A batch never waits for more micrographs.",
        )
        form.addParam(
            "streamingSleepOnWait",
            params.IntParam,
            default=10,
            label="Sleep when waiting (s)",
            help="How long to wait (s) before checking again for new input when there is nothing to screen. "
            "Default: 10 s.",
        )
        define_limit_params(form)
        form.addParallelSection(threads=3, mpi=0)
