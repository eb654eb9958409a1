# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice simulate``: simulate micrographs with known contamination, for training, tests and demonstrations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Tuple

from cryoice_scipion.core.errors import counted
from cryoice_scipion.core.simulation.config import PUBLISHED
from cryoice_scipion.core.simulation.contaminants import KINDS
from cryoice_scipion.core.simulation.folder import DataSet, write_data_set


def size(text: str) -> Tuple[int, int]:
    """Parse rows and columns from a text such as 2048x2048."""
    try:
        rows, columns = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not ROWSxCOLUMNS, for example 2048x2048") from None
    return rows, columns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help=_OUTPUT)
    parser.add_argument("--number", type=int, required=True, metavar="N", help="number of micrographs")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="random seed (default: %(default)s)")
    parser.add_argument(
        "--size", type=size, default=(2048, 2048), metavar="ROWSxCOLUMNS", help="size in px (default: 2048x2048)"
    )
    parser.add_argument(
        "--pixel-size", type=float, default=1.0, metavar="A", help="pixel size in Å/px (default: %(default)s)"
    )
    parser.add_argument(
        "--clean-share",
        type=float,
        default=0.3,
        metavar="F",
        help="fraction of micrographs without contamination (default: %(default)s)",
    )
    parser.add_argument(
        "--published-share",
        type=float,
        default=PUBLISHED,
        metavar="F",
        help="fraction of micrographs that are band-pass filtered and stored with 8 bits, like many in public "
        "repositories (default: %(default)s)",
    )
    parser.add_argument(
        "--raw-share",
        type=float,
        default=0.0,
        metavar="F",
        help="fraction of micrographs that are raw frames: uneven brightness, residuals of the gain reference, the "
        "offset of a camera and, on half of them, one huge ice crystal (default: %(default)s)",
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, metavar="KIND", help=f"contaminants: {', '.join(KINDS)} (default: all)"
    )
    parser.add_argument(
        "--one-session",
        action="store_true",
        help="simulate one specimen and microscope; only defocus and contamination vary (default: all vary)",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


_OUTPUT = "output folder; an interrupted simulation in it is continued"


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    rows, columns = args.size
    data_set = DataSet(
        number=args.number,
        seed=args.seed,
        rows=rows,
        columns=columns,
        pixel_size=args.pixel_size,
        clean_share=args.clean_share,
        kinds=args.kinds,
        published_share=args.published_share,
        raw_share=args.raw_share,
        one_session=args.one_session,
    )
    paths = write_data_set(args.output, data_set, progress=not args.quiet)
    print(f"simulated {counted(len(paths), 'micrograph')} in {args.output}")
    return 0
