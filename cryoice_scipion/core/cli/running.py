# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared parts of the screening commands: open a run, log, and print the results."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Collection, Dict, Iterable, Optional, Sequence, Tuple

from cryoice_scipion.constants import AMBIGUOUS, FAILED, UNMATCHED
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CoordinatesError, SettingsError, counted, plain
from cryoice_scipion.core.grades.grading import counts_in_words
from cryoice_scipion.core.results.balance import all_unmatched, balance_line, file_lines, has_losses

if TYPE_CHECKING:
    from cryoice_scipion.core.formats.coordinates import PickSource
    from cryoice_scipion.core.records import PickCounts
    from cryoice_scipion.core.screening.run import ScreeningRun
    from cryoice_scipion.core.workers.interface import Executor

#: Help of the option --coordinates.
COORDINATES = "a file, or a folder of one format, or a folder of a RELION job: {formats}; may be repeated"
WORKER_LOG = "worker.log"  # messages of worker processes
_FAILED_SHOWN = 20


def open_run(
    args: argparse.Namespace,
    config: ScreenConfig,
    log: logging.Logger,
    bar: Any,
    picks: Optional[PickSource],
    given: Optional[PickCounts] = None,
    retry_seconds: float = 0.0,
) -> ScreeningRun:
    """Open or continue the run in the output folder, with the model on each device.

    A new run loads the model first, so that an error leaves no folder. A continued run may have nothing to map.
    """
    from cryoice_scipion.core.detectors.model_folder import read_card, resolve_model
    from cryoice_scipion.core.images.naming import exposure_lists, star_lists
    from cryoice_scipion.core.reports.html import write_report
    from cryoice_scipion.core.screening.options import RunOptions
    from cryoice_scipion.core.screening.run import ScreeningRun

    model = resolve_model(config.model)
    options = RunOptions(
        resume=args.resume,
        retry_failed=True,
        retry_quarantined=args.retry_quarantined,
        retry_seconds=retry_seconds,
        summary_every=args.summary_every,
        archive=args.archive,
        on_mapped=lambda task: bar.set_postfix_str(f"last: {task.stem}"),
        picks=picks,
        given=given,
        exposures=exposure_lists(args.micrographs),
        micrograph_lists=star_lists(args.micrographs),
        card=read_card(model),
        write_report=write_report,
    )
    return ScreeningRun(args.output, config, _executors(args, config, log), options, log)


def _executors(args: argparse.Namespace, config: ScreenConfig, log: logging.Logger) -> Sequence[Executor]:
    """Return an executor for each device of this machine, or of the cluster.

    Raises
    ------
    SettingsError
        If a limit is too small, or if the memory of a cluster's workers is to be limited.
    """
    from cryoice_scipion.core.workers.client import Limits, WorkerClient

    limits = Limits.given(item_timeout=args.item_timeout, memory_limit=args.memory_limit)
    if args.cluster:
        if limits.memory_limit:
            raise SettingsError("--memory-limit", "does not apply to a cluster", "give it to the Dask workers instead")
        from cryoice_scipion.core.workers.cluster import cluster_executors

        return cluster_executors(args.cluster, config, args.device, log, seconds=limits.item_timeout)
    from cryoice_scipion.core.detectors.model_folder import resolve_model
    from cryoice_scipion.core.screening.quarantine import has_suspects
    from cryoice_scipion.core.workers.devices import find_devices
    from cryoice_scipion.core.workers.local_executor import DeferredExecutor, LocalExecutor

    model, log_path = resolve_model(config.model), args.output / WORKER_LOG
    if args.worker_process or args.memory_limit or args.item_timeout or (args.resume and has_suspects(args.output)):
        devices = find_devices(args.device)
        return [WorkerClient(sys.executable, str(model), one, log_path, limits=limits) for one in devices]
    if args.resume and args.device in ("auto", "cpu"):
        return [DeferredExecutor(model, args.device)]
    return [LocalExecutor.load(model, device) for device in find_devices(args.device)]


def print_report(
    folder: Path, run: ScreeningRun, stems: Collection[str], given: Optional[PickCounts] = None
) -> Tuple[int, int]:
    """Print the results; return the number of screened micrographs, and how many of them failed.

    Parameters
    ----------
    stems : collection of str
        The micrographs of this session.
    given : PickCounts, optional
        Counts of the input coordinates; None if no coordinates were given.
    """
    found = [record for record in run.micrographs() if record.stem in stems]
    status: Dict[str, int] = {}
    for record in found:
        status[record.status] = status.get(record.status, 0) + 1
    counts = ", ".join(f"{number} {name}" for name, number in sorted(status.items()))
    print(counted(len(found), "micrograph") + (f": {counts}" if counts else ""))
    grades = Counter(record.grade for record in found if record.grade)
    if grades:
        print(f"grades: {counts_in_words(grades)}")
    print_failures([record.reason for record in found if record.status == FAILED])
    print(f"pictures: {folder / 'thumbnails'}\nreport: {folder / 'report.html'}")
    if given is not None:
        print(f"kept coordinates: {folder / 'coordinates' / 'kept.star'}")
        print("\n".join([*map(plain, file_lines(given)), balance_line(run.summary())]))
    return len(found), status.get(FAILED, 0)


def print_failures(reasons: Sequence[str]) -> None:
    """Print why micrographs failed, one line each, up to a limit."""
    for reason in reasons[:_FAILED_SHOWN]:
        print(f"failed: {reason}")


def status_of(run: ScreeningRun, failed: int, given: Optional[PickCounts]) -> int:
    """Return the exit status of a finished run.

    Raises
    ------
    CoordinatesError
        If coordinates were given but none of them could be used.
    """
    from cryoice_scipion.core.cli import OK, SOME_FAILED

    if given is None:
        return SOME_FAILED if failed else OK
    if not given.files:
        unread = [*given.not_read, *given.other]
        what = "could be read" if unread else "was found"
        reason = f"no coordinate file {what}, so no coordinates were screened"
        remedy = "correct the files and continue with --resume" if unread else "check the path, continue with --resume"
        raise CoordinatesError(unread[0] if unread else "--coordinates", reason, remedy)
    unmatched = given.left_out.get(UNMATCHED, 0) + given.left_out.get(AMBIGUOUS, 0)
    if unmatched and not given.matched and run.summary().micrographs:
        raise all_unmatched(unmatched)
    return SOME_FAILED if failed or has_losses(given) or not run.summary().adds_up else OK


def log_lines(log: logging.Logger, warnings: Iterable[str], notes: Iterable[str]) -> None:
    """Log warnings and notes about the input, one line each."""
    for note in notes:
        log.info(note)
    for warning in warnings:
        log.warning(warning)


class PlainFormatter(logging.Formatter):
    """Formats log lines, in which file names neither end the line nor steer the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (its name in the base class)
        """Return the line without a traceback."""
        return plain(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 (its name in the base class)
        """Return the traceback of an error."""
        return "\n".join(map(plain, super().formatException(ei).split("\n")))


class _BarHandler(logging.Handler):
    """Writes log lines above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def logger() -> logging.Logger:
    """Return the logger of a screening, which writes one line per message to stderr."""
    log = logging.getLogger("cryoice.screen")
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = _BarHandler()
    handler.setFormatter(PlainFormatter("%(levelname)s: %(message)s"))
    log.handlers = [handler]
    return log
