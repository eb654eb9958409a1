# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice evaluate``: how good a model is on labelled data."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cryoice_scipion.constants import DEFAULT_MODEL
from cryoice_scipion.core.cli.devices import one_device
from cryoice_scipion.core.cli.sources import add_patch_arguments, add_source_arguments, labelled_of, patch_options, say
from cryoice_scipion.core.config import PatchConfig

NAME = "evaluate"
HELP = "measure a model on labelled data: the same figures as training prints"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help="a model folder, or the name of a shipped one (default %(default)s)"
    )
    parser.add_argument("--threshold", type=float, help="on goodness (default: the model's recommended one)")
    parser.add_argument("--output", type=Path, metavar="JSON", help="also write the figures to this file")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:0 (default %(default)s)")
    parser.add_argument(
        "--patches", type=Path, metavar="DIR", help="a patch set of 'cryoice patches' instead of labels"
    )
    add_source_arguments(parser)
    add_patch_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from cryoice_scipion.core.data.patches import PatchSet, cut_patches  # torch: only when needed
    from cryoice_scipion.core.networks.bundle import resolve_model
    from cryoice_scipion.core.networks.detector import NetworkDetector
    from cryoice_scipion.core.training.evaluate import evaluate

    detector = NetworkDetector.load(resolve_model(args.model), one_device(args.device))
    if args.patches:
        patches = PatchSet.load(args.patches)
    else:
        config = PatchConfig.make(
            **{"jitter_copies": 0, "sampling": detector.config.views[0].sampling, **patch_options(args)}
        )
        patches = cut_patches(labelled_of(args, config.seed)[0], config)
        say(patches.messages)
    threshold = detector.config.recommended_threshold if args.threshold is None else args.threshold
    figures = evaluate(detector, patches, threshold)
    for kind, values in figures.items():
        print(f"{kind}: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()))
    if args.output:
        args.output.write_text(json.dumps({"threshold": threshold, **figures}, indent=2) + "\n", encoding="utf-8")
    return 0
