# SPDX-License-Identifier: GPL-3.0-or-later
"""From whole labelled micrographs to a model folder with the U-Net; an interrupted call goes on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit
from tqdm import tqdm

from cryoice_scipion.constants import BAD, BORDER, CLASSES, GOOD
from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.unet import SAMPLING, UNet
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.training.metrics import measure
from cryoice_scipion.core.training.patches.fit import Fitted, Log, runaway
from cryoice_scipion.core.training.saving import Result, model_config, save_model
from cryoice_scipion.core.training.splits import TEST, TRAIN, VALIDATION, matches_name
from cryoice_scipion.core.training.unet.calibration import calibrate_maps, cells_of_maps
from cryoice_scipion.core.training.unet.checkpoint import Unfinished, checksum
from cryoice_scipion.core.training.unet.crops import Cropper
from cryoice_scipion.core.training.unet.fit import UNetRun
from cryoice_scipion.core.training.unet.refinement_head import HIDDEN, fit_refinement_head
from cryoice_scipion.core.training.unet.training_micrographs import TrainingMicrograph
from cryoice_scipion.core.views.patch_spectrum import WINDOW
from cryoice_scipion.core.views.patches import cut

_PARTS = (TRAIN, VALIDATION, TEST)
_MEASURED = 0.3  # share of the training micrographs that the units of the spectral features are taken from


@dataclasses.dataclass
class TrainingSet:
    """The micrographs of one data set, and how many crops of each an epoch has.

    Sets of more than one crop are small and precious: all of them are trained on, and most of their crops hold
    something bad.
    """

    name: str
    micrographs: List[Path]
    crops: int = 1

    @property
    def names(self) -> List[str]:
        """Return the micrographs as SET/STEM."""
        return [f"{self.name}/{path.stem}" for path in self.micrographs]


@dataclasses.dataclass
class _LabelledData:
    """The labelled micrographs of all sets, by SET/STEM, and how they are used."""

    micrographs: Dict[str, TrainingMicrograph]
    split: Dict[str, str]  # TRAIN, VALIDATION or TEST
    crops: Dict[str, int]  # per epoch
    classes: List[str]

    def of(self, part: str) -> Dict[str, TrainingMicrograph]:
        """Return the micrographs of one part of the split."""
        return {name: item for name, item in self.micrographs.items() if self.split[name] == part}


def train_unet(
    sets: Sequence[TrainingSet],
    config: TrainConfig,
    folder: Path,
    trained_on: Dict[str, str],
    device: str,
    log: Log,
    progress: bool = True,
) -> Result:
    """Fit, calibrate, evaluate and save a U-Net model.

    Parameters
    ----------
    sets : sequence of TrainingSet
    config : TrainConfig
        Held-out micrographs are named by their stem; an epoch is kept in ``folder`` when it is done, and a later call
        with the same settings goes on from there.
    folder : Path
        The model folder to write.
    trained_on, device, log, progress
        As in :func:`train.train`.

    Raises
    ------
    SettingsError
        When there is nothing to train or to validate on, or the weights ran away.
    """
    split = split_micrographs(sets, config)
    counts = {part: sum(value == part for value in split.values()) for part in _PARTS}
    log("; ".join(f"{part}: {number} micrographs" for part, number in counts.items()))
    loaded = {name: TrainingMicrograph.load(path) for item in sets for name, path in zip(item.names, item.micrographs)}
    crops = {name: item.crops for item in sets for name in item.names}
    classes = classes_in(micrograph.labels for name, micrograph in loaded.items() if split[name] == TRAIN)
    _check_labels(loaded, split)
    torch.manual_seed(config.seed)
    network = UNet(len(classes), config.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    data = {"split": split, "crops": crops, "classes": classes, "network": shapes, "sum": checksum(loaded)}
    kept = Unfinished(folder, config, data)
    labelled = _LabelledData(loaded, split, crops, classes)
    network, fitted = _fit(network, labelled, config, kept, device, log, progress)
    predictions, reference = calibrate_maps(cells_of_maps(network, loaded, split, (VALIDATION, TEST), device))
    model = model_config(config, SAMPLING, fitted, predictions, {**trained_on, "micrographs": str(counts)})
    model = model.model_copy(update=reference)
    save_model(folder, model, fitted, predictions, [], _patches(predictions.table, loaded))
    if not fitted.interrupted:
        kept.delete()
    return Result(folder, model, predictions.validation, predictions.test, fitted.interrupted)


def split_micrographs(sets: Sequence[TrainingSet], config: TrainConfig) -> Dict[str, str]:
    """Say of each micrograph (SET/STEM) whether it is for training, validation or testing.

    Raises
    ------
    SettingsError
        When a held-out one is not there, or nothing is left to train or to validate on.
    """
    names = [name for item in sets for name in item.names]
    stems = [name.split("/")[-1] for name in names]
    held = {name for name, stem in zip(names, stems) if any(matches_name(stem, key) for key in config.hold_out)}
    absent = [key for key in config.hold_out if not any(matches_name(stem, key) for stem in stems)]
    if absent:
        raise SettingsError("--hold-out", f"no labelled micrograph is called {', '.join(sorted(absent))}")
    precious = all(item.crops > 1 for item in sets)
    free = [name for item in sets if item.crops == 1 or precious for name in item.names if name not in held]
    number = min(max(1, round(config.validation * len(free))), len(free) - 1)
    if number < 1:
        raise SettingsError("training set", f"{len(free)} micrographs are too few", "give at least two")
    chosen = set(np.random.default_rng(config.seed).choice(free, number, replace=False).tolist())
    return {name: TEST if name in held else VALIDATION if name in chosen else TRAIN for name in names}


def classes_in(labels: Any) -> List[str]:
    """Return the classes that a network of these label images has; good is the first."""
    codes = set(np.unique(np.concatenate([np.unique(item) for item in labels])).tolist())
    there = [name for code, name in enumerate(CLASSES) if code in codes and name not in (GOOD, BORDER, BAD)]
    return [GOOD, *(there or [BAD])]


def _check_labels(loaded: Dict[str, TrainingMicrograph], split: Dict[str, str]) -> None:
    """Raise SettingsError where training or validation micrographs show nothing good, or nothing bad."""
    good = CLASSES.index(GOOD)
    for part, word in ((TRAIN, "training"), (VALIDATION, "validation")):
        labels = [
            micrograph.labels.ravel()[micrograph.labelled] for name, micrograph in loaded.items() if split[name] == part
        ]
        for kind, there in (
            ("good", any((item == good).any() for item in labels)),
            ("bad", any((item != good).any() for item in labels)),
        ):
            if not there:
                raise SettingsError(
                    "training set", f"nothing on its {word} micrographs is labelled {kind}", "give more of them"
                )


def _fit(
    network: UNet,
    data: _LabelledData,
    config: TrainConfig,
    kept: Unfinished,
    device: str,
    log: Log,
    progress: bool,
) -> Tuple[UNet, Fitted]:
    """Train for all epochs: there is no early stopping, since the learning rate falls to 0 over the epochs."""
    torch.backends.cudnn.deterministic = True
    train = [Cropper(name, micrograph, data.crops[name] > 1) for name, micrograph in data.of(TRAIN).items()]
    rng = np.random.default_rng(config.seed)
    some = [item for item in train if rng.random() < _MEASURED] or train
    cells = [torch.from_numpy(item.spectrum.astype(np.float32)).flatten(1).T[::7] for item in some]
    network.spectral.measure(torch.cat(cells))
    run = UNetRun(network, train, data.classes, config, data.crops, device)
    history = kept.restore(run, log)
    bar = tqdm(total=config.epochs, initial=len(history), desc="training", unit="epoch", disable=not progress)
    interrupted = False
    try:
        for epoch in range(len(history) + 1, config.epochs + 1):
            row = {"epoch": float(epoch), "train_loss": run.epoch(epoch, progress)}
            row.update(_validate(run.averaged, data, device))
            kept.save(run, [*history, row])
            history.append(row)
            bar.set_postfix(loss=f"{row['validation_loss']:.3f}", auc=f"{row['validation_auc']:.3f}")
            bar.update()
    except KeyboardInterrupt:
        if not history:
            raise
        interrupted = True
        log(f"interrupted after {len(history)} epochs; the same command goes on from there")
        history = kept.restore(run, lambda _: None)  # without the part of an epoch that has begun
    refined = fit_refinement_head(run.averaged, data.of(TRAIN), data.crops, data.classes, config.seed, device, progress)
    options = {"width": config.width, "hidden": HIDDEN}
    return refined, Fitted(refined, data.classes, history, interrupted, options)


def _validate(network: UNet, data: _LabelledData, device: str) -> Dict[str, float]:
    cells = cells_of_maps(network, data.micrographs, data.split, (VALIDATION,), device, quick=True)
    odds = np.concatenate([item.log_odds() for item in cells])
    if not np.isfinite(odds).all():
        raise runaway()
    bad = np.concatenate([item.bad for item in cells])
    values = measure(expit(odds), bad, 0.5)
    loss = float(np.mean(np.logaddexp(0.0, np.where(bad, -odds, odds))))
    return {"validation_loss": loss, "validation_auc": values["auc"], "validation_ap": values["ap"]}


def _patches(table: pd.DataFrame, loaded: Dict[str, TrainingMicrograph]) -> NDArray[np.float32]:
    """Return the patch (64 px of the context view) around each cell of a table, shape (n, 64, 64)."""
    parts = []
    for name, rows in table.groupby("micrograph", sort=False):
        view = torch.from_numpy(loaded[str(name)].view.astype(np.float32))
        parts.append(cut(view, torch.from_numpy(rows[["x", "y"]].to_numpy(copy=True)), WINDOW).numpy())
    found: NDArray[np.float32] = np.concatenate(parts)
    return found
