# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice info``: what a model is, what it was trained on, how good it was."""

from __future__ import annotations

import argparse

from cryoice_scipion.constants import DEFAULT_MODEL
from cryoice_scipion.core.detectors.model_folder import fingerprint, load_config, read_card, resolve_model

NAME = "info"
HELP = "say what a model is, what it was trained on and how good it was"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument(
        "model",
        nargs="?",
        default=DEFAULT_MODEL,
        help="a model folder, or the name of a shipped one (default %(default)s)",
    )


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    folder = resolve_model(args.model)
    load_config(folder)
    print(read_card(folder))
    print(f"folder: {folder}\nfingerprint: {fingerprint(folder)} (files match their SHA-256)")
    return 0
