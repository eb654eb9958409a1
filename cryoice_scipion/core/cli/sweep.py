# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice sweep``: search the best settings of a training, and train a model with them."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cryoice_scipion.core.cli import train
from cryoice_scipion.core.cli.sources import make_folder
from cryoice_scipion.core.detectors.choice import kind_to_train
from cryoice_scipion.core.detectors.model_folder import DASHBOARD
from cryoice_scipion.core.errors import SettingsError, counted

if TYPE_CHECKING:
    from cryoice_scipion.core.training.sweep.run import SweepResult
    from cryoice_scipion.core.training.trainers import TrainRequest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options: those of ``train``, and those of the sweep."""
    train.add_arguments(parser)
    group = parser.add_argument_group("sweep")
    group.add_argument(
        "--space",
        type=Path,
        metavar="JSON",
        help="the settings to vary and their ranges (default: those of the network)",
    )
    group.add_argument(
        "--trials", type=int, default=20, metavar="N", help="combinations of settings to try (default %(default)s)"
    )
    group.add_argument(
        "--best",
        type=int,
        default=3,
        metavar="N",
        help="number of the best trials to repeat with other seeds (default %(default)s)",
    )
    group.add_argument(
        "--seeds",
        type=int,
        default=3,
        metavar="N",
        help="seeds for each of them; 1: no repetition (default %(default)s)",
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="continue the sweep in OUTPUT, or join it as a further process; start it if there is none",
    )
    group.add_argument("--show-space", action="store_true", help="print the ranges as JSON, and end")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from cryoice_scipion.core.training.sweep.space import SearchSpace

    request = train.request_of(args)
    _check(args, request)
    kind = kind_to_train(request.config)
    if args.space:
        space = SearchSpace.load(args.space, request.config)
    else:
        space = SearchSpace(kind.space, request.config, f"the ranges of {kind.name}")
    if args.show_space:
        print(json.dumps(space.to_json(), indent=2))
        return 0
    _check_installed(args.dashboard)
    from cryoice_scipion.core.training.sweep.run import FOLDER, SweepRequest, run_sweep

    _check_folder(args)
    make_folder(args.output)
    training = dataclasses.replace(request, cache=request.cache or args.output / FOLDER / "cache", log=say)
    _print_result(
        run_sweep(SweepRequest(training, space, args.trials, args.best, args.seeds, args.dashboard)), args.output
    )
    return 0


def _check(args: argparse.Namespace, request: TrainRequest) -> None:
    """Refuse options that have no meaning in a sweep."""
    if request.config.base and kind_to_train(request.config).tunable:
        raise SettingsError("--from", "fine-tuning this model has no settings to search", "leave --from out")
    if request.config.hold_out:
        reason = "is not used by a sweep, which leaves out each data source in turn"
        raise SettingsError("--hold-out", reason, "leave it out, and measure the model with 'cryoice evaluate'")
    for name in ("trials", "best", "seeds"):
        if getattr(args, name) < 1:
            raise SettingsError(f"--{name}", "must be 1 or more")


def _check_installed(dashboard: bool) -> None:
    """Report missing packages before anything slow."""
    from cryoice_scipion.core.training.dashboard import require_tensorboard

    if importlib.util.find_spec("optuna") is None:
        raise SettingsError("Optuna", "is not installed", f"{sys.executable} -m pip install 'optuna>=4.3'")
    if dashboard:
        require_tensorboard()


def _check_folder(args: argparse.Namespace) -> None:
    """Refuse an output folder that belongs to something else, or to a sweep that is not to be continued."""
    from cryoice_scipion.core.training.sweep.run import FOLDER, SETTINGS

    if (args.output / FOLDER / SETTINGS).exists():
        if not args.resume:
            raise SettingsError(args.output, "holds a sweep", "give --resume to continue it, or a new folder")
    elif args.output.is_dir() and {path.name for path in args.output.iterdir()} - {FOLDER, DASHBOARD}:
        raise SettingsError(args.output, "is not empty and holds no sweep", "give a new folder")


def _print_result(result: SweepResult, output: Path) -> None:
    """Print the trials in numbers, the best ones, and where the model is."""
    from cryoice_scipion.core.training.sweep.table import TABLE, scores_in_words, settings_in_words

    states = [item.state for item in result.outcomes]
    counts = ", ".join(f"{states.count(name)} {name}" for name in ("complete", "pruned", "failed"))
    print(f"{counted(len(states), 'trial')}: {counts}")
    if result.usual:
        print(f"usual settings: AUC {result.usual.score:.3f} ({scores_in_words(result.usual.sources)})")
    for best in result.candidates:
        print(f"trial {best.trial}: AUC {best.words}; {settings_in_words(best.settings)}")
    print(f"model of trial {result.winner.trial} in {output}, read {output / TABLE}")


def say(message: str) -> None:
    """Print a line at once, also into a file."""
    print(message, flush=True)
