# SPDX-License-Identifier: GPL-3.0-or-later
"""The form of the screening protocol, parameter by parameter."""

from __future__ import annotations

from typing import Any

from pyworkflow.protocol import params

from cryoice_scipion.constants import CLASSES, GOOD

BAD_CLASSES = [name for name in CLASSES if name != GOOD]
MICS_SAME, MICS_OTHER = 0, 1
SCALE_COORDINATES, SCALE_MICROGRAPHS = 0, 1
MODEL_DEFAULT, MODEL_OBJECT, MODEL_FOLDER = 0, 1, 2
CONTRASTS = ["auto", "dark", "bright"]


class ScreenForm:
    """What the screening asks the user; names and senses as in Xmipp's deep micrograph cleaner where it has them."""

    def _defineParams(self, form: Any) -> None:
        self._defineGpuParams(
            form,
            "Yes: NVIDIA GPUs do the computing, and the run is refused where there are none. No: the processor does. "
            "The numbers are those of the GPUs, such as 0 or 0,1; each runs one worker, which keeps the model loaded.",
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
            help="The picks to be cleaned. Micrographs without picks are screened too.",
        )
        form.addParam(
            "micsSource",
            params.EnumParam,
            choices=["same as coordinates", "other"],
            default=MICS_SAME,
            display=params.EnumParam.DISPLAY_HLIST,
            important=True,
            label="Micrographs source",
            help="Which micrographs are looked at: those that were picked (*same as coordinates*), or other ones of "
            "the same field, such as unbinned or unfiltered ones (*other*). Micrographs as they were recorded serve "
            "best: filters remove what ice is told by.",
        )
        form.addParam(
            "inputMicrographs",
            params.PointerParam,
            pointerClass="SetOfMicrographs",
            condition=f"micsSource=={MICS_OTHER}",
            important=True,
            label="Input micrographs",
            help="The micrographs to look at. They are matched with the picked ones by name (usual suffixes such as "
            "_DW or _aligned are tolerated), or by id when not a single name matches. The pixel size may differ.",
        )
        form.addParam(
            "useOtherScale",
            params.EnumParam,
            choices=["same as coordinates", "scale to micrographs"],
            default=SCALE_COORDINATES,
            display=params.EnumParam.DISPLAY_HLIST,
            condition=f"micsSource=={MICS_OTHER}",
            label="Coordinates scale",
            help="*same as coordinates*: the output has the input's positions and box size, on the input's "
            "micrographs. *scale to micrographs*: positions (rounded) and box size are those of the 'other' "
            "micrographs, and the output belongs to them.",
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
            help="The detector: the one that comes with the package, one from a run of *train ice detector* or "
            "*import ice detector*, or a model folder on disk. The card in the model's folder says what it was "
            "trained on, how good it was there, and where it fails.",
        )
        form.addParam(
            "inputModel",
            params.PointerParam,
            pointerClass="CryoIceModel",
            condition=f"modelSource=={MODEL_OBJECT}",
            label="Trained model",
            help="The output of *train ice detector* or of *import ice detector*.",
        )
        form.addParam(
            "modelFolder",
            params.FolderParam,
            condition=f"modelSource=={MODEL_FOLDER}",
            label="Model folder",
            help="A folder with model.json and weights, as *cryoice train* wrote it.",
        )
        form.addParam(
            "contrast",
            params.EnumParam,
            choices=CONTRASTS,
            default=0,
            expertLevel=params.LEVEL_ADVANCED,
            label="Contrast",
            help="Whether particles and dirt are *dark* or *bright*. *auto*: dark, unless at least three reference "
            "micrographs, and 80 % of them, show bright particles.",
        )
        form.addParam(
            "referenceMicrographs",
            params.IntParam,
            default=20,
            expertLevel=params.LEVEL_ADVANCED,
            label="Reference micrographs",
            help="The level of 'clean' is taken over this many first micrographs of the data set (all, if there are "
            "fewer), then frozen. 0: the model's own level, and contrast *auto* is dark.",
        )

    @staticmethod
    def _defineScreeningParams(form: Any) -> None:
        form.addSection(label="Screening")
        form.addParam(
            "threshold",
            params.FloatParam,
            default=None,
            allowsNull=True,
            label="Threshold (empty: the model's)",
            help="A coordinate is kept when its goodness is at least this; higher removes more. Leave it *empty* for "
            "the threshold that the model recommends. *-1* keeps all and only scores; 0 and 1 do what they say. "
            "The masks are cut at the same threshold, or at the model's own when this is empty or -1. The wand beside "
            "it shows what each threshold keeps on micrographs of the input, before the run.",
        )
        form.addParam(
            "margin",
            params.FloatParam,
            default=0.0,
            label="Margin (Å)",
            help="A coordinate is rejected when bad area lies within this distance of the particle's edge. With 0, "
            "bad area inside the particle's disc rejects it.",
        )
        form.addParam(
            "particleDiameter",
            params.FloatParam,
            default=None,
            allowsNull=True,
            label="Particle diameter (Å)",
            help="The particle's disc, in which bad area rejects a coordinate, has this diameter. *Empty*: two thirds "
            "of the box size of the coordinates.",
        )
        form.addParam(
            "classMargins",
            params.StringParam,
            default="",
            expertLevel=params.LEVEL_ADVANCED,
            label="Margins by class (Å)",
            help="Margins of single classes of bad area, such as *support=100 contamination=50*; the others have the "
            f"margin above. The classes are {', '.join(BAD_CLASSES)}.",
        )
        form.addParam(
            "ignoreClasses",
            params.StringParam,
            default="",
            expertLevel=params.LEVEL_ADVANCED,
            label="Ignored classes",
            help="Classes of bad area that count as good, separated by blanks, such as *aggregate*. Masks, areas and "
            "coordinates leave them out; the maps of P(BAD) do not.",
        )
        form.addParam(
            "minArea",
            params.FloatParam,
            default=0.0,
            expertLevel=params.LEVEL_ADVANCED,
            label="Smallest bad region (nm²)",
            help="Smaller bad regions count as good. With 0, every region counts; one of a single map cell rejects "
            "only the coordinates in it.",
        )
        form.addParam(
            "maxBadArea",
            params.FloatParam,
            default=1.0,
            label="Largest bad area (0 to 1)",
            help="A micrograph is discarded when a larger share of it is bad (0 to 1; the smeared border of aligned "
            "micrographs does not count), and none of its picks is kept. 1 discards no micrograph for its area.",
        )
        form.addParam(
            "saveMasks",
            params.BooleanParam,
            default=False,
            expertLevel=params.LEVEL_ADVANCED,
            label="Save full-size masks?",
            help="Maps and masks on the detector's coarse grid are always written. Yes: masks in the micrographs' "
            "own size too, for programs that want those (1 = good, 0 = bad).",
        )
        form.addParam(
            "saveMicThumbnailWithMask",
            params.BooleanParam,
            default=True,
            expertLevel=params.LEVEL_ADVANCED,
            label="Save thumbnails?",
            help="A small picture of each micrograph with its bad areas tinted by class and its kept and rejected "
            "picks. The viewer shows them.",
        )
        form.addParam(
            "maxThumbnails",
            params.IntParam,
            default=2000,
            condition="saveMicThumbnailWithMask",
            expertLevel=params.LEVEL_ADVANCED,
            label="Thumbnails at most",
            help="Each takes about 1 MB. When there are more micrographs, those with the most bad area keep their "
            "thumbnails, and others that are spread over the whole run. *-1*: all. May be changed before *Continue*.",
        )

    @staticmethod
    def _defineStreamingParams(form: Any) -> None:
        form.addSection(label="Streaming")
        form.addParam(
            "streamingBatchSize",
            params.IntParam,
            default=-1,
            label="Batch size",
            help="The largest number of micrographs that are screened and handed on together; *-1* or *0*: what is "
            "waiting. A batch never waits to fill up.",
        )
        form.addParam(
            "streamingSleepOnWait",
            params.IntParam,
            default=10,
            label="Sleep when waiting (s)",
            help="Seconds between two looks at the input while there is nothing to do.",
        )
        form.addParallelSection(threads=3, mpi=0)
