# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that ``train``, ``patches`` and ``evaluate`` share: the sources of labels, and how patches are cut."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

from cryoice_scipion.core.config import PatchConfig
from cryoice_scipion.core.errors import SettingsError, plain
from cryoice_scipion.core.evaluation.labels import LabelledMicrograph
from cryoice_scipion.core.formats.table import suffixes_in_words
from cryoice_scipion.core.training.sources import Sources


class OnlyOnce(argparse.Action):
    """Take an option with one file; refuse a second one, which would replace the first without a word."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: Any = None
    ) -> None:
        """Store the value."""
        before = getattr(namespace, self.dest)
        if before is not None:
            parser.error(
                f"argument {option}: is given twice ({before}, {values}); put the files into one folder or table"
            )
        setattr(namespace, self.dest, values)


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for the sources of labels."""
    group = parser.add_argument_group("labels")
    group.add_argument(
        "--good",
        type=Path,
        action=OnlyOnce,
        metavar="PATH",
        help=f"GOOD coordinates, a file or a folder of one format: {suffixes_in_words()}",
    )
    group.add_argument(
        "--bad",
        type=Path,
        action=OnlyOnce,
        metavar="PATH",
        help="BAD coordinates (false positives); a column cryoiceClass gives their class",
    )
    group.add_argument(
        "--boxes",
        type=Path,
        action=OnlyOnce,
        metavar="JSON",
        help="labelled boxes, good and bad ones, as for 'cryoice regions'; instead of --good and --bad, or with them",
    )
    group.add_argument(
        "--micrographs",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH",
        help="micrographs of these coordinates: folders, files or a .star",
    )
    group.add_argument(
        "--clean",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH",
        help="micrographs that are completely clean; backgrounds are drawn only from these",
    )
    group.add_argument(
        "--cryoppp",
        nargs="+",
        action="extend",
        type=Path,
        default=[],
        metavar="DIR",
        help="CryoPPP folders (ID/micrographs, ID/ground_truth)",
    )
    group.add_argument(
        "--simulated",
        nargs="+",
        action="extend",
        type=Path,
        default=[],
        metavar="DIR",
        help="folders with micrographs/ and label images in labels/, as 'cryoice simulate' writes them",
    )
    group.add_argument(
        "--grades",
        type=Path,
        action=OnlyOnce,
        metavar="CSV",
        help="resnet: table with the columns micrograph and grade, of the --micrographs",
    )
    group.add_argument(
        "--per-class",
        type=int,
        default=40,
        metavar="N",
        help="positions drawn for each micrograph and class of --simulated (default %(default)s)",
    )


def add_patch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for cutting patches; the default of each is that of the settings."""
    group = parser.add_argument_group("patches")
    group.add_argument(
        "--sampling", type=float, metavar="A", help="Å/px at which the network sees the image (default 4)"
    )
    group.add_argument("--pixel-size", type=float, metavar="A", help="Å/px of the micrographs (default: their headers)")
    group.add_argument(
        "--contrast", choices=("dark", "bright"), help="whether particles are dark or bright (default dark)"
    )
    group.add_argument("--no-background", action="store_true", help="do not add clean positions as GOOD patches")
    group.add_argument(
        "--jitter-copies",
        type=int,
        metavar="N",
        help="additional copies of each patch at a slightly different sampling (default 1)",
    )
    group.add_argument("--seed", type=int, help="random seed (default 0)")


def sources_of(args: argparse.Namespace) -> Sources:
    """Return the sources named on the command line."""
    return Sources(
        args.good, args.bad, args.micrographs, args.clean, args.cryoppp, args.simulated, args.boxes, args.grades,
        args.per_class,
    )  # fmt: skip


def patch_options(args: argparse.Namespace) -> Dict[str, Any]:
    """Return the patch settings that were given on the command line."""
    names = ("sampling", "pixel_size", "contrast", "jitter_copies", "seed")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.no_background:
        given["background"] = False
    return given


def labelled_of(args: argparse.Namespace, seed: int) -> Tuple[List[LabelledMicrograph], Sources]:
    """Return the labelled micrographs, and print what was left out."""
    sources = sources_of(args)
    found = sources.labelled(seed)
    say(sources.messages)
    return found, sources


def patch_config(args: argparse.Namespace) -> PatchConfig:
    """Return the patch settings of a command without a configuration file."""
    return PatchConfig.make(**patch_options(args))


def make_folder(folder: Path) -> None:
    """Make the output folder before anything slow, so that no work is lost if it cannot be written.

    Raises
    ------
    SettingsError
        When the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = f"cannot be written ({error.strerror or error})"
        raise SettingsError(folder, reason, "give a folder that you may write to") from None


def say(messages: List[str]) -> None:
    """Print messages to standard error."""
    for message in messages:
        print(plain(message), file=sys.stderr)
