# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute for another process: requests on stdin, answers on stdout, one JSON line each. Scipion starts it."""

from __future__ import annotations

import argparse
import json
import logging
import sys

from cryoice_scipion.constants import DEFAULT_MODEL

NAME = "worker"
HELP = "compute for Scipion (started by the plugin)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|DIR", help="the model (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda:0 and so on (default: %(default)s)")
    parser.add_argument("--expect-version", default="", metavar="V", help="refuse to run as another version than this")
    parser.add_argument("--check", action="store_true", help="only say, as JSON, what keeps the worker from starting")


def main(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from cryoice_scipion.core.workers.worker import load_executor, problems, serve

    options = (arguments.model, arguments.device, arguments.expect_version)
    if arguments.check:
        found = problems(*options)
        print(json.dumps({"problems": found}))
        return 1 if found else 0
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    return serve(lambda: load_executor(*options))
