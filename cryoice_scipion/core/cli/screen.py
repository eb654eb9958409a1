# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice screen``: find bad areas on micrographs, and remove the coordinates that lie on them."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional

from cryoice_scipion.constants import CLASSES, DEFAULT_MODEL, GOOD
from cryoice_scipion.core.cli.running import (
    interrupt,
    logger,
    on_signals,
    open_run,
    print_report,
    status_of,
)
from cryoice_scipion.core.cli.watch import add_watch_arguments, check_watch_arguments, watch_folder
from cryoice_scipion.core.config import ScreenConfig, parse_margins
from cryoice_scipion.core.errors import CryoIceError, SettingsError
from cryoice_scipion.core.records import MicrographTask
from cryoice_scipion.core.results.balance import all_unmatched, names_in_short

if TYPE_CHECKING:
    from cryoice_scipion.core.formats.coordinates import PickTable

NAME = "screen"
HELP = "find bad areas on micrographs, and remove the coordinates that lie on them"
EPILOG = (
    "Exit status: 0 success; 1 some micrographs failed, or some coordinate files or rows could not be read (they are "
    "listed, all others are done); 2 invalid arguments, or no coordinates could be read or matched; 130 or 143 stopped "
    "by Ctrl-C or SIGTERM. With --watch, Ctrl-C and SIGTERM are the normal end and give status 0."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    from cryoice_scipion.core.formats.table import formats_in_words  # pandas: only when needed

    parser.epilog = EPILOG
    add = parser.add_argument
    add("micrographs", nargs="+", metavar="MICROGRAPHS", help="images, folders, or a list of images (.star, .cs, .csg)")
    add("--output", required=True, type=Path, metavar="DIR", help="folder for all output files")
    add("--coordinates", metavar="PATH", help=f"a file or a folder of one format: {formats_in_words()}")
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
    add(
        "--summary-every",
        type=int,
        default=1,
        metavar="N",
        help="update summary.json after every N micrographs (default: 1)",
    )
    add("--reference", type=int, default=20, metavar="N", help=_REFERENCE)
    add("--max-bad-area", type=float, default=1.0, metavar="F", help=_MAX_BAD_AREA)
    add("--full-size-masks", action="store_true", help="also write masks with the size of the micrographs")
    add("--max-thumbnails", type=int, default=2000, metavar="N", help=_THUMBNAILS)
    add("--resume", action="store_true", help="continue the run in the output folder, and retry failed micrographs")
    add_watch_arguments(parser)


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
_CONTRAST = (
    "contrast of the particles; auto: dark, unless at least 3 reference micrographs, and at least 80 %% of them, show "
    "bright particles (default: %(default)s)"
)
_REFERENCE = (
    "number of micrographs, from the first one on, that determine the contrast if it is auto (default: %(default)s); "
    "0: auto means dark"
)


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    with on_signals(interrupt, signal.SIGTERM):
        return _main(args)


def _main(args: argparse.Namespace) -> int:
    from cryoice_scipion.core.formats.coordinates import read_picks
    from cryoice_scipion.core.images.naming import expand_micrographs

    log = logger()
    check_watch_arguments(args)
    config = _config(args)
    if args.watch:
        return watch_folder(args, config, log)
    tasks = expand_micrographs(args.micrographs)
    picks: Optional[PickTable] = None
    if args.coordinates:
        picks = read_picks(Path(args.coordinates))
        for warning in picks.warnings:
            log.warning(warning)
        _give_picks(tasks, picks, args.resume, log)
        _check_size(tasks, config)
    return _screen(args, config, tasks, picks, log)


def _config(args: argparse.Namespace) -> ScreenConfig:
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
        max_thumbnails=args.max_thumbnails,
    )


def _give_picks(tasks: List[MicrographTask], picks: PickTable, resume: bool, log: logging.Logger) -> None:
    """Assign the coordinates to their micrographs, and log those without a micrograph.

    Raises
    ------
    CoordinatesError
        If no coordinate has a micrograph.
    """
    from cryoice_scipion.core.formats.matching import assign_picks

    matches = assign_picks(picks, tasks)
    for warning in matches.warnings:
        log.warning(warning)
    assigned = len(picks) - len(picks.unmatched)
    if len(picks) and not assigned and not resume:  # a resumed run may have assigned some before
        raise all_unmatched(len(picks), names_in_short([*matches.unmatched, *matches.ambiguous]))
    log.info("%d coordinates on %d of %d micrographs", assigned, sum(bool(task.picks) for task in tasks), len(tasks))
    if matches.unmatched:  # they are written to rejected.star without a goodness
        log.warning(
            "%d coordinates are left out, because no micrograph matches their names (%d): %s",
            sum(matches.unmatched.values()),
            len(matches.unmatched),
            names_in_short(matches.unmatched),
        )


def _check_size(tasks: List[MicrographTask], config: ScreenConfig) -> None:
    """Raise an error early if the particle diameter is unknown."""
    from cryoice_scipion.core.maps.scoring import particle_diameter

    for task in tasks:
        for pick in task.picks:
            particle_diameter(pick, config, 1.0, "coordinates")


def _screen(
    args: argparse.Namespace, config: ScreenConfig, tasks: List[MicrographTask], picks: Any, log: logging.Logger
) -> int:
    from tqdm import tqdm

    from cryoice_scipion.core.screening.inputs import count_input, keep_ids

    stems = {task.stem for task in tasks}
    bar = tqdm(total=len(tasks), unit="micrograph", dynamic_ncols=True, disable=None)
    with bar, open_run(args, config, log, bar, picks) as run:
        given = count_input(tasks, picks, run) if picks is not None else None
        if given is not None:
            run.note_input(given)
        keep_ids(tasks, run)
        try:
            for _ in run.process(tasks):
                bar.update()
            bar.update(bar.total - bar.n)  # micrographs of an earlier session
        except (KeyboardInterrupt, CryoIceError):
            bar.close()
            done = print_report(args.output, run, stems, given)[0]
            print(
                f"stopped: {done} of {len(tasks)} micrographs are done and saved; continue with --resume",
                file=sys.stderr,
            )
            raise
        return status_of(run, print_report(args.output, run, stems, given)[1], given)
