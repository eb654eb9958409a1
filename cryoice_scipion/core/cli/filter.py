# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice filter``: score new coordinates on the stored maps of a screening, without the model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, Sequence

from tqdm import tqdm

from cryoice_scipion.core.cli.running import COORDINATES, print_failures
from cryoice_scipion.core.config import ScreenConfig, parse_margins
from cryoice_scipion.core.errors import plain
from cryoice_scipion.core.formats.table import formats_in_words

EPILOG = (
    "The settings of the screening count where no option is given. Coordinates of micrographs that have no map yet are "
    "in coordinates/pending.star: run the command again later. A running screening can be read. Coordinates of "
    "micrographs that failed are rejected. Exit status: 0 all coordinates have a verdict, 1 some are pending, could "
    "not be used, or are on failed micrographs, 2 all are pending or nothing could be done."
)
NONE = "none"
_REJECT_GRADE = (
    "reject the coordinates on micrographs that the screening gave this grade; may be repeated; replaces the rejected "
    f"grades of the screening; {NONE}: no grade"
)
_FLIP_Y = "the coordinates count rows from the other end of the image (default: as in the screening)"
_NO_FLIP_Y = "the coordinates count rows from the first row of the image, even if those of the screening did not"
_IGNORE = (
    "class of bad area to treat as good; may be repeated; replaces the ignored classes of the screening; "
    f"{NONE}: no class"
)
#: Options that replace a setting of the screening.
_SETTINGS = ("threshold", "particle_diameter", "box_size", "coordinates_pixel_size", "max_bad_area", "flip_y")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="output folder of 'cryoice screen' or of a Scipion run")
    help_text = COORDINATES.format(formats=formats_in_words())
    add("--coordinates", required=True, action="append", metavar="PATH", help=help_text)
    add("--output", required=True, type=Path, metavar="DIR", help="output folder")
    add("--threshold", type=float, metavar="T", help="keep coordinates with at least this goodness; -1 keeps all")
    add("--particle-diameter", type=float, metavar="A", help="particle diameter in Å")
    add("--box-size", type=float, metavar="PX", help="box size in px, if the coordinate files do not contain it")
    add("--margin", action="append", metavar="[CLASS=]A", help="Å beyond the particle's edge; may be repeated")
    add("--ignore", action="append", metavar="CLASS", help=_IGNORE)
    add("--max-bad-area", type=float, metavar="SHARE", help="discard micrographs with more bad area, 0 to 1")
    add("--reject-grade", action="append", metavar="GRADE", help=_REJECT_GRADE)
    add("--coordinates-pixel-size", type=float, metavar="A", help="Å/px of the coordinates, if it is another one")
    add("--flip-y", action="store_true", default=None, help=_FLIP_Y)
    add("--no-flip-y", action="store_false", default=None, dest="flip_y", help=_NO_FLIP_Y)
    add("--box-files", action="store_true", help="also write the kept coordinates as EMAN .box files")
    add("--quiet", action="store_true", help="no progress bar")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from cryoice_scipion.core.formats.coordinates import MICROGRAPH, read_picks
    from cryoice_scipion.core.results.balance import (
        all_unmatched,
        balance_line,
        file_lines,
        has_losses,
        names_in_short,
        none_screened,
    )
    from cryoice_scipion.core.results.run_folder import FolderError, refuse_screening
    from cryoice_scipion.core.results.run_reader import read_summary
    from cryoice_scipion.core.results.stored_maps import StoredMaps
    from cryoice_scipion.core.screening.filter import filter_coordinates

    refuse_screening(args.output)
    maps = StoredMaps.read(args.run)
    picks = read_picks(args.coordinates)
    config = _config(args, maps.config)
    as_before = config.flip_y and args.flip_y is None
    flipped = "y of the coordinates is flipped, as in the screening; --no-flip-y switches this off"
    for note in [*picks.notes, *([flipped] if as_before else [])]:
        print(plain(note), file=sys.stderr)
    _warn(picks.warnings)
    known = len(picks.warnings)
    try:
        summary, given, failures = filter_coordinates(
            maps,
            picks,
            config,
            args.output,
            lambda records, number: tqdm(
                records, "filter", number, unit="mic", disable=args.quiet or not sys.stderr.isatty()
            ),
        )
    except FolderError as error:
        raise FolderError(
            error.what, error.reason, "free disk space or set write permission, then filter again"
        ) from None
    _warn([*picks.warnings[known:], *summary.warnings])
    print_failures(failures)
    print(f"coordinates in {args.output / 'coordinates'}")
    print("\n".join([*map(plain, file_lines(given)), balance_line(summary)]))
    if len(picks) and not summary.picks:
        screening, names = read_summary(args.run), names_in_short(picks.table[MICROGRAPH].astype(str).unique())
        if screening is not None and screening.finished:
            raise all_unmatched(len(picks), names)
        raise none_screened(len(picks), names)
    return 0 if summary.finished and not failures and not has_losses(given) else 1


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"WARNING: {plain(line)}", file=sys.stderr)


def _config(args: argparse.Namespace, config: ScreenConfig) -> ScreenConfig:
    """Return the settings of the screening with those on the command line."""
    values: Dict[str, Any] = {name: getattr(args, name) for name in _SETTINGS if getattr(args, name) is not None}
    if args.margin is not None:
        values["margin"], values["margins"] = parse_margins(args.margin)
    if args.ignore is not None:
        values["ignore"] = [] if args.ignore == [NONE] else sorted(set(args.ignore))
    if args.reject_grade is not None:
        values["reject_grades"] = [] if args.reject_grade == [NONE] else sorted(set(args.reject_grade))
    return ScreenConfig.make(**{**config.model_dump(), "box_files": args.box_files, **values})
