# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice screen``: find bad areas on micrographs, and remove the coordinates that lie on them."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, ContextManager, List, Optional

from cryoice_scipion.core.cli.running import (
    COORDINATES,
    log_lines,
    logger,
    open_run,
    print_report,
    status_of,
)
from cryoice_scipion.core.cli.screen_options import add_resume, add_screen_options, screen_config
from cryoice_scipion.core.cli.watch import add_watch_arguments, check_watch_arguments, watch_folder
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CryoIceError, counted
from cryoice_scipion.core.formats.table import formats_in_words
from cryoice_scipion.core.records import MicrographTask
from cryoice_scipion.core.results.balance import all_unmatched, names_in_short

if TYPE_CHECKING:
    from cryoice_scipion.core.formats.coordinates import PickTable
    from cryoice_scipion.core.screening.run import ScreeningRun

#: See :func:`screen_micrographs`.
Around = Callable[["ScreeningRun", List[MicrographTask]], ContextManager[object]]
EPILOG = (
    "Exit status: 0 success; 1 some micrographs failed, or some coordinate files or rows could not be read (they are "
    "listed, all others are done); 2 invalid arguments, or no coordinates could be read or matched; 130 stopped by "
    "Ctrl-C; 143 stopped by SIGTERM or a closed terminal. With --watch, Ctrl-C and SIGTERM are the normal end and give "
    "status 0."
)


def _nothing_around(run: ScreeningRun, tasks: List[MicrographTask]) -> ContextManager[object]:
    return contextlib.nullcontext()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("micrographs", nargs="+", metavar="MICROGRAPHS", help="images, folders, or a list of images (.star, .cs, .csg)")
    add("--output", required=True, type=Path, metavar="DIR", help="folder for all output files")
    add("--coordinates", action="append", metavar="PATH", help=COORDINATES.format(formats=formats_in_words()))
    add_screen_options(add)
    add_resume(parser)
    add_watch_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    log = logger()
    check_watch_arguments(args)
    config = screen_config(args)
    if args.watch:
        return watch_folder(args, config, log)
    return screen_micrographs(args, config, log)


def screen_micrographs(
    args: argparse.Namespace, config: ScreenConfig, log: logging.Logger, around: Around = _nothing_around
) -> int:
    """Screen the micrographs that are given, print the results, and return the exit status.

    Parameters
    ----------
    args : argparse.Namespace
        Has ``micrographs``, ``coordinates``, ``output`` and ``resume``, and the options of ``add_screen_options``.
    around : callable
        Takes the run and its micrographs, and returns a context manager. It is entered before the first micrograph,
        and left after the last one, while the run is open.
    """
    from cryoice_scipion.core.images.naming import expand_micrographs

    notes: List[str] = []
    tasks = expand_micrographs(args.micrographs, notes)
    log_lines(log, (), notes)
    picks: Optional[PickTable] = None
    if args.coordinates:
        from cryoice_scipion.core.formats.coordinates import read_picks  # loads pandas

        picks = read_picks(args.coordinates)
        log_lines(log, picks.warnings, picks.notes)
        _give_picks(tasks, picks, args.resume, log)
        _check_size(tasks, config)
    return _screen(args, config, tasks, picks, log, around)


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
    number, of = counted(assigned, "coordinate"), counted(len(tasks), "micrograph")
    log.info("%s on %d of %s", number, sum(bool(task.picks) for task in tasks), of)
    if matches.unmatched:  # they are written to rejected.star without a goodness
        log.warning(
            "%s left out, because no micrograph matches their names and folders (%d): %s",
            counted(sum(matches.unmatched.values()), "coordinate is", "coordinates are"),
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
    args: argparse.Namespace,
    config: ScreenConfig,
    tasks: List[MicrographTask],
    picks: Any,
    log: logging.Logger,
    around: Around,
) -> int:
    from tqdm import tqdm

    from cryoice_scipion.core.screening.inputs import count_input, keep_ids

    bar = tqdm(total=len(tasks), unit="micrograph", dynamic_ncols=True, disable=None)
    with bar, open_run(args, config, log, bar, picks) as run:
        keep_ids(tasks, run)
        stems = {task.stem for task in tasks}
        given = count_input(tasks, picks, run) if picks is not None else None
        if given is not None:
            run.note_input(given)
        try:
            with around(run, tasks):
                for _ in run.process(tasks):
                    bar.update()
            bar.update(bar.total - bar.n)  # micrographs of an earlier session
        except (KeyboardInterrupt, CryoIceError):
            bar.close()
            done = print_report(args.output, run, stems, given)[0]
            print(
                f"stopped: {done} of {counted(len(tasks), 'micrograph')} done and saved; {args.how_to_continue}",
                file=sys.stderr,
            )
            raise
        return status_of(run, print_report(args.output, run, stems, given)[1], given)
