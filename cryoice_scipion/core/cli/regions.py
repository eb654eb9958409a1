# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice regions``: find regions of bad area in a screening, or more places like those in labelled boxes."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from cryoice_scipion.core.errors import SettingsError, counted

EPILOG = (
    "Works on the stored maps of the screening, without the model. A file of labelled boxes has the form "
    '{"version": 1, "micrographs": {"mic001": [{"x": 10, "y": 20, "width": 80, "height": 60, "class": "frost"}]}}. '
    'Positions are the left and the top edge in px; row 0 is y = 0. A box with "good": true is a good place. Exit '
    "status: 0 found, 1 nothing found."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="output folder of 'cryoice screen' or of a Scipion run")
    add("--output", required=True, type=Path, metavar="DIR", help="output folder")
    help_text = "labelled boxes: find more places of these classes (default: find all classes of bad area)"
    add("--labels", type=Path, metavar="JSON", help=help_text)
    add(
        "--proposals",
        choices=("tree", "selective_search"),
        default="tree",
        help="how regions are proposed: by the component tree of maps and grey levels, or by Selective Search, which "
        "needs the package selectivesearch (default: %(default)s)",
    )
    add("--top", type=int, default=48, metavar="N", help="regions on the contact sheet (default: %(default)s)")
    add("--quiet", action="store_true", help="no progress bar")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from cryoice_scipion.core.regions.labels import read_labels
    from cryoice_scipion.core.results.run_folder import refuse_screening
    from cryoice_scipion.core.results.stored_maps import StoredMaps
    from cryoice_scipion.core.screening.region_search import search_regions
    from cryoice_scipion.core.screening.region_search_files import write_found

    refuse_screening(args.output)
    if args.top < 1:
        raise SettingsError("--top", f"{args.top} is too small", "give 1 or more")
    maps = StoredMaps.read(args.run)
    labels = read_labels(args.labels) if args.labels else None
    quiet = args.quiet or not sys.stderr.isatty()
    found = search_regions(
        maps, labels, args.proposals, lambda keys, number: tqdm(keys, "regions", number, unit="mic", disable=quiet)
    )
    write_found(args.output, maps, found, args.top)
    counts = Counter(one.cls for one in found if one.confidence >= 0.5)
    words = ", ".join(f"{number} {name}" for name, number in counts.most_common()) or "none"
    print(f"{counted(len(found), 'region')} in {args.output}; with a confidence of 0.5 or more: {words}")
    return 0 if found else 1
