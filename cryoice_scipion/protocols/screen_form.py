# SPDX-License-Identifier: GPL-3.0-or-later
"""Form of the screening protocol: its parameters, labels and help texts."""

from __future__ import annotations

from typing import Any

from pyworkflow.protocol import params

from cryoice_scipion.constants import ALL_GRADES, CLASSES, GOOD

BAD_CLASSES = [name for name in CLASSES if name != GOOD]
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
        self._defineScreeningParams(form)
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
            "Default: 20. With 0, contrast *auto* means dark.",
        )

    @staticmethod
    def _defineScreeningParams(form: Any) -> None:
        form.addSection(label="Screening")
        form.addParam(
            "threshold",
            params.FloatParam,
            default=None,
            allowsNull=True,
            label="Threshold (empty: model default)",
            help="A coordinate is kept if its goodness (0 bad to 1 clean) is at least the threshold. A higher "
            "threshold rejects more coordinates. *Empty* (default): the threshold that the model recommends. *-1*: "
            "keep all coordinates and only score them. Masks use the same threshold; if it is empty or -1, they use "
            "the model's. The wand shows the effect of a threshold on input micrographs before the run.",
        )
        form.addParam(
            "margin",
            params.FloatParam,
            default=0.0,
            label="Margin (Å)",
            help="A coordinate is rejected if bad area lies within this distance (Å) of the particle's edge. Default: "
            "0, so that only bad area inside the particle's disc counts. Increase it to remove particles close to "
            "contamination.",
        )
        form.addParam(
            "particleDiameter",
            params.FloatParam,
            default=None,
            allowsNull=True,
            label="Particle diameter (Å)",
            help="The diameter of the disc around each coordinate that must be free of bad area. *Empty* (default): "
            "two thirds of the box size of the coordinates. Enter the diameter if the box is much larger or smaller "
            "than 1.5 times the particle.",
        )
        form.addParam(
            "classMargins",
            params.StringParam,
            default="",
            expertLevel=params.LEVEL_ADVANCED,
            label="Margins by class (Å)",
            help="Different margins for single classes of bad area, for example *support=100 contamination=50*. All "
            f"other classes use the margin above. Classes: {', '.join(BAD_CLASSES)}.",
        )
        form.addParam(
            "ignoreClasses",
            params.StringParam,
            default="",
            expertLevel=params.LEVEL_ADVANCED,
            label="Ignored classes",
            help="Classes of bad area to treat as good, separated by spaces, for example *aggregate*. This affects "
            f"masks, bad area and coordinates, but not the P(BAD) maps. Classes: {', '.join(BAD_CLASSES)}.",
        )
        form.addParam(
            "minArea",
            params.FloatParam,
            default=0.0,
            expertLevel=params.LEVEL_ADVANCED,
            label="Minimum bad region (nm²)",
            help="Bad regions with a smaller area are treated as good. Default: 0, every region counts. Increase it "
            "if small spots of clean ice are marked as bad.",
        )
        form.addParam(
            "maxBadArea",
            params.FloatParam,
            default=1.0,
            label="Maximum bad area (0 to 1)",
            help="A micrograph is discarded, with all its coordinates, if a larger fraction of its area is bad. The "
            "smeared border of motion-corrected micrographs does not count. Default: 1, no micrograph is discarded "
            "because of its bad area.",
        )
        form.addParam(
            "gradeMicrographs",
            params.BooleanParam,
            default=True,
            expertLevel=params.LEVEL_ADVANCED,
            label="Grade micrographs?",
            help=f"*Yes* (default): each micrograph gets a grade ({', '.join(ALL_GRADES)}), a confidence and a reason. "
            "Grades need a model that tells the classes of bad area apart, as the shipped one does. *No*: no grades.",
        )
        form.addParam(
            "inputGrader",
            params.PointerParam,
            pointerClass="CryoIceModel",
            allowsNull=True,
            condition="gradeMicrographs",
            expertLevel=params.LEVEL_ADVANCED,
            label="Grader (optional)",
            help="A grader that *train on micrographs* trained in this project. *Empty* (default): the grader folder.",
        )
        form.addParam(
            "graderFolder",
            params.FolderParam,
            default="",
            condition="gradeMicrographs",
            expertLevel=params.LEVEL_ADVANCED,
            label="Grader folder (empty: shipped)",
            help="The folder of a grader that *cryoice train --network resnet* wrote. It grades micrographs also with "
            "models that do not tell the classes of bad area apart. *Empty* (default): the shipped grader.",
        )
        form.addParam(
            "missCost",
            params.FloatParam,
            default=1.0,
            condition="gradeMicrographs",
            expertLevel=params.LEVEL_ADVANCED,
            label="Cost of a missed bad micrograph",
            help="The cost of a bad micrograph that gets a good grade, relative to that of a good micrograph that gets "
            "a bad grade. A higher cost gives more bad grades. Default: 1, both cost the same.",
        )
        form.addParam(
            "rejectGrades",
            params.StringParam,
            default="",
            condition="gradeMicrographs",
            expertLevel=params.LEVEL_ADVANCED,
            label="Rejected grades",
            help="Micrographs of these grades are discarded, with all their coordinates. Enter the grades separated by "
            "spaces, for example *crystalline film empty*. *Empty* (default): no micrograph is discarded because of "
            f"its grade. Grades: {', '.join(ALL_GRADES)}.",
        )
        form.addParam(
            "saveMasks",
            params.BooleanParam,
            default=False,
            expertLevel=params.LEVEL_ADVANCED,
            label="Save full-size masks?",
            help="Maps and masks on the coarse grid of the detector are always written. *Yes*: also write masks with "
            "the size of the micrographs (1 good, 0 bad), for use in other programs. Default: No.",
        )
        form.addParam(
            "saveMicThumbnailWithMask",
            params.BooleanParam,
            default=True,
            expertLevel=params.LEVEL_ADVANCED,
            label="Save thumbnails?",
            help="*Yes* (default): save a small picture of each micrograph. It shows the bad areas, coloured by class, "
            "and the kept and rejected coordinates. *No*: saves disk space, but the viewer opens micrographs more "
            "slowly.",
        )
        form.addParam(
            "maxThumbnails",
            params.IntParam,
            default=2000,
            condition="saveMicThumbnailWithMask",
            expertLevel=params.LEVEL_ADVANCED,
            label="Maximum number of thumbnails",
            help="Each thumbnail takes about 1 MB. If there are more micrographs, the plugin keeps the thumbnails of "
            "those with the most bad area, and of others spread over the whole run. Default: 2000. *-1*: keep all. The "
            "number may be changed before *Continue*.",
        )

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
        form.addParallelSection(threads=3, mpi=0)
