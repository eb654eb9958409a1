# SPDX-License-Identifier: GPL-3.0-or-later
"""Train the U-Net on whole labelled micrographs; a later call continues an interrupted training."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit
from tqdm import tqdm

from cryoice_scipion.constants import BAD, BORDER, CLASSES, GOOD
from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.unet import SAMPLING, UNet
from cryoice_scipion.core.errors import SettingsError, counted
from cryoice_scipion.core.evaluation.labels import find_labelled
from cryoice_scipion.core.training.fine_tuning import fine_tune
from cryoice_scipion.core.training.metrics import measure
from cryoice_scipion.core.training.patches.fit import Fitted, runaway
from cryoice_scipion.core.training.saving import model_config, save_model
from cryoice_scipion.core.training.splits import TEST, TRAIN, VALIDATION
from cryoice_scipion.core.training.trainers import Epoch, Positions, Result, TrainRequest, refuse_options
from cryoice_scipion.core.training.unet.calibration import MapCells, calibrate_maps, cells_of_maps, some_cells
from cryoice_scipion.core.training.unet.checkpoint import Checkpoint, checksum
from cryoice_scipion.core.training.unet.crops import Cropper
from cryoice_scipion.core.training.unet.fit import UNetRun
from cryoice_scipion.core.training.unet.refinement_head import HIDDEN, features_of_micrograph, fit_refinement_head
from cryoice_scipion.core.training.unet.training_micrographs import TrainingMicrograph, prepare_micrographs
from cryoice_scipion.core.training.unet.training_sets import TrainingSet, split_micrographs
from cryoice_scipion.core.views.outlier_features import CELL
from cryoice_scipion.core.views.patch_spectrum import WINDOW
from cryoice_scipion.core.views.patches import cut

_PARTS = (TRAIN, VALIDATION, TEST)
_MEASURED = 0.3  # share of the training micrographs that the units of the spectral features are taken from
# Options of the training on patches, which this one does not use.
_UNUSED = ("contrast", "pixel_size", "sampling", "jitter_copies", "no_background", "invert", "class_weights",
           "per_micrograph_reference", "views", "patience", "texture_weight")  # fmt: skip
_OPTION = "--network unet"


@dataclasses.dataclass
class TrainingData:
    """Micrographs by name (SET/STEM), and what each is used for."""

    micrographs: Dict[str, TrainingMicrograph]
    split: Dict[str, str]
    crops: Dict[str, int]  # in an epoch; more than 1: of a small set of real micrographs
    classes: List[str]  # of the training micrographs; good is the first

    @classmethod
    def load(cls, sets: Sequence[TrainingSet], config: TrainConfig) -> TrainingData:
        """Read the prepared micrographs of all sets, and split them.

        Raises
        ------
        SettingsError
            When nothing good, or nothing bad, is labelled on the training or validation micrographs.
        """
        paths = {name: path for item in sets for name, path in zip(item.names, item.micrographs)}
        micrographs = {name: TrainingMicrograph.load(path) for name, path in paths.items()}
        labels = {name: item.kinds for name, item in micrographs.items()}
        split = split_micrographs(sets, config, labels)
        _check_labels(labels, split)
        crops = {name: item.crops for item in sets for name in item.names}
        classes = classes_in(item.labels for name, item in micrographs.items() if split[name] == TRAIN)
        return cls(micrographs, split, crops, classes)

    def training(self) -> Iterator[Tuple[str, TrainingMicrograph]]:
        """Yield the training micrographs and their names."""
        return ((name, item) for name, item in self.micrographs.items() if self.split[name] == TRAIN)


def train(request: TrainRequest) -> Result:
    """Train a U-Net on whole micrographs with label images; with a base model, fine-tune that to coordinates.

    Raises
    ------
    SettingsError
        When other labels, or options of a training on patches, are given.
    """
    if request.config.base:
        return fine_tune(request)
    folders = request.sources.simulated
    if not folders or request.sources.has_positions or request.patch_sets:
        raise SettingsError(
            _OPTION,
            "learns from label images",
            "give --simulated folders and nothing else, or coordinates with --from a U-Net model",
        )
    refuse_options(request, _UNUSED, _OPTION)
    crops = request.crops or [1] * len(folders)
    if len(crops) != len(folders) or min(crops) < 1:
        raise SettingsError(
            "--crops", f"needs {counted(len(folders), 'number')} above 0, one for each --simulated folder"
        )
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise SettingsError("--simulated", f"{', '.join(names)}: two folders of one name", "rename one of them")
    cache = request.cache or request.output.with_name(f"{request.output.name}_cache")
    sets = [
        TrainingSet(name, prepare_micrographs(find_labelled(folder), cache / name, request.progress), number)
        for folder, name, number in zip(folders, names, crops)
    ]
    topics = {"label images": ", ".join(f"{len(item.micrographs)} of {item.name}" for item in sets)}
    return train_on_maps(sets, request, request.describe(topics, backgrounds=True))


def micrographs_by_source(request: TrainRequest) -> Dict[str, List[str]]:
    """Return the micrographs of each data set, as SET/STEM."""
    folders = {folder.resolve().name: folder for folder in request.sources.simulated}
    return {name: [f"{name}/{item.stem}" for item in find_labelled(folder)] for name, folder in folders.items()}


def train_on_maps(sets: Sequence[TrainingSet], request: TrainRequest, topics: Dict[str, str]) -> Result:
    """Fit, calibrate, evaluate and save a U-Net model.

    Parameters
    ----------
    sets : sequence of TrainingSet
    request : TrainRequest
        Held-out micrographs are named by their stem. Each finished epoch is stored in the output folder, and a later
        call with the same settings continues from it.
    topics : dict
        Text by topic, for the model card.

    Raises
    ------
    SettingsError
        When there is nothing to train or to validate on, or the weights become infinite.
    """
    config = request.config
    data = TrainingData.load(sets, config)
    split = data.split
    counts = {part: sum(value == part for value in split.values()) for part in _PARTS}
    request.log("; ".join(f"{part}: {counted(number, 'micrograph')}" for part, number in counts.items()))
    torch.manual_seed(config.seed)
    network = UNet(len(data.classes), config.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    made_from = {
        "split": split,
        "crops": data.crops,
        "classes": data.classes,
        "network": shapes,
        "sum": checksum(data.micrographs),
    }
    checkpoint = Checkpoint(request.output, config, made_from)
    network, fitted = _fit(network, data, checkpoint, request)
    result = save_on_maps(network, fitted, data, request, {**topics, "micrographs": str(counts)})
    if not fitted.interrupted:
        checkpoint.delete()
    return result


def save_on_maps(
    network: UNet, fitted: Fitted, data: TrainingData, request: TrainRequest, topics: Dict[str, str]
) -> Result:
    """Calibrate a network on the validation micrographs, evaluate it, and save it; see :func:`train_on_maps`."""
    cells = cells_of_maps(network, data.micrographs, data.split, (VALIDATION, TEST), request.device)
    predictions, reference = calibrate_maps(cells)
    model = model_config(request.config, SAMPLING, fitted, predictions, topics).model_copy(update=reference)
    save_model(request.output, model, fitted, predictions, [], _patches(predictions.table, data.micrographs))
    return Result(request.output, model, predictions.validation, predictions.test, fitted.interrupted)


def classes_in(labels: Any) -> List[str]:
    """Return the classes of a network that learns from these label images; good is the first."""
    codes = set(np.unique(np.concatenate([np.unique(item) for item in labels])).tolist())
    there = [name for code, name in enumerate(CLASSES) if code in codes and name not in (GOOD, BORDER, BAD)]
    return [GOOD, *(there or [BAD])]


def _check_labels(labels: Dict[str, Set[bool]], split: Dict[str, str]) -> None:
    """Raise SettingsError if nothing good, or nothing bad, is labelled on the training or validation micrographs."""
    for part, word in ((TRAIN, "training"), (VALIDATION, "validation")):
        found = set().union(*(labels[name] for name in labels if split[name] == part))
        for is_bad in (False, True):
            if is_bad not in found:
                reason = f"nothing on its {word} micrographs is labelled {BAD if is_bad else GOOD}"
                raise SettingsError("training set", reason, "give more of them")


def _fit(network: UNet, data: TrainingData, checkpoint: Checkpoint, request: TrainRequest) -> Tuple[UNet, Fitted]:
    """Train for all epochs; there is no early stopping, since the learning rate falls to 0 over the epochs."""
    config, device, progress = request.config, request.device, request.progress
    torch.backends.cudnn.deterministic = True
    train = [Cropper(name, micrograph, data.crops[name] > 1) for name, micrograph in data.training()]
    rng = np.random.default_rng(config.seed)
    some = [item for item in train if rng.random() < _MEASURED] or train
    cells = [torch.from_numpy(item.spectrum.astype(np.float32)).flatten(1).T[::7] for item in some]
    network.spectral.measure(torch.cat(cells))
    run = UNetRun(network, train, data.classes, config, data.crops, device)
    history = checkpoint.restore(run, request.log)
    for row in history:
        request.on_epoch(Epoch(row))
    bar = tqdm(total=config.epochs, initial=len(history), desc="training", unit="epoch", disable=not progress)
    interrupted: Optional[KeyboardInterrupt] = None
    try:
        for epoch in range(len(history) + 1, config.epochs + 1):
            row = {"epoch": float(epoch), "train_loss": run.epoch(epoch, progress)}
            values, predicted = validate(run.averaged, data, device)
            row.update(values)
            checkpoint.save(run, [*history, row])
            history.append(row)
            request.on_epoch(Epoch(row, partial(_positions, run.averaged, data, predicted, device)))
            bar.set_postfix(loss=f"{row['validation_loss']:.3f}", auc=f"{row['validation_auc']:.3f}")
            bar.update()
    except KeyboardInterrupt as stop:
        if not history:
            raise
        interrupted = stop
        request.log(f"interrupted after {counted(len(history), 'epoch')}; the same command continues from there")
        history = checkpoint.restore(run, lambda _: None)  # without the part of an epoch that has begun
    micrographs = dict(data.training())
    refined = fit_refinement_head(run.averaged, micrographs, data.crops, data.classes, config.seed, device, progress)
    options = {"width": config.width, "hidden": HIDDEN}
    return refined, Fitted(refined, data.classes, history, interrupted, options)


def validate(network: UNet, data: TrainingData, device: str) -> Tuple[Dict[str, float], List[MapCells]]:
    """Return loss, AUC and AP on the validation micrographs, and the predictions there."""
    cells = cells_of_maps(network, data.micrographs, data.split, (VALIDATION,), device)
    odds = np.concatenate([item.log_odds() for item in cells])
    if not np.isfinite(odds).all():
        raise runaway()
    bad = np.concatenate([item.bad for item in cells])
    values = measure(expit(odds), bad, 0.5)
    loss = float(np.mean(np.logaddexp(0.0, np.where(bad, -odds, odds))))
    return {"validation_loss": loss, "validation_auc": values["auc"], "validation_ap": values["ap"]}, cells


def _positions(network: UNet, data: TrainingData, cells: Sequence[MapCells], device: str) -> Positions:
    """Return the predictions on some cells of each validation micrograph, with their patches and features."""
    table = some_cells(cells, [item.log_odds() for item in cells])

    @torch.inference_mode()
    def features() -> NDArray[np.float32]:
        parts = []
        for name, rows in table.groupby("micrograph", sort=False):
            found = features_of_micrograph(network.eval(), data.micrographs[str(name)], device)
            x, y = (torch.from_numpy((rows[axis].to_numpy() // CELL).astype(np.int64)) for axis in ("x", "y"))
            parts.append(found.cpu()[:, y, x].T.numpy())
        read: NDArray[np.float32] = np.concatenate(parts)
        return read

    def patches(some: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.concatenate([_patches(table.iloc[[row]], data.micrographs) for row in some])

    return Positions(table, patches, features)


def _patches(table: pd.DataFrame, loaded: Dict[str, TrainingMicrograph]) -> NDArray[np.float32]:
    """Return the patch (64 px of the context view) around each cell of a table, shape (n, 64, 64)."""
    parts = []
    for name, rows in table.groupby("micrograph", sort=False):
        view = torch.from_numpy(loaded[str(name)].view.astype(np.float32))
        parts.append(cut(view, torch.from_numpy(rows[["x", "y"]].to_numpy(copy=True)), WINDOW).numpy())
    found: NDArray[np.float32] = np.concatenate(parts)
    return found
