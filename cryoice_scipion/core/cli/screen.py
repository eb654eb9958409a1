# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice screen``: find the bad areas of micrographs, and clean coordinates by them."""

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
HELP = "find bad areas in micrographs, and clean coordinates by them"
EPILOG = (
    "Exit status: 0 all done; 1 some micrographs failed, or some coordinate files or rows could not be read (they are "
    "named, the rest is done); 2 unusable arguments, or no coordinate could be read or matched; 130 or 143 stopped by "
    "Ctrl-C or SIGTERM, which are the normal end of a watch and then count as all done."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    from cryoice_scipion.core.formats.table import formats_in_words  # pandas: only when needed

    parser.epilog = EPILOG
    add = parser.add_argument
    add("micrographs", nargs="+", metavar="MICROGRAPHS", help="files, folders, or a .star file that names them")
    add("--output", required=True, type=Path, metavar="DIR", help="folder for everything that is written")
    add("--coordinates", metavar="PATH", help=f"a file or a folder of one format: {formats_in_words()}")
    add("--pixel-size", type=float, metavar="A", help="Å/px of the micrographs (default: from their headers)")
    add("--particle-diameter", type=float, metavar="A", help=_DIAMETER)
    add("--box-size", type=float, metavar="PX", help="box size in px, if the coordinate files do not contain it")
    add("--model", default=DEFAULT_MODEL, metavar="NAME|DIR", help="the model (default: %(default)s)")
    add("--threshold", type=float, metavar="T", help=_THRESHOLD)
    add("--margin", action="append", default=[], metavar="[CLASS=]A", help=_MARGIN)
    add("--ignore", action="append", default=[], metavar="CLASS", help=_IGNORE)
    add("--min-area", type=float, default=0.0, metavar="NM2", help="smallest bad region in nm² (default: %(default)g)")
    add("--contrast", choices=("auto", "dark", "bright"), default="auto", help=_CONTRAST)
    add("--device", default="auto", help="auto, cpu, cuda:0, or several as cuda:0,1 (default: %(default)s)")
    add(
        "--summary-every",
        type=int,
        default=1,
        metavar="N",
        help="micrographs between two updates of summary.json (default: 1)",
    )
    add("--reference", type=int, default=20, metavar="N", help=_REFERENCE)
    add("--max-bad-area", type=float, default=1.0, metavar="F", help="discard micrographs with more bad area than this")
    add("--full-size-masks", action="store_true", help="also write masks of the micrographs' own size")
    add("--max-thumbnails", type=int, default=2000, metavar="N", help=_THUMBNAILS)
    add("--resume", action="store_true", help="continue the run in the output folder; failed micrographs are retried")
    add_watch_arguments(parser)


_DIAMETER = (
    "particle diameter in Å (default: the coordinate files', else two thirds of the box size); bad area inside it "
    "rejects a coordinate"
)
_MARGIN = (
    "Å from the particle's edge within which bad area rejects a coordinate (default: 0); CLASS=A sets it for one class "
    f"of {', '.join(name for name in CLASSES if name != GOOD)}, and may be given several times"
)
_IGNORE = "a class of bad area that counts as good; may be given several times"
_THRESHOLD = (
    "keep coordinates with a goodness of at least this, 0 to 1: higher removes more; -1 keeps all and only scores "
    "(default: what the model recommends)"
)
_THUMBNAILS = (
    "thumbnails at most: those with the most bad area, and others spread over the whole run (default: %(default)s, of "
    "about 1 MB each); -1: all"
)
_CONTRAST = (
    "particles are dark or bright; auto: dark, unless at least 3 reference micrographs, and 80 %% of them, show bright "
    "particles (default: %(default)s)"
)
_REFERENCE = (
    "first micrographs that decide the contrast of the session (default: %(default)s); 0: none, and particles are dark"
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
        full_size_masks=args.full_size_masks,
        max_thumbnails=args.max_thumbnails,
    )


def _give_picks(tasks: List[MicrographTask], picks: PickTable, resume: bool, log: logging.Logger) -> None:
    """Give the coordinates to their micrographs, and say which belong to none of them.

    Raises
    ------
    CoordinatesError
        When all of them belong to none.
    """
    from cryoice_scipion.core.formats.coordinates import assign_picks

    matches = assign_picks(picks, tasks)
    for warning in matches.warnings:
        log.warning(warning)
    assigned = len(picks) - len(picks.unmatched)
    if len(picks) and not assigned and not resume:  # those of earlier sessions are counted when the run is open
        raise all_unmatched(len(picks), names_in_short([*matches.unmatched, *matches.ambiguous]))
    log.info("%d coordinates on %d of %d micrographs", assigned, sum(bool(task.picks) for task in tasks), len(tasks))
    if matches.unmatched:  # they are in rejected.star, unscored: nothing is lost
        log.warning(
            "%d coordinates belong to %d names that are not among the micrographs, and are left out: %s",
            sum(matches.unmatched.values()),
            len(matches.unmatched),
            names_in_short(matches.unmatched),
        )


def _check_size(tasks: List[MicrographTask], config: ScreenConfig) -> None:
    """Ask for the particles' size before anything slow is done."""
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
            bar.update(bar.total - bar.n)  # those of an earlier session
        except (KeyboardInterrupt, CryoIceError):
            bar.close()
            done = print_report(args.output, run, stems, given)[0]
            print(
                f"stopped: {done} of {len(tasks)} micrographs are done and saved; go on with --resume", file=sys.stderr
            )
            raise
        return status_of(run, print_report(args.output, run, stems, given)[1], given)
