# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the command ``cryoice``. Each subcommand is a module with add_arguments(parser) and main(arguments).

Only the module of the command that is called is imported, so that ``cryoice --help`` is fast. The modules import slow
libraries, such as torch, only in ``main``. A module may also have a class Parser.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import importlib
import io
import os
import sys
import threading
from typing import Dict, List, Optional, Sequence

from cryoice_scipion.constants import THREAD_PREFIX, VERSION
from cryoice_scipion.core.cli.memory import keep_memory
from cryoice_scipion.core.cli.signals import ending_in_order
from cryoice_scipion.core.errors import FREE_SPACE, FULL_DISK, CryoIceError, Terminated, plain

OK, SOME_FAILED, UNUSABLE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
#: The commands, and what ``cryoice --help`` says of each.
COMMANDS: Dict[str, str] = {
    "screen": "find bad areas on micrographs, and remove the coordinates that lie on them",
    "filter": "score new coordinates on the maps of an earlier screening",
    "regions": "find regions of bad area in a screening, or more places like labelled ones",
    "patches": "cut labelled patches (image and FFT, label, origin) for training",
    "train": "train or fine-tune a model with good and bad coordinates",
    "sweep": "search the best settings of a training, and train a model with them",
    "simulate": "simulate micrographs with known contamination, their label images and picks",
    "evaluate": (
        "measure a model on labelled data; with --simulated also its maps, and its verdicts on picks and sessions"
    ),
    "info": "print the card of a model: network, training data and accuracy",
    "serve": "show a local page: try a micrograph, review a run, teach the model (needs the extra 'serve')",
    "relion": "screen micrographs as an External job of RELION",
    "cryosparc": "screen the outputs of cryoSPARC jobs, and save the result as an External Job",
    "worker": "compute for the Scipion plugin, which starts it (not for direct use)",
}
DESCRIPTION = (
    "Find ice, contamination and support film on cryo-EM micrographs, and remove the coordinates that lie on them."
)


def program() -> int:
    """Run the command of this process, and return its exit status. Nothing may run in the process afterwards."""
    status: List[int] = []
    atexit.register(_end, status)  # before all libraries, to be called after them
    status.append(main())
    return status[0]


def _end(status: Sequence[int]) -> None:
    """End the process with its exit status if a micrograph is still being computed, as after a second Ctrl-C.

    Otherwise, Python would end below the thread that computes, and torch would abort the process.
    """
    if status and any(thread.name.startswith(THREAD_PREFIX) for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # it may be closed
                stream.flush()
        os._exit(status[0])


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run a command; return the exit status 0 (success), 1 (partial), 2 (invalid arguments), 130 or 143 (stopped)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name, chosen = f"cryoice {_command_of(words)}".rstrip(), argparse.Namespace()
    _print_any_letter()
    try:
        with ending_in_order():
            chosen = build_parser(words).parse_args(words)
            keep_memory()
            status: int = chosen.main(chosen)
            return status
    except CryoIceError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt as stop:
        return _end_interrupted(name, words, chosen, stop)
    except BrokenPipeError:  # the reader of our output (head, less) has closed it
        sys.stderr.close()
        return OK
    except OSError as error:  # for example a folder without write permission, or a full disk
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        if error.errno in FULL_DISK:
            path = error.filename or getattr(chosen, "output", "output")
            what = f"{path}: {error.strerror}; {FREE_SPACE}"
        print(f"{name}: {plain(what)}", file=sys.stderr)
        return UNUSABLE


def _end_interrupted(name: str, words: Sequence[str], chosen: argparse.Namespace, stop: KeyboardInterrupt) -> int:
    """Report that a signal has ended the command, perhaps before it began, and return the exit status."""
    if _command_of(words) == "relion":
        from cryoice_scipion.core.integrations.relion_state import ABORTED, end_early

        end_early(words, ABORTED)
    is_watch = getattr(chosen, "watch", "--watch" in words)
    if is_watch and not getattr(chosen, "has_begun", False):  # a signal is the normal end of a watch
        print(f"{name}: stopped before the watch began", file=sys.stderr)
        return OK
    print(f"{name}: interrupted", file=sys.stderr)
    return status_after(stop)


def status_after(stop: KeyboardInterrupt) -> int:
    """Return the exit status of a command that a signal has ended."""
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED


def _print_any_letter() -> None:
    """Print letters such as Å, which the encoding of the terminal or of a file may lack, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _command_of(words: Sequence[str]) -> str:
    """Return the command among these words, or an empty text."""
    return next((word for word in words if word in COMMANDS), "")


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return a parser that knows the names of all commands, and the arguments of the one among ``words``."""
    chosen = _command_of(words)
    module = importlib.import_module(f"{__name__}.{chosen}") if chosen else None
    parser = argparse.ArgumentParser(prog="cryoice", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"cryoice {VERSION}")
    kind = getattr(module, "Parser", argparse.ArgumentParser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=kind)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if module and name == chosen:
            _, _, about = (module.__doc__ or "").partition("``: ")  # the command and what it does
            command.description = about[:1].upper() + about[1:]
            module.add_arguments(command)
            command.set_defaults(main=module.main)
    return parser
