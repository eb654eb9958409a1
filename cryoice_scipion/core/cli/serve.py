# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice serve``: show a local page to try a micrograph, review a run, and teach the model."""

from __future__ import annotations

import argparse
import contextlib
import signal
from pathlib import Path

from cryoice_scipion.constants import DEFAULT_MODEL
from cryoice_scipion.core.cli.signals import interrupt, on_signals

_EPILOG = (
    "The page is only for this computer: it listens on 127.0.0.1 and needs the token in the printed address. "
    "For another computer use an SSH tunnel: ssh -L PORT:127.0.0.1:PORT HOST."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--run", type=Path, metavar="DIR", help="output folder of a screening, for Review and Teach")
    add("--model", default=DEFAULT_MODEL, metavar="NAME|DIR", help="model name or folder (default: %(default)s)")
    add("--port", type=int, default=8950, metavar="N", help="port; 0 takes a free one (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu or cuda:0 (default: %(default)s)")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from cryoice_scipion.core.cli import OK
    from cryoice_scipion.core.serve.server import Stop, serve

    stop = Stop()

    def end(number: int) -> None:
        if stop.ask():  # a second signal while the start hangs
            interrupt(number)

    with contextlib.suppress(KeyboardInterrupt):  # the normal end
        with on_signals(end, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            serve(args.run, args.model, args.port, args.device, stop)
    return OK
