# SPDX-License-Identifier: GPL-3.0-or-later
"""What every screening from a shell needs: a run with its model and devices, log lines, the end by a signal."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Callable, Collection, Dict, Iterator, Optional, Tuple

from cryoice_scipion.constants import FAILED
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import Terminated

if TYPE_CHECKING:
    from cryoice_scipion.core.data.coordinates import PickSource
    from cryoice_scipion.core.screening.run import ScreeningRun

_FAILED_SHOWN = 20


def open_run(
    args: argparse.Namespace,
    config: ScreenConfig,
    log: logging.Logger,
    bar: Any,
    picks: Optional[PickSource],
    unmatched: int = 0,
    patience: float = 0.0,
) -> ScreeningRun:
    """Load the model on each device, and open or continue the run in the output folder."""
    from cryoice_scipion.core.cli.devices import devices_of
    from cryoice_scipion.core.networks.bundle import read_card, resolve_model
    from cryoice_scipion.core.screening.executor import LocalExecutor
    from cryoice_scipion.core.screening.run import ScreeningRun

    model = resolve_model(config.model)
    executors = [LocalExecutor.load(model, device) for device in devices_of(args.device)]
    return ScreeningRun(
        args.output,
        config,
        executors,
        log,
        resume=args.resume,
        picks=picks,
        unmatched=unmatched,
        card=read_card(model),
        batch=args.batch,
        retry_failed=True,
        on_mapped=lambda task: bar.set_postfix_str(f"mapped {task.stem}"),
        patience=patience,
    )


def print_report(folder: Path, run: ScreeningRun, stems: Collection[str]) -> Tuple[int, int]:
    """Print what came out, and return how many of the micrographs are done, and how many of these failed."""
    found = [judgement for judgement in run.recorded() if judgement.stem in stems]
    status: Dict[str, int] = {}
    for judgement in found:
        status[judgement.status] = status.get(judgement.status, 0) + 1
    picks, kept = sum(len(j.scores) for j in found), sum(j.kept for j in found)
    counts = ", ".join(f"{number} {name}" for name, number in sorted(status.items()))
    print(f"{len(found)} micrographs" + (f": {counts}" if counts else ""))
    if picks:
        print(f"{picks} coordinates: {kept} kept, {picks - kept} rejected ({100 * (picks - kept) / picks:.1f} %)")
        print(f"kept coordinates: {folder / 'coordinates' / 'kept.star'}")
    for judgement in [judgement for judgement in found if judgement.status == FAILED][:_FAILED_SHOWN]:
        print(f"failed: {judgement.reason}")
    print(f"pictures: {folder / 'thumbnails'}\nreport: {folder / 'report.html'}")
    return len(found), status.get(FAILED, 0)


@contextlib.contextmanager
def on_signals(act: Callable[[int], None], *signals: signal.Signals) -> Iterator[None]:
    """Let ``act`` answer these signals; nothing is changed outside the main thread, which alone gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _: Optional[FrameType]) -> None:
        act(number)

    before = {number: signal.signal(number, handle) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt(number: int) -> None:
    """Interrupt what is going on, as Ctrl-C does.

    Raises
    ------
    KeyboardInterrupt
        Of the class that tells the signals apart.
    """
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


class _BarHandler(logging.Handler):
    """Writes log lines above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def logger() -> logging.Logger:
    """Return the log of a screening: one line each, on stderr."""
    log = logging.getLogger("cryoice.screen")
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = _BarHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    log.handlers = [handler]
    return log
