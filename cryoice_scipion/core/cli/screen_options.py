# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a screening, defined once for ``screen`` and ``relion``, and the settings that they give."""

from __future__ import annotations

import argparse
import os
from typing import Callable

from cryoice_scipion.constants import ALL_GRADES, CLASSES, CRYOICE_SCHEDULER, DEFAULT_MODEL, GOOD
from cryoice_scipion.core.config import ScreenConfig, parse_margins
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.workers.client import ANSWER_LIMIT

#: ``parser.add_argument``, or a function that passes its arguments on.
AddArgument = Callable[..., object]


def add_screen_options(add: AddArgument) -> None:
    """Define the options that do not name the input or the output."""
    add(
        "--pixel-size",
        type=float,
        metavar="A",
        help="pixel size of the micrographs in Å/px (default: from the headers)",
    )
    add("--particle-diameter", type=float, metavar="A", help=_DIAMETER)
    add(
        "--coordinates-pixel-size",
        type=float,
        metavar="A",
        help="Å/px of the coordinates, if they were picked on binned micrographs (default: as in the coordinate files, "
        "else that of the micrographs)",
    )
    add("--flip-y", action="store_true", help="the coordinates count rows from the other end of the image")
    add("--box-size", type=float, metavar="PX", help="box size in px, if the coordinate files do not contain it")
    add("--model", default=DEFAULT_MODEL, metavar="NAME|DIR", help="model name or folder (default: %(default)s)")
    add("--threshold", type=float, metavar="T", help=_THRESHOLD)
    add("--margin", action="append", default=[], metavar="[CLASS=]A", help=_MARGIN)
    add("--ignore", action="append", default=[], metavar="CLASS", help=_IGNORE)
    add("--min-area", type=float, default=0.0, metavar="NM2", help=_MIN_AREA)
    add("--contrast", choices=("auto", "dark", "bright"), default="auto", help=_CONTRAST)
    add("--device", default="auto", help="auto, cpu, cuda:0, or several GPUs: cuda:0,1 (default: %(default)s)")
    add("--worker-process", action="store_true", help=_WORKER_PROCESS)
    add("--memory-limit", type=float, metavar="GB", help=_MEMORY_LIMIT)
    add("--item-timeout", type=float, metavar="S", help=_ITEM_TIMEOUT)
    add("--retry-quarantined", action="store_true", help=_RETRY_QUARANTINED)
    add("--cluster", default=os.environ.get(CRYOICE_SCHEDULER, ""), metavar="SCHEDULER", help=_CLUSTER)
    add(
        "--summary-every",
        type=int,
        default=1,
        metavar="N",
        help="update summary.json after every N micrographs (default: 1)",
    )
    add("--archive", action="store_true", help=_ARCHIVE)
    add("--reference", type=int, default=20, metavar="N", help=_REFERENCE)
    add("--max-bad-area", type=float, default=1.0, metavar="F", help=_MAX_BAD_AREA)
    add("--full-size-masks", action="store_true", help="also write masks with the size of the micrographs")
    add("--no-outlier", action="store_true", help=_NO_OUTLIER)
    add("--no-regions", action="store_true", help="do not list the regions of bad area")
    add("--region-maps", action="store_true", help=_REGION_MAPS)
    add("--reject-grade", action="append", default=[], metavar="GRADE", help=_REJECT_GRADE)
    add("--grader", default="", metavar="DIR", help=_GRADER)
    add("--miss-cost", type=float, default=1.0, metavar="C", help=_MISS_COST)
    add("--no-grade", action="store_true", help="do not grade micrographs")
    add("--box-files", action="store_true", help="also write the kept coordinates as EMAN .box files")
    add("--max-thumbnails", type=int, default=2000, metavar="N", help=_THUMBNAILS)


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Define the option that continues a run."""
    help_text = "continue the run in the output folder, and retry failed micrographs"
    parser.add_argument("--resume", action="store_true", help=help_text)
    parser.set_defaults(how_to_continue="continue with --resume")


_CLUSTER = (
    "compute on the workers of a Dask scheduler: its address (tcp://host:8786), its scheduler file, or slurm:N to "
    f"start N workers with Slurm (default: the environment variable {CRYOICE_SCHEDULER}; otherwise this machine)"
)
_WORKER_PROCESS = (
    "compute in a child process for each device, so that a micrograph that crashes it does not end the run (default: "
    "only when a run continues after a crash or a kill)"
)
_MEMORY_LIMIT = "limit the main memory of each child process; implies --worker-process (Linux; default: no limit)"
_ITEM_TIMEOUT = (
    "end the child process if a micrograph takes longer than S seconds; implies --worker-process (default: "
    f"{ANSWER_LIMIT:g} in child processes and on a cluster)"
)
_RETRY_QUARANTINED = "when a run continues: also retry micrographs whose process ended 3 times while they were computed"
_DIAMETER = (
    "particle diameter in Å; coordinates with bad area inside it are rejected (default: from the coordinate files, "
    "otherwise two thirds of the box size)"
)
_MARGIN = (
    "also reject coordinates with bad area within this distance (Å) of the particle's edge (default: 0); CLASS=A sets "
    f"the margin of one class ({', '.join(name for name in CLASSES if name != GOOD)}); may be repeated"
)
_IGNORE = "class of bad area to treat as good; may be repeated"
_MIN_AREA = "treat bad regions smaller than this (nm²) as good (default: %(default)g)"
_MAX_BAD_AREA = "discard micrographs whose bad area exceeds this fraction, 0 to 1 (default: %(default)g, keep all)"
_THRESHOLD = (
    "keep coordinates with at least this goodness, 0 (bad) to 1 (clean); a higher threshold rejects more; -1 scores "
    "all coordinates and keeps them (default: recommended by the model)"
)
_THUMBNAILS = (
    "maximum number of thumbnails, about 1 MB each (default: %(default)s); those with the most bad area are kept, and "
    "others spread over the run; -1: keep all"
)
_ARCHIVE = (
    "pack the maps, masks and grey pictures of every 1000 screened micrographs into an uncompressed ZIP file, for a "
    "disk that limits the number of files; --resume with this option also packs those of earlier sessions"
)
_NO_OUTLIER = (
    "do not measure how unlike the first micrographs of the session each one is; the measure has no effect on "
    "coordinates, masks and micrographs"
)
_REGION_MAPS = "also write the number of the region of each map cell, as MRC files; numbers are those of regions.csv"
_REJECT_GRADE = (
    f"discard micrographs of this grade ({', '.join(ALL_GRADES)}); may be repeated (default: no micrograph is "
    "discarded because of its grade)"
)
_GRADER = "folder of a grader that 'cryoice train --network resnet' wrote (default: the shipped grader)"
_MISS_COST = (
    "cost of a bad micrograph that gets a good grade, relative to that of a good micrograph that gets a bad grade; a "
    "higher cost gives more bad grades (default: %(default)g)"
)
_CONTRAST = (
    "contrast of the particles; auto: dark, unless at least 3 reference micrographs, and at least 80 %% of them, show "
    "bright particles (default: %(default)s)"
)
_REFERENCE = (
    "number of micrographs, from the first one on, that determine the contrast if it is auto (default: %(default)s); "
    "0: auto means dark"
)


def screen_config(args: argparse.Namespace) -> ScreenConfig:
    """Return the settings that these options give.

    Raises
    ------
    SettingsError
        If a value is invalid.
    """
    if args.summary_every < 1:
        raise SettingsError("--summary-every", f"{args.summary_every} is too small", "give 1 or more")
    margin, margins = parse_margins(args.margin)
    return ScreenConfig.make(
        model=str(args.model),
        threshold=args.threshold,
        margin=margin,
        margins=margins,
        ignore=sorted(set(args.ignore)),
        min_area=args.min_area,
        contrast=args.contrast,
        reference=args.reference,
        max_bad_area=args.max_bad_area,
        pixel_size=args.pixel_size,
        particle_diameter=args.particle_diameter,
        box_size=args.box_size,
        coordinates_pixel_size=args.coordinates_pixel_size,
        flip_y=args.flip_y,
        full_size_masks=args.full_size_masks,
        outlier=not args.no_outlier,
        regions=not args.no_regions,
        region_maps=args.region_maps,
        grade=not args.no_grade,
        grader=args.grader,
        miss_cost=args.miss_cost,
        reject_grades=sorted(set(args.reject_grade)),
        box_files=args.box_files,
        max_thumbnails=args.max_thumbnails,
    )
