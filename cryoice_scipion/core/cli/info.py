# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice info``: print the model card, which describes training data and accuracy, and the fingerprint."""

from __future__ import annotations

import argparse

from cryoice_scipion.constants import DEFAULT_MODEL
from cryoice_scipion.core.detectors.model_folder import fingerprint, load_config, read_card, resolve_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument(
        "model",
        nargs="?",
        default=DEFAULT_MODEL,
        help="model folder, or the name of a shipped model (default: %(default)s)",
    )


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    folder = resolve_model(args.model)
    load_config(folder)
    print(read_card(folder))
    print(f"folder: {folder}\nfingerprint: {fingerprint(folder)} (SHA-256 checksums verified)")
    return 0
