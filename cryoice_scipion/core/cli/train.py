# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice train``: train or fine-tune a model with good and bad coordinates, or with label images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List

from cryoice_scipion.core.cli.sources import (
    add_patch_arguments,
    add_source_arguments,
    make_folder,
    patch_options,
    say,
    sources_of,
)
from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.choice import kind_to_train
from cryoice_scipion.core.detectors.kinds import DEFAULT_KIND, KINDS, trained_kinds
from cryoice_scipion.core.detectors.model_folder import DASHBOARD, MODEL_JSON, UNFINISHED
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.workers.devices import find_device

if TYPE_CHECKING:
    from cryoice_scipion.core.training.trainers import TrainRequest

_NAMES = (
    "epochs",
    "patience",
    "batch",
    "learning_rate",
    "validation",
    "hold_out",
    "network",
    "views",
    "width",
    "depth",
    "base",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options, which ``sweep`` also has."""
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="model folder to write")
    add_source_arguments(parser)
    parser.add_argument(
        "--patches",
        nargs="+",
        action="extend",
        type=Path,
        default=[],
        metavar="DIR",
        help="patch sets of 'cryoice patches', instead of other labels or in addition to them",
    )
    add_patch_arguments(parser)
    group = parser.add_argument_group("training")
    group.add_argument("--config", type=Path, metavar="JSON", help="settings file; options override it")
    group.add_argument(
        "--from", dest="base", metavar="MODEL", help="start from the weights of this model (folder, or 'default')"
    )
    group.add_argument("--name", help="name of the model (default: that of the folder)")
    group.add_argument("--note", metavar="TEXT", help="a sentence about the data, for the model card")
    kinds = trained_kinds()
    group.add_argument(
        "--network",
        choices=[kind.name for kind in kinds],
        help="; ".join(f"{kind.name}: {kind.help}" for kind in kinds)
        + f" (default: that of --from, else {DEFAULT_KIND})",
    )
    group.add_argument(
        "--one-class",
        dest="network",
        action="store_const",
        const="one_class",
        help="short for --network one_class, which takes only --clean",
    )
    group.add_argument(
        "--views",
        nargs="+",
        choices=list(dict.fromkeys(view for kind in kinds for view in kind.views)),
        help="views that the network takes; "
        + "; ".join(f"{kind.name}: {', '.join(kind.views)}" for kind in kinds if kind.views)
        + " (default: patch fft; patch_spectrum then takes patch, local and spectrum)",
    )
    group.add_argument(
        "--hold-out", nargs="+", action="extend", metavar="NAME", help="micrographs to use only for testing"
    )
    group.add_argument(
        "--validation",
        type=float,
        metavar="SHARE",
        help=f"share of micrographs for validation (default {_default('validation')})",
    )
    group.add_argument("--epochs", type=int, help=f"epochs; patches: at most (default {_default('epochs')})")
    group.add_argument(
        "--patience",
        type=int,
        help=f"stop after this many epochs without a lower validation loss (default {_default('patience')})",
    )
    group.add_argument("--batch", type=int, help=f"patches or crops in a step (default {_default('batch')})")
    group.add_argument(
        "--learning-rate", type=float, help=f"initial learning rate of AdamW (default {_default('learning_rate')})"
    )
    group.add_argument("--width", type=int, help=f"channels of the first layer (default {_default('width')})")
    group.add_argument(
        "--depth", type=int, choices=(10, 18, 34), help=f"resnet: layers with weights (default {_default('depth')})"
    )
    group.add_argument(
        "--class-weights",
        action="store_true",
        help="give GOOD and BAD the same total weight; this makes the calibration worse (default: unweighted)",
    )
    group.add_argument(
        "--per-micrograph-reference",
        action="store_true",
        help="calibrate as if each micrograph were a session of its own, as simulated ones are",
    )
    group.add_argument(
        "--crops",
        nargs="+",
        type=int,
        metavar="N",
        help="unet: crops of a micrograph in an epoch, one number for each --simulated folder",
    )
    group.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="unet: folder that keeps prepared micrographs between calls (default: OUTPUT_cache)",
    )
    group.add_argument(
        "--mixed-precision",
        action="store_true",
        help="unet: compute in bfloat16 where it is safe; halves the time on GPUs and processors that support it",
    )
    group.add_argument(
        "--texture-weight",
        action="store_true",
        help="autoencoder: give places with little texture (co-occurrence of grey levels) more weight in the training",
    )
    group.add_argument(
        "--dashboard", action="store_true", help="also write the training for TensorBoard, into OUTPUT/dashboard"
    )
    group.add_argument("--invert", action="store_true", help="also train on inverted contrast")
    group.add_argument("--device", default="auto", help="auto, cpu or cuda:0 (default %(default)s)")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from cryoice_scipion.core.cli import OK, status_after
    from cryoice_scipion.core.training.dashboard import train_with_dashboard
    from cryoice_scipion.core.training.metrics import in_words  # scikit-learn: only when needed
    from cryoice_scipion.core.training.trainers import train_model

    request = request_of(args)
    ours = any((args.output / name).exists() for name in (MODEL_JSON, UNFINISHED, DASHBOARD))
    if args.output.is_dir() and any(args.output.iterdir()) and not ours:
        raise SettingsError(args.output, "is not empty and holds no model", "give a new folder")
    make_folder(args.output)
    result = train_with_dashboard(request) if args.dashboard else train_model(request)
    parts = (("validation", result.validation), ("test (held out)", result.test), ("before tuning", result.before))
    for name, values in parts:
        if values:
            print(f"{name}: {in_words(values)}")
    print(f"recommended threshold {result.config.recommended_threshold}")
    print(f"model in {args.output}, read {args.output / 'card.md'}")
    return status_after(result.interrupted) if result.interrupted else OK


def request_of(args: argparse.Namespace) -> TrainRequest:
    """Return the training that the options describe; a wrong --network or --from is reported here."""
    from cryoice_scipion.core.training.trainers import TrainRequest

    config = _config(args)
    kind_to_train(config)
    return TrainRequest(
        config=config,
        output=args.output,
        sources=sources_of(args),
        patch_sets=args.patches,
        crops=args.crops or (),
        cache=args.cache,
        note=args.note or "",
        given=_given(args),
        device=find_device(args.device),
        warn=say,
    )


def _default(name: str) -> str:
    """Return the default of a training setting, and those of the kinds that have another one."""
    others = [f"{kind.name}: {kind.defaults[name]}" for kind in trained_kinds() if name in kind.defaults]
    return "; ".join([str(TrainConfig.model_fields[name].default), *others])


def _given(args: argparse.Namespace) -> List[str]:
    """Return the names of the options that have a value."""
    return [name for name, value in vars(args).items() if value]


def _config(args: argparse.Namespace) -> TrainConfig:
    """Return the settings: those of the file, overridden by the command line."""
    values: Dict[str, Any] = TrainConfig.load(args.config).model_dump() if args.config else {"name": args.output.name}
    values.update({name: getattr(args, name) for name in _NAMES if getattr(args, name) is not None})
    if args.name:
        values["name"] = args.name
    if args.seed is not None:
        values["seed"] = args.seed
    for name in ("class_weights", "per_micrograph_reference", "mixed_precision", "texture_weight"):
        if getattr(args, name):
            values[name] = True
    kind = KINDS.get(values.get("network", ""))
    if kind and not values.get("base"):
        values = {**kind.defaults, **values}
    values["patches"] = {**values.get("patches", {}), **patch_options(args)}
    if args.invert:
        values["augment"] = {**values.get("augment", {}), "invert": True}
    return TrainConfig.make(**values)
