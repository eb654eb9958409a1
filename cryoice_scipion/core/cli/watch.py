# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice screen --watch``: screen new files in a folder until Ctrl-C or a timeout."""

from __future__ import annotations

import argparse
import contextlib
import glob
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Optional

from cryoice_scipion.core.cli.running import open_run, print_report, status_of
from cryoice_scipion.core.cli.signals import interrupt, on_signals
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CryoIceError, SettingsError, counted
from cryoice_scipion.core.streaming.file_retry import RETRY_SECONDS
from cryoice_scipion.core.streaming.stable_file import SETTLE_SECONDS

if TYPE_CHECKING:
    from cryoice_scipion.core.screening.run import ScreeningRun
    from cryoice_scipion.core.screening.watch import Watch
    from cryoice_scipion.core.streaming.coordinate_sources import CoordinateSources

_STOPPING = b"\nfinishing the current micrographs; press Ctrl-C again to stop immediately\n"
_BATCH = 16  # micrographs per device; small, so that new files do not wait long


def add_watch_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of ``--watch``."""
    group = parser.add_argument_group(
        "watching a folder",
        "With --watch, MICROGRAPHS is one folder. Micrographs and coordinates may arrive in any order, for days. "
        "Ctrl-C finishes the current micrographs, writes all output files and ends; --resume continues.",
    )
    add = group.add_argument
    add("--watch", action="store_true", help="screen the files in the folder, and new files as they arrive")
    add("--timeout", type=float, metavar="S", help="end when no new file has arrived for S seconds (default: never)")
    add(
        "--settle",
        type=float,
        metavar="S",
        help=f"read a file once it has not changed for S seconds (default: {SETTLE_SECONDS:g})",
    )


def check_watch_arguments(args: argparse.Namespace) -> None:
    """Check the options of ``--watch``.

    Raises
    ------
    SettingsError
        If the options are invalid or inconsistent.
    """
    for name, value in (("--timeout", args.timeout), ("--settle", args.settle)):
        if value is not None and not args.watch:
            raise SettingsError(name, "requires --watch", "add --watch, or omit this option")
        if value is not None and not 0 < value < float("inf"):
            raise SettingsError(name, f"{value:g} is not a number of seconds above 0", "change or omit it")
    if not args.watch:
        return
    first = args.micrographs[0]
    no_folder = Path(first).exists() and not Path(first).is_dir()
    if len(args.micrographs) > 1 or no_folder or (glob.has_magic(first) and not Path(first).exists()):
        raise SettingsError("--watch", "requires a single folder as MICROGRAPHS", "give the folder to watch")


def watch_folder(args: argparse.Namespace, config: ScreenConfig, log: logging.Logger) -> int:
    """Run the command."""
    from tqdm import tqdm

    late = _coordinate_sources(args, config, log)
    bar = tqdm(total=0, unit="micrograph", dynamic_ncols=True, disable=None)
    with bar, open_run(args, config, log, bar, late.picks if late else None, retry_seconds=RETRY_SECONDS) as run:
        watch = _watch(args, run, late, log)
        with contextlib.closing(watch), on_signals(_gently(watch), signal.SIGINT, signal.SIGTERM):
            args.has_begun = True  # before, a signal ends the command at once
            try:
                _loop(watch, args, config, bar, log)
            except (KeyboardInterrupt, CryoIceError):
                bar.close()
                _say_stopped(watch, print_report(args.output, run, watch.arrived, late.counts() if late else None)[0])
                raise
        bar.close()
        given = late.counts() if late else None
        done, failed = print_report(args.output, run, watch.arrived, given)
        if watch.is_stopping:
            _say_stopped(watch, done)
        return status_of(run, failed, given)


def _coordinate_sources(
    args: argparse.Namespace, config: ScreenConfig, log: logging.Logger
) -> Optional[CoordinateSources]:
    """Return the coordinate files to watch; None if no coordinates are given."""
    if not args.coordinates:
        return None
    import numpy as np

    from cryoice_scipion.core.formats.coordinates import PickTable, sizes_of
    from cryoice_scipion.core.maps.scoring import UNKNOWN_DIAMETER
    from cryoice_scipion.core.streaming.coordinate_sources import CoordinateSources
    from cryoice_scipion.core.streaming.streaming_coordinates import StreamingCoordinates

    def check(path: Path, picks: PickTable) -> None:
        """Raise an error if the particle diameter is unknown."""
        diameter, box_size = sizes_of(picks.table)
        unknown = bool((np.isnan(diameter) & np.isnan(box_size)).any())
        if unknown and not config.particle_diameter and not config.box_size:
            raise SettingsError(path, *UNKNOWN_DIAMETER)

    paths = [Path(path) for path in args.coordinates]
    return CoordinateSources(paths, StreamingCoordinates(check), log, args.settle or SETTLE_SECONDS)


def _watch(
    args: argparse.Namespace, run: ScreeningRun, late: Optional[CoordinateSources], log: logging.Logger
) -> Watch:
    from cryoice_scipion.core.screening.watch import Watch
    from cryoice_scipion.core.streaming.id_registry import IdRegistry

    batch = _BATCH * run.executors
    registry = IdRegistry(args.output, run.ids)
    return Watch(Path(args.micrographs[0]), run, registry, late, log, batch, args.settle or SETTLE_SECONDS)


def _loop(watch: Watch, args: argparse.Namespace, config: ScreenConfig, bar: Any, log: logging.Logger) -> None:
    """Screen new files until the watch is stopped or times out."""

    def show(records: Iterator[Any]) -> int:
        number = 0
        for _ in records:
            number += 1
            bar.total, bar.n = len(watch.arrived), watch.done
            bar.refresh()
        return number

    watch.begin()
    missing = "" if watch.is_there else " (does not exist yet)"
    log.info("watching %s%s; press Ctrl-C to end", args.micrographs[0], missing)
    if config.reference and watch.run.reference is None:
        number = counted(config.reference, "micrograph has", "micrographs have")
        log.info("screening starts when %s arrived, or at the end", number)
    while not watch.is_stopping:
        screened = show(watch.round())
        if args.timeout and watch.is_quiet and watch.quiet_seconds >= args.timeout:
            log.info("no new file for %g s; ending", args.timeout)
            break
        if not screened and not watch.is_busy:
            watch.wait(watch.interval)
    show(watch.finish())


def _gently(watch: Watch) -> Callable[[int], None]:
    """Return a signal handler: the first signal ends the watch after the current micrographs, the second at once."""

    def act(number: int) -> None:
        if watch.is_stopping:
            interrupt(number)
        watch.stop()
        os.write(2, _STOPPING)  # not through the log, because the signal may interrupt a log call

    return act


def _say_stopped(watch: Watch, done: int) -> None:
    left = len(watch.arrived) - done
    waiting = f", {left} waiting" if left else ""
    print(f"stopped: {counted(done, 'micrograph')} done and saved{waiting}; continue with --resume", file=sys.stderr)
