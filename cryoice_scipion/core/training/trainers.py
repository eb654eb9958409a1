# SPDX-License-Identifier: GPL-3.0-or-later
"""Train a model of any kind: the request that every trainer takes, and the result that it returns. Imports no torch."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoice_scipion.core.config import ModelConfig, TrainConfig
from cryoice_scipion.core.detectors.choice import kind_to_train
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.images.trees import distinct_paths
from cryoice_scipion.core.training.sources import Sources, repeated_lines

Log = Callable[[str], None]
Patches = Callable[[NDArray[np.int64]], NDArray[np.float32]]  # (n, 64, 64) of some rows of a table, for pictures


@dataclasses.dataclass
class Positions:
    """Predictions on the validation positions, and what a dashboard shows beside them."""

    table: pd.DataFrame  # label, p_bad (not calibrated), micrograph, x, y, origin; the index counts from 0
    patches: Patches
    features: Callable[[], NDArray[np.float32]]  # (n, features): what the last layer of the network reads


@dataclasses.dataclass
class Epoch:
    """What a trainer reports after each epoch."""

    row: Dict[str, float]  # of history.csv
    positions: Optional[Callable[[], Positions]] = None  # None: an epoch of an interrupted training that continues


@dataclasses.dataclass
class TrainRequest:
    """Everything that a trainer needs to know; a trainer returns a :class:`Result`."""

    config: TrainConfig
    output: Path  # the model folder to write
    sources: Sources = dataclasses.field(default_factory=Sources)
    patch_sets: Sequence[Path] = ()  # folders of 'cryoice patches'
    crops: Sequence[int] = ()  # U-Net: crops of a micrograph in an epoch, one number for each folder
    cache: Optional[Path] = None  # U-Net: the folder that keeps views between calls; None: beside the output
    note: str = ""  # a sentence about the data, for the model card
    given: Sequence[str] = ()  # the options that the user gave, so that a trainer can refuse those it does not use
    device: str = "cpu"
    log: Log = print
    warn: Callable[[List[str]], None] = lambda messages: None  # reports what was left out
    progress: bool = True
    on_epoch: Callable[[Epoch], None] = lambda epoch: None  # called after each epoch; may raise to stop the training

    def __post_init__(self) -> None:
        """Use a patch set that is given more than once only once, and report it."""
        given, self.patch_sets = self.patch_sets, distinct_paths(self.patch_sets)
        repeated = repeated_lines(given, self.patch_sets)
        if repeated:
            self.warn(repeated)

    def describe(self, topics: Dict[str, str], backgrounds: bool) -> Dict[str, str]:
        """Return what the model card says about the data and the settings.

        Parameters
        ----------
        topics : dict
            The origin of the labels by topic.
        backgrounds : bool
            Whether clean background is among the GOOD examples.
        """
        note = {"note": self.note} if self.note else {}
        # Cards are passed on: the base model is given by its name, not by its path on this machine.
        settings = self.config.model_copy(update={"base": Path(self.config.base).name}).model_dump_json()
        return {**topics, "backgrounds as GOOD": "yes" if backgrounds else "no", **note, "settings": settings}


@dataclasses.dataclass
class Result:
    """A trained model and its metrics."""

    folder: Path
    config: ModelConfig
    validation: Dict[str, float]
    test: Dict[str, float]  # empty without held-out micrographs
    interrupted: Optional[KeyboardInterrupt]  # the signal that ended the training early
    before: Dict[str, float] = dataclasses.field(default_factory=dict)  # of the model before fine-tuning


def train_model(request: TrainRequest) -> Result:
    """Train a model of the requested kind, and write its folder.

    Raises
    ------
    ModelError
        When the model to start from is damaged or missing.
    SettingsError
        When the settings do not fit each other or the data.
    """
    trainer = kind_to_train(request.config).trainer
    module, _, function = trainer.partition(":")
    train: Callable[[TrainRequest], Result] = getattr(importlib.import_module(module), function)
    return train(request)


def refuse_options(request: TrainRequest, unused: Sequence[str], option: str) -> None:
    """Refuse options that a trainer does not use.

    Parameters
    ----------
    unused : sequence of str
        Names of options, without dashes in front, with underscores.
    option : str
        The option that selects the trainer, for the message.

    Raises
    ------
    SettingsError
        When the user gave one of them.
    """
    found = [f"--{name.replace('_', '-')}" for name in unused if name in request.given]
    if found:
        raise SettingsError(option, f"does not use {', '.join(found)}", "leave these options out")
