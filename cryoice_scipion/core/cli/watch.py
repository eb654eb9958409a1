# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice screen --watch``: screen what comes into a folder, until Ctrl-C or until nothing comes any more."""

from __future__ import annotations

import argparse
import contextlib
import glob
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Optional

from cryoice_scipion.core.cli.running import interrupt, on_signals, open_run, print_report, status_of
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CryoIceError, SettingsError
from cryoice_scipion.core.streaming.file_retry import RETRY_SECONDS
from cryoice_scipion.core.streaming.stable_file import SETTLE_SECONDS

if TYPE_CHECKING:
    from cryoice_scipion.core.screening.run import ScreeningRun
    from cryoice_scipion.core.screening.watch import Watch
    from cryoice_scipion.core.streaming.coordinate_watcher import CoordinateWatcher

_STOPPING = b"\nstopping when what is in hand is finished; once more to stop at once\n"
_BATCH = 16  # micrographs a device, so that what comes meanwhile does not wait long


def add_watch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a watch."""
    group = parser.add_argument_group(
        "watching a folder",
        "With --watch, MICROGRAPHS is one folder. Micrographs and coordinates may come in any order, for days. It ends "
        "on Ctrl-C, which finishes what is in hand and writes everything; --resume goes on.",
    )
    add = group.add_argument
    add("--watch", action="store_true", help="screen what is in the folder, and what comes into it")
    add("--timeout", type=float, metavar="S", help="end when no new file came for so many seconds (default: never)")
    settle = f"read a file once it is unchanged for this long (default: {SETTLE_SECONDS:g} s)"
    add("--settle", type=float, metavar="S", help=settle)


def check_watch_arguments(args: argparse.Namespace) -> None:
    """Make sure that the options of a watch make sense.

    Raises
    ------
    SettingsError
        When they do not.
    """
    for name, value in (("--timeout", args.timeout), ("--settle", args.settle)):
        if value is not None and not args.watch:
            raise SettingsError(name, "goes with --watch", "give both or none")
        if value is not None and not 0 < value < float("inf"):
            raise SettingsError(name, f"{value:g} is no number of seconds above 0", "give another, or leave it out")
    if not args.watch:
        return
    first = args.micrographs[0]
    no_folder = Path(first).exists() and not Path(first).is_dir()
    if len(args.micrographs) > 1 or no_folder or (glob.has_magic(first) and not Path(first).exists()):
        raise SettingsError("--watch", "takes one folder as MICROGRAPHS", "give the folder that the micrographs go to")


def watch_folder(args: argparse.Namespace, config: ScreenConfig, log: logging.Logger) -> int:
    """Run the command."""
    from tqdm import tqdm

    late = _coordinate_watcher(args, config, log)
    bar = tqdm(total=0, unit="micrograph", dynamic_ncols=True, disable=None)
    with bar, open_run(args, config, log, bar, late.picks if late else None, retry_seconds=RETRY_SECONDS) as run:
        watch = _watch(args, run, late, log)
        with contextlib.closing(watch), on_signals(_gently(watch), signal.SIGINT, signal.SIGTERM):
            try:
                _loop(watch, args, config, bar, log)
            except (KeyboardInterrupt, CryoIceError):
                bar.close()
                _say_stopped(watch, print_report(args.output, run, watch.came, late.counts() if late else None)[0])
                raise
        bar.close()
        given = late.counts() if late else None
        done, failed = print_report(args.output, run, watch.came, given)
        if watch.is_stopping:
            _say_stopped(watch, done)
        return status_of(run, failed, given)


def _coordinate_watcher(
    args: argparse.Namespace, config: ScreenConfig, log: logging.Logger
) -> Optional[CoordinateWatcher]:
    """Return what reads the coordinates, if any are given."""
    if not args.coordinates:
        return None
    import numpy as np

    from cryoice_scipion.core.formats.coordinates import PickTable, sizes_of
    from cryoice_scipion.core.maps.scoring import UNKNOWN_DIAMETER
    from cryoice_scipion.core.streaming.coordinate_watcher import CoordinateWatcher
    from cryoice_scipion.core.streaming.streaming_coordinates import StreamingCoordinates

    def check(path: Path, picks: PickTable) -> None:
        """Ask for the particle diameter."""
        diameter, box_size = sizes_of(picks.table)
        unknown = bool((np.isnan(diameter) & np.isnan(box_size)).any())
        if unknown and not config.particle_diameter and not config.box_size:
            raise SettingsError(path, *UNKNOWN_DIAMETER)

    return CoordinateWatcher(Path(args.coordinates), StreamingCoordinates(check), log, args.settle or SETTLE_SECONDS)


def _watch(
    args: argparse.Namespace, run: ScreeningRun, late: Optional[CoordinateWatcher], log: logging.Logger
) -> Watch:
    from cryoice_scipion.core.screening.watch import Watch
    from cryoice_scipion.core.streaming.id_registry import IdRegistry
    from cryoice_scipion.core.workers.devices import find_devices

    batch = _BATCH * len(find_devices(args.device))
    register = IdRegistry(args.output, run.ids)
    return Watch(Path(args.micrographs[0]), run, register, late, log, batch, args.settle or SETTLE_SECONDS)


def _loop(watch: Watch, args: argparse.Namespace, config: ScreenConfig, bar: Any, log: logging.Logger) -> None:
    """Go on until we are stopped or nothing comes any more."""

    def show(records: Iterator[Any]) -> int:
        number = 0
        for _ in records:
            number += 1
            bar.total, bar.n = len(watch.came), watch.done
            bar.refresh()
        return number

    watch.begin()
    log.info("watching %s%s; Ctrl-C ends", args.micrographs[0], "" if watch.is_there else ", which is not there yet")
    if config.reference and watch.run.reference is None:
        log.info("micrographs are screened when the first %d have come, or at the end", config.reference)
    while not watch.is_stopping:
        screened = show(watch.round())
        if args.timeout and watch.is_quiet and time.monotonic() - watch.changed >= args.timeout:
            log.info("no new file for %g s", args.timeout)
            break
        if not screened and not watch.is_busy:
            watch.wait(watch.interval)
    show(watch.finish())


def _gently(watch: Watch) -> Callable[[int], None]:
    """Return what answers signals: the first one ends the watch when what is in hand is finished, the next at once."""

    def act(number: int) -> None:
        if watch.is_stopping:
            interrupt(number)
        watch.stop()
        os.write(2, _STOPPING)  # not by way of a log, which the signal may have come into the middle of

    return act


def _say_stopped(watch: Watch, done: int) -> None:
    left = len(watch.came) - done
    waiting = f", {left} that have come are not" if left else ""
    print(f"stopped: {done} micrographs are done and saved{waiting}; go on with --resume", file=sys.stderr)
