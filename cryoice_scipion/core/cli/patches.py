# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice patches``: cut labelled patches out of micrographs, and write them as a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from cryoice_scipion.core.cli.sources import (
    add_patch_arguments,
    add_source_arguments,
    labelled_of,
    make_folder,
    patch_config,
    say,
)
from cryoice_scipion.core.errors import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder for real.npy, fft.npy, local.npy, coarse.npy, spectrum.npy, patches.csv, patches.json",
    )
    add_source_arguments(parser)
    add_patch_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from cryoice_scipion.core.training.patches.patch_set import cut_patches  # torch: only when needed

    config = patch_config(args)
    micrographs, _ = labelled_of(args, config.seed)
    make_folder(args.output)
    patches = cut_patches(micrographs, config)
    patches.save(args.output)
    say(patches.messages)
    for kind, number in sorted(patches.counts().items()):
        print(f"{number:7d}  {kind}")
    print(f"{counted(len(patches.real), 'patch', 'patches')} with the jittered copies, in {args.output}")
    return 0
