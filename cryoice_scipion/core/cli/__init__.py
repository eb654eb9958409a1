# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the command ``cryoice``. Each subcommand is a module with NAME, HELP, add_arguments(parser) and main(arguments).

The modules import slow libraries, such as torch, only in ``main``, so that ``--help`` is fast. A module may also
have a class Parser.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from types import ModuleType
from typing import List, Optional, Sequence

from cryoice_scipion.constants import VERSION
from cryoice_scipion.core.cli.memory import keep_memory
from cryoice_scipion.core.errors import CryoIceError, Terminated

OK, SOME_FAILED, UNUSABLE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
COMMANDS = (
    *("screen", "filter", "patches", "train", "sweep", "simulate", "evaluate", "info"),
    *("relion", "cryosparc", "worker"),
)
DESCRIPTION = (
    "Find ice, contamination and support film on cryo-EM micrographs, and remove the coordinates that lie on them."
)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run a command; return the exit status 0 (success), 1 (partial), 2 (invalid arguments), 130 or 143 (stopped)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = build_parser(words).parse_args(words)
    keep_memory()
    try:
        status: int = chosen.main(chosen)
        return status
    except CryoIceError as error:
        print(f"cryoice {chosen.command}: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt as how:
        print(f"cryoice {chosen.command}: interrupted", file=sys.stderr)
        return TERMINATED if isinstance(how, Terminated) else INTERRUPTED
    except BrokenPipeError:  # the reader of our output (head, less) has closed it
        sys.stderr.close()
        return OK
    except OSError as error:  # for example a folder without write permission, or a full disk
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"cryoice {chosen.command}: {what}", file=sys.stderr)
        return UNUSABLE


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser of all commands, or only of the command in ``words[0]``."""
    parser = argparse.ArgumentParser(prog="cryoice", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"cryoice {VERSION}")
    modules = _modules(words)
    kind = getattr(modules[0], "Parser", argparse.ArgumentParser) if len(modules) == 1 else argparse.ArgumentParser
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=kind)
    for module in modules:
        command = commands.add_parser(module.NAME, help=module.HELP, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(main=module.main)
    return parser


def _modules(words: Sequence[str]) -> List[ModuleType]:
    wanted = [name for name in COMMANDS if words and name == words[0]] or COMMANDS
    return [importlib.import_module(f"{__name__}.{name}") for name in wanted]
