# SPDX-License-Identifier: GPL-3.0-or-later
"""The tab *Screening* in the form of the screening protocol."""

from __future__ import annotations

from typing import Any

from pyworkflow.protocol import params

from cryoice_scipion.constants import ALL_GRADES, CLASSES, GOOD
from cryoice_scipion.core.workers.client import ANSWER_LIMIT

BAD_CLASSES = [name for name in CLASSES if name != GOOD]


def define_screening_params(form: Any) -> None:
    """Define the parameters of the tab *Screening*."""
    form.addSection(label="Screening")
    _define_verdict_params(form)
    _define_file_params(form)


def _define_verdict_params(form: Any) -> None:
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


def _define_file_params(form: Any) -> None:
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


def define_grade_params(form: Any) -> None:
    """Define the parameters of the grader, on the tab *Model*."""
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


def define_limit_params(form: Any) -> None:
    """Define the limits of the workers, on the tab *Streaming*."""
    form.addParam(
        "itemTimeout",
        params.FloatParam,
        default=ANSWER_LIMIT,
        expertLevel=params.LEVEL_ADVANCED,
        label="Time limit per micrograph (s)",
        help="If a micrograph takes longer, its worker process is ended and the micrograph is tried again after the "
        f"others. After the third time, it fails. Default: {ANSWER_LIMIT:g} s, which is enough for a slow CPU. "
        "Decrease it if a hanging micrograph must not delay a live session. The limit may be changed before "
        "*Continue*.",
    )
    form.addParam(
        "memoryLimit",
        params.FloatParam,
        default=None,
        allowsNull=True,
        expertLevel=params.LEVEL_ADVANCED,
        label="Memory limit per worker (GB; empty: none)",
        help="The main memory that each worker process may use, on Linux. The memory of a GPU does not count. A "
        "micrograph that needs more fails, or is tried again after the others. Set a limit if other programs share "
        "the machine: without one, a huge micrograph can make the system end any of them. It does not apply to a "
        "cluster. The limit may be changed before *Continue*.",
    )
