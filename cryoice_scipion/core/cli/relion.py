# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice relion``: screen micrographs as an External job of RELION."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ContextManager, Iterator, List, NoReturn, Sequence

from cryoice_scipion.core.cli.running import logger
from cryoice_scipion.core.cli.screen import screen_micrographs
from cryoice_scipion.core.cli.screen_options import add_screen_options, screen_config
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.records import MicrographTask

if TYPE_CHECKING:
    from cryoice_scipion.core.integrations.relion_job import RelionJob
    from cryoice_scipion.core.screening.run import ScreeningRun

EPILOG = (
    "RELION runs the command in the project folder. Each label of the job's Params tab is an option, with underscores "
    "or dashes. An option without a value accepts yes or no. If the job runs again, only new micrographs and "
    "coordinates are processed, and failed micrographs are tried again. Exit status: 0 success, also if some "
    "micrographs failed (they are listed); 2 failure; 130 or 143 aborted."
)
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")


class Parser(argparse.ArgumentParser):
    """Parser that reports a wrong option in one line and ends the job, so that RELION does not wait for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of ``argparse.ArgumentParser``; options must not be abbreviated."""
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})
        self._words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments; an unknown one is an error that lists the known ones."""
        self._words = list(args or ())
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            shown = [action for action in self._actions if action.help != argparse.SUPPRESS]
            self.error(
                f"{unknown[0]} is not an option; the options are {', '.join(a.option_strings[0] for a in shown)}"
            )
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Record the failure in the job's folder, print the message and exit."""
        from cryoice_scipion.core.cli import UNUSABLE
        from cryoice_scipion.core.integrations.relion_state import FAILURE, end_early

        end_early(self._words, FAILURE)
        self.exit(UNUSABLE, f"{self.prog}: {message}\n")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("--o", required=True, type=Path, metavar="DIR", dest="output", help="folder of the job")
    add("--in_mics", required=True, nargs=1, metavar="STAR", dest="micrographs", help="STAR file of the micrographs")
    add(
        "--in_coords",
        metavar="STAR",
        dest="coordinates",
        help="coordinates: an autopick.star of RELION 4 or 5, a coords_suffix_NAME.star of RELION 3, or a STAR file",
    )
    add("--j", type=int, default=1, metavar="N", help="number of threads on the CPU (default: %(default)s)")

    add("--pipeline_control", help=argparse.SUPPRESS)  # RELION adds it if it finds "relion_" in the command

    def add_label(option: str, **settings: Any) -> None:
        """Define an option of a screening as a label of the job."""
        if settings.get("action") == "store_true":
            del settings["action"]
            settings.update(nargs="?", const=True, default=False, type=_is_yes, metavar="yes|no")
        add(*dict.fromkeys(("--" + option[2:].replace("-", "_"), option)), **settings)

    add_screen_options(add_label)
    parser.set_defaults(how_to_continue="run the job again to continue")


def _is_yes(word: str) -> bool:
    """Return the meaning of yes or no."""
    if word.lower() not in (*_YES, *_NO):
        raise argparse.ArgumentTypeError(f"{word!r} is neither yes nor no")
    return word.lower() in _YES


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from cryoice_scipion.core.cli import OK
    from cryoice_scipion.core.integrations.relion_job import RelionJob

    job = RelionJob(args.output)
    with job.state():
        _use_threads(args.j)
        args.resume = job.has_run
        config = screen_config(args)
        screen_micrographs(args, config, logger(), lambda run, tasks: _as_job(job, args, run, tasks))
    return OK


def _use_threads(number: int) -> None:
    import torch

    torch.set_num_threads(max(1, number))


def _as_job(
    job: RelionJob, args: argparse.Namespace, run: ScreeningRun, tasks: List[MicrographTask]
) -> ContextManager[None]:
    """Return a context in which RELION can abort the run, and at whose end the outputs for RELION are written."""

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        with job.abortable(run.stop):
            yield
        stems = {task.stem for task in tasks}
        records = [record for record in run.recorded() if record.stem in stems]
        source = Path(args.micrographs[0])
        job.write_outputs(source, tasks, records, picks=args.coordinates is not None)
        if run.failure:
            raise CryoIceError(source, "no micrograph could be screened", run.failure)

    return around()
