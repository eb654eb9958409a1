# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice train``: from good and bad coordinates to a model folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List

from cryoice_scipion.core.cli.sources import (
    add_patch_arguments,
    add_source_arguments,
    labelled_of,
    make_folder,
    patch_options,
    say,
)
from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.choice import PATCH_SPECTRUM, UNET, network_of, views_of
from cryoice_scipion.core.detectors.model_folder import MODEL_JSON, UNFINISHED, resolve_model
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.training.points import LabelledMicrograph
from cryoice_scipion.core.workers.devices import find_device

if TYPE_CHECKING:
    from cryoice_scipion.core.training.saving import Result

NAME = "train"
HELP = "train a model from good and bad coordinates"
# what means nothing to a network that learns from label images
_OF_PATCHES = ("contrast", "pixel_size", "sampling", "jitter_copies", "no_background", "invert", "class_weights",
               "per_micrograph_reference", "views", "patience")  # fmt: skip
_UNET_DEFAULTS = {"batch": 8, "learning_rate": 0.002, "validation": 0.1}  # where nothing else is asked for
_NAMES = ("epochs", "patience", "batch", "learning_rate", "validation", "hold_out", "network", "views", "width", "base")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="model folder to write")
    add_source_arguments(parser)
    parser.add_argument(
        "--patches",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="patch sets of 'cryoice patches', instead of or beside other labels",
    )
    add_patch_arguments(parser)
    group = parser.add_argument_group("training")
    group.add_argument("--config", type=Path, metavar="JSON", help="settings; options on the command line win")
    group.add_argument(
        "--from", dest="base", metavar="MODEL", help="start from the weights of this model (folder, or 'default')"
    )
    group.add_argument("--name", help="the model's name (default: the folder's)")
    group.add_argument("--note", metavar="TEXT", help="what the model card should say of the data")
    group.add_argument(
        "--network",
        choices=("patch_fft", "patch_spectrum", "unet"),
        help="the seed's network; the one that also sees wider surroundings and spectra at full resolution; or that "
        "of the shipped model, which learns whole maps from --simulated folders (default: as --from has it, else "
        "patch_fft)",
    )
    group.add_argument(
        "--views",
        nargs="+",
        choices=("patch", "fft", "local", "coarse", "spectrum"),
        help="what the network sees (default: patch fft; with patch_spectrum: all of the image and of spectra)",
    )
    group.add_argument("--hold-out", nargs="+", metavar="NAME", help="micrographs that are only for testing")
    group.add_argument(
        "--validation", type=float, metavar="SHARE", help="share of micrographs for validation (default 0.25)"
    )
    group.add_argument("--epochs", type=int, help="at most; dense: as many (default 30)")
    group.add_argument("--patience", type=int, help="epochs without progress before stopping (default 6)")
    group.add_argument("--batch", type=int, help="patches in a step (default 128); unet: crops (default 8)")
    group.add_argument("--learning-rate", type=float, help="of AdamW at the start (default 0.0005; dense 0.002)")
    group.add_argument("--width", type=int, help="channels of the first layer (default 16)")
    group.add_argument(
        "--class-weights", action="store_true", help="weigh GOOD and BAD alike; costs calibration (default: unweighted)"
    )
    group.add_argument(
        "--per-micrograph-reference",
        action="store_true",
        help="each micrograph is of its own session, as simulated ones are: calibrate as with a data-set reference",
    )
    group.add_argument(
        "--crops",
        nargs="+",
        type=int,
        metavar="N",
        help="dense: crops of a micrograph in an epoch, one number a folder",
    )
    group.add_argument(
        "--cache", type=Path, metavar="DIR", help="dense: where views are kept between calls (default: OUTPUT_cache)"
    )
    group.add_argument(
        "--mixed-precision",
        action="store_true",
        help="dense: compute in bfloat16 where that is safe: half the time on GPUs and on processors that have it",
    )
    group.add_argument("--invert", action="store_true", help="also train on inverted contrast")
    group.add_argument("--device", default="auto", help="auto, cpu or cuda:0 (default %(default)s)")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from cryoice_scipion.core.training.metrics import in_words  # scikit-learn: only when needed

    config = _config(args)
    ours = any((args.output / name).exists() for name in (MODEL_JSON, UNFINISHED))
    if args.output.is_dir() and any(args.output.iterdir()) and not ours:
        raise SettingsError(args.output, "is not empty and holds no model", "give a new folder")
    views_of(config)  # a wrong one is said before anything slow
    dense = network_of(config) == UNET
    result = _train_unet(args, config) if dense and not config.base else _train_patches(args, config)
    parts = (("validation", result.validation), ("test (held out)", result.test), ("before tuning", result.before))
    for name, values in parts:
        if values:
            print(f"{name}: {in_words(values)}")
    print(f"recommended threshold {result.config.recommended_threshold}")
    print(f"model in {args.output}, read {args.output / 'card.md'}")
    return 130 if result.interrupted else 0


def _train_patches(args: argparse.Namespace, config: TrainConfig) -> Result:
    """Train on labelled positions."""
    from cryoice_scipion.core.detectors.loading import load_detector
    from cryoice_scipion.core.detectors.network_detector import NetworkDetector
    from cryoice_scipion.core.training.patches.patch_set import (  # torch: only when needed
        BACKGROUND,
        PatchSet,
        cut_patches,
        join,
    )
    from cryoice_scipion.core.training.patches.train import train

    dense, detector = network_of(config) == UNET, None
    if dense:
        loaded = load_detector(resolve_model(config.base), find_device(args.device))
        detector = loaded if isinstance(loaded, NetworkDetector) else None
    sets = [PatchSet.load(folder) for folder in args.patches]
    micrographs: List[LabelledMicrograph] = []
    topics = {"patch sets": ", ".join(folder.name for folder in args.patches)} if args.patches else {}
    if not args.patches or any((args.good, args.bad, args.micrographs, args.clean, args.cryoppp, args.simulated)):
        micrographs, sources = labelled_of(args, config.seed)
        topics.update(sources.describe())
        patch_spectrum = network_of(config) == PATCH_SPECTRUM
        # the first: the names of its micrographs stay
        sets.insert(0, cut_patches(micrographs, config.patches, patch_spectrum=patch_spectrum, dense=detector))
    make_folder(args.output)
    patches = join(sets)
    topics["backgrounds as GOOD"] = "yes" if (patches.table["origin"] == BACKGROUND).any() else "no"
    _describe(topics, args, config)
    say(patches.messages)
    return train(patches, micrographs, config, args.output, topics, find_device(args.device), print)


def _train_unet(args: argparse.Namespace, config: TrainConfig) -> Result:
    """Train on whole micrographs with label images."""
    from cryoice_scipion.core.evaluation.labels import find_labelled
    from cryoice_scipion.core.training.unet.train import TrainingSet, train_unet
    from cryoice_scipion.core.training.unet.training_micrographs import prepare_micrographs  # torch: only when needed

    others = (args.good, args.bad, args.micrographs, args.clean, args.cryoppp, args.patches)
    if not args.simulated or any(others):
        raise SettingsError(
            "--network dense",
            "learns from label images",
            "give --simulated folders and nothing else, or coordinates with --from a U-Net model",
        )
    ignored = [name for name in _OF_PATCHES if getattr(args, name)]
    if ignored:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in ignored)
        raise SettingsError("--network dense", f"has no use for {options}", "leave them out")
    crops = args.crops or [1] * len(args.simulated)
    if len(crops) != len(args.simulated) or min(crops) < 1:
        raise SettingsError("--crops", f"needs {len(args.simulated)} numbers above 0, one for each --simulated folder")
    names = [folder.resolve().name for folder in args.simulated]
    if len(set(names)) < len(names):
        raise SettingsError("--simulated", f"{', '.join(names)}: two folders of one name", "rename one of them")
    make_folder(args.output)
    cache = args.cache or args.output.with_name(f"{args.output.name}_cache")
    sets = [
        TrainingSet(name, prepare_micrographs(find_labelled(folder), cache / name), number)
        for folder, name, number in zip(args.simulated, names, crops)
    ]
    topics = {"label images": ", ".join(f"{len(item.micrographs)} of {item.name}" for item in sets)}
    topics["backgrounds as GOOD"] = "yes"
    _describe(topics, args, config)
    return train_unet(sets, config, args.output, topics, find_device(args.device), print)


def _describe(topics: Dict[str, str], args: argparse.Namespace, config: TrainConfig) -> None:
    """Add what the model card says of how a model was made."""
    if args.note:
        topics["note"] = args.note
    # A card is passed on: the base model by its name, not by where it lies on this machine.
    topics["settings"] = config.model_copy(update={"base": Path(config.base).name}).model_dump_json()


def _config(args: argparse.Namespace) -> TrainConfig:
    """Return the settings: the file's, then what the command line says."""
    values: Dict[str, Any] = TrainConfig.load(args.config).model_dump() if args.config else {"name": args.output.name}
    values.update({name: getattr(args, name) for name in _NAMES if getattr(args, name) is not None})
    if args.name:
        values["name"] = args.name
    if args.seed is not None:
        values["seed"] = args.seed
    for name in ("class_weights", "per_micrograph_reference", "mixed_precision"):
        if getattr(args, name):
            values[name] = True
    if values.get("network") == UNET and not values.get("base"):
        values = {**_UNET_DEFAULTS, **values}
    values["patches"] = {**values.get("patches", {}), **patch_options(args)}
    if args.invert:
        values["augment"] = {**values.get("augment", {}), "invert": True}
    return TrainConfig.make(**values)
