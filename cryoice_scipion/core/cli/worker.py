# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice worker``: screen micrographs for the Scipion plugin, which starts this process. Not for direct use."""

from __future__ import annotations

import argparse
import json
import logging
import sys

from cryoice_scipion.constants import DEFAULT_MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, metavar="NAME|DIR", help="model name or folder (default: %(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda:0, cuda:1, ... (default: %(default)s)")
    parser.add_argument("--expect-version", default="", metavar="V", help="refuse to start if the version is not V")
    parser.add_argument("--memory-limit", type=float, default=0.0, metavar="GB", help="main memory (0: no limit)")
    parser.add_argument("--check", action="store_true", help="only print, as JSON, the problems that prevent a start")


def main(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from cryoice_scipion.core.cli.running import PlainFormatter
    from cryoice_scipion.core.workers.worker import limit_memory, load_executor, problems, serve

    options = (arguments.model, arguments.device, arguments.expect_version)
    if arguments.check:
        found = problems(*options)
        print(json.dumps({"problems": found}))
        return 1 if found else 0
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    if arguments.memory_limit:
        limit_memory(arguments.memory_limit)
    return serve(lambda: load_executor(*options))
