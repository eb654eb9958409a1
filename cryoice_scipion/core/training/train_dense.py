# SPDX-License-Identifier: GPL-3.0-or-later
"""From whole labelled micrographs to a model folder with the dense network; an interrupted call goes on."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import pickle
import zlib
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cryoice_scipion.constants import BAD, BORDER, CLASSES, GOOD
from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.data.fields import Field
from cryoice_scipion.core.data.splits import TEST, TRAIN, VALIDATION
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.networks.bundle import UNFINISHED
from cryoice_scipion.core.networks.dense import CELL, SAMPLING, DenseNet
from cryoice_scipion.core.screening.reference import PERCENTILE
from cryoice_scipion.core.training.crops import Cropper
from cryoice_scipion.core.training.dense import DenseRun
from cryoice_scipion.core.training.fit import Fitted, Log, bad_log_odds
from cryoice_scipion.core.training.judge_layer import HIDDEN, features_of_field, fit_judge
from cryoice_scipion.core.training.metrics import (
    CLEAN_LOST,
    OUTLIERS,
    fit_temperature,
    measure,
    threshold_for_clean_area,
)
from cryoice_scipion.core.training.saving import Judged, Result, model_config, save_model
from cryoice_scipion.core.views.patches import cut
from cryoice_scipion.core.views.two_scale import WINDOW

_RULE = (
    f"the one nearest to 0.5 that calls at most {CLEAN_LOST:.2%} of clean area bad, "
    f"on average over all micrographs but the worst {OUTLIERS:.0%}"
)
_MOSTLY, _NORMAL = 0.75, 90  # share of cells that makes a micrograph clean; percentile of such ones' levels
_SHOWN = 60  # cells of a micrograph that go into predictions.csv and the card
_MEASURED = 0.3  # share of the training micrographs that the units of the spectral features are taken from


@dataclasses.dataclass
class DenseSet:
    """The fields of one data set, and how many crops of each an epoch has.

    Sets of more than one crop are small and precious: all of them are trained on, and most of their crops hold
    something bad.
    """

    name: str
    fields: List[Path]
    crops: int = 1

    @property
    def names(self) -> List[str]:
        """Return the micrographs as SET/STEM."""
        return [f"{self.name}/{path.stem}" for path in self.fields]


@dataclasses.dataclass
class _Cells:
    """What the network says of the labelled cells of one micrograph."""

    name: str
    split: str
    places: NDArray[np.float64]  # (n, 2), x and y of the cells' centres, px of the context view
    labels: NDArray[np.uint8]  # (n,), places in CLASSES
    logits: NDArray[np.float32]  # (n, classes)


def train_dense(
    sets: Sequence[DenseSet],
    config: TrainConfig,
    folder: Path,
    trained_on: Dict[str, str],
    device: str,
    log: Log,
    progress: bool = True,
) -> Result:
    """Fit, calibrate, judge and save a dense model.

    Parameters
    ----------
    sets : sequence of DenseSet
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
        When there is nothing to train or to validate on.
    """
    split = split_fields(sets, config)
    log("; ".join(f"{part}: {sum(value == part for value in split.values())} micrographs" for part in _PARTS))
    loaded = {name: Field.load(path) for item in sets for name, path in zip(item.names, item.fields)}
    crops = {name: item.crops for item in sets for name in item.names}
    classes = classes_in(field.labels for name, field in loaded.items() if split[name] == TRAIN)
    network, fitted = _fit(loaded, split, crops, classes, config, folder, device, log, progress)
    judged_cells = _cells(network, loaded, split, (VALIDATION, TEST), device)
    judged = _judge(judged_cells, classes)
    counts = {part: sum(value == part for value in split.values()) for part in _PARTS}
    model = model_config(config, SAMPLING, fitted, judged, {**trained_on, "micrographs": str(counts)})
    validation = [
        (bad_log_odds(torch.from_numpy(item.logits / judged.temperature)).numpy(), item.labels)
        for item in judged_cells
        if item.split == VALIDATION
    ]
    model = model.model_copy(update=reference_of(validation))
    save_model(folder, model, fitted, judged, [], _patches(judged.table, loaded))
    if not fitted.interrupted:
        (folder / UNFINISHED).unlink(missing_ok=True)
    return Result(folder, model, judged.validation, judged.test, fitted.interrupted)


_PARTS = (TRAIN, VALIDATION, TEST)


def reference_of(micrographs: Sequence[Tuple[NDArray[np.float64], NDArray[np.uint8]]]) -> Dict[str, float]:
    """Return the level of the data-set reference over validation micrographs, and how far clean ones are above it.

    Parameters
    ----------
    micrographs : sequence of (ndarray, ndarray)
        Calibrated log-odds of BAD and labels (places in CLASSES) of the labelled cells of each.
    """
    there = [(np.median(odds), (labels == CLASSES.index(GOOD)).mean()) for odds, labels in micrographs if len(labels)]
    level = float(np.percentile([median for median, _ in there], PERCENTILE))
    clean = [median for median, good in there if good > _MOSTLY]
    upper = float(np.percentile(clean, _NORMAL)) if clean else level
    return {"reference_level": level, "reference_spread": max(0.0, upper - level)}


def split_fields(sets: Sequence[DenseSet], config: TrainConfig) -> Dict[str, str]:
    """Say of each micrograph (SET/STEM) whether it is for training, validation or testing.

    Raises
    ------
    SettingsError
        When a held-out one is not there, or nothing is left to train or to validate on.
    """
    names = [name for item in sets for name in item.names]
    stems = [name.split("/")[-1] for name in names]
    held = {name for name, stem in zip(names, stems) if any(fnmatch.fnmatchcase(stem, key) for key in config.hold_out)}
    absent = [key for key in config.hold_out if not fnmatch.filter(stems, key)]
    if absent:
        raise SettingsError("--hold-out", f"no labelled micrograph is called {', '.join(sorted(absent))}")
    precious = all(item.crops > 1 for item in sets)
    free = [name for item in sets if item.crops == 1 or precious for name in item.names if name not in held]
    number = max(1, round(config.validation * len(free)))
    if number >= len(free):
        raise SettingsError("training set", f"{len(free)} micrographs are too few", "give at least two")
    chosen = set(np.random.default_rng(config.seed).choice(free, number, replace=False).tolist())
    return {name: TEST if name in held else VALIDATION if name in chosen else TRAIN for name in names}


def classes_in(labels: Any) -> List[str]:
    """Return the classes that a network of these label images has; good is the first."""
    codes = set(np.unique(np.concatenate([np.unique(item) for item in labels])).tolist())
    there = [name for code, name in enumerate(CLASSES) if code in codes and name not in (GOOD, BORDER, BAD)]
    return [GOOD, *(there or [BAD])]


def _fit(
    loaded: Dict[str, Field],
    split: Dict[str, str],
    crops: Dict[str, int],
    classes: List[str],
    config: TrainConfig,
    folder: Path,
    device: str,
    log: Log,
    progress: bool,
) -> Tuple[DenseNet, Fitted]:
    """Train to the last epoch; nothing is stopped early, since the rate falls to nothing over the epochs asked for."""
    torch.manual_seed(config.seed)
    torch.backends.cudnn.deterministic = True
    network = DenseNet(len(classes), config.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train = [Cropper(name, field, crops[name] > 1) for name, field in loaded.items() if split[name] == TRAIN]
    rng = np.random.default_rng(config.seed)
    some = [item for item in train if rng.random() < _MEASURED] or train
    cells = [torch.from_numpy(item.spectrum.astype(np.float32)).flatten(1).T[::7] for item in some]
    network.spectral.measure(torch.cat(cells))
    run = DenseRun(network, train, classes, config, crops, device)
    kept = _Kept(folder / UNFINISHED, config, {"split": split, "crops": crops, "classes": classes, "sum": _sum(loaded)})
    history = kept.take_up(run, log)
    bar = tqdm(total=config.epochs, initial=len(history), desc="training", unit="epoch", disable=not progress)
    interrupted = False
    try:
        for epoch in range(len(history) + 1, config.epochs + 1):
            row = {"epoch": float(epoch), "train_loss": run.epoch(epoch, progress)}
            row.update(_validate(run.averaged, loaded, split, classes, device))
            history.append(row)
            kept.keep(run, history)
            bar.set_postfix(loss=f"{row['validation_loss']:.3f}", auc=f"{row['validation_auc']:.3f}")
            bar.update()
    except KeyboardInterrupt:
        if not history:
            raise
        interrupted = True
        log(f"interrupted after {len(history)} epochs; the same command goes on from there")
        kept.take_up(run, lambda _: None)  # without the part of an epoch that has begun
    fields = {name: field for name, field in loaded.items() if split[name] == TRAIN}
    judge = fit_judge(run.averaged, fields, crops, classes, config.seed, device, progress)
    options = {"width": config.width, "hidden": HIDDEN}
    return judge, Fitted(judge, classes, history, interrupted, options)


class _Kept:
    """The last epoch of a training, on disk: what a later call with the same settings and data goes on from."""

    def __init__(self, path: Path, config: TrainConfig, data: Dict[str, Any]) -> None:
        self._path = path
        self._made_with = {"config": config.to_text(), "data": json.dumps(data, sort_keys=True)}

    def keep(self, run: DenseRun, history: List[Dict[str, float]]) -> None:
        """Write the state of a run, atomically."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._path) as temporary:
            torch.save({**self._made_with, "history": history, "run": run.state_dict()}, temporary)

    def take_up(self, run: DenseRun, log: Log) -> List[Dict[str, float]]:
        """Give a run the state that was kept, if there is one of these settings and data; return the curves so far."""
        if not self._path.is_file():
            return []
        try:
            kept = torch.load(self._path, map_location=run.device, weights_only=True)
            differ = [name for name, value in self._made_with.items() if kept[name] != value]
            if differ:
                raise ValueError(f"its {' and '.join(differ)} differ")
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
            log(f"{self._path} is not taken up ({str(error).splitlines()[0]}); training starts anew")
            return []
        run.load_state_dict(kept["run"])
        history: List[Dict[str, float]] = kept["history"]
        log(f"going on after epoch {len(history)}")
        return history


def _sum(loaded: Dict[str, Field]) -> int:
    """Return a checksum of what is trained on."""
    total = 0
    for field in loaded.values():
        for array in (field.view, field.labels):
            total = zlib.crc32(array.tobytes(), total)
    return total


@torch.inference_mode()
def _cells(
    network: DenseNet,
    loaded: Dict[str, Field],
    split: Dict[str, str],
    parts: Tuple[str, ...],
    device: str,
    quick: bool = False,
) -> List[_Cells]:
    """Return what a network says of whole micrographs; with ``quick`` in one orientation."""
    network = network.eval().to(device)
    found = []
    for name, field in loaded.items():
        if split[name] not in parts:
            continue
        logits = network.classify(features_of_field(network, field, device, quick)).flatten(1).T.cpu().numpy()
        known = field.labelled
        row, column = np.unravel_index(known, field.labels.shape)
        places = (np.column_stack([column, row]) + 0.5) * CELL
        found.append(_Cells(name, split[name], places, field.labels.ravel()[known], logits[known]))
    return found


def _validate(
    network: DenseNet, loaded: Dict[str, Field], split: Dict[str, str], classes: List[str], device: str
) -> Dict[str, float]:
    cells = _cells(network, loaded, split, (VALIDATION,), device, quick=True)
    odds = bad_log_odds(torch.from_numpy(np.concatenate([item.logits for item in cells])).double()).numpy()
    bad = np.concatenate([item.labels for item in cells]) != CLASSES.index(GOOD)
    values = measure(1.0 / (1.0 + np.exp(-odds)), bad, 0.5)
    loss = float(np.mean(np.logaddexp(0.0, np.where(bad, -odds, odds))))
    return {"validation_loss": loss, "validation_auc": values["auc"], "validation_ap": values["ap"]}


def _judge(cells: List[_Cells], classes: List[str]) -> Judged:
    """Fit temperature and threshold on the validation micrographs; measure there and on the held-out ones.

    The table is of some cells of each, x and y in px of the context view.
    """
    parts = {
        part: (
            torch.from_numpy(np.concatenate([item.logits for item in chosen])).double(),
            np.concatenate([item.labels for item in chosen]) != CLASSES.index(GOOD),
        )
        for part in (VALIDATION, TEST)
        for chosen in [[item for item in cells if item.split == part]]
        if chosen
    }
    logits, bad = parts[VALIDATION]
    temperature = fit_temperature(lambda value: bad_log_odds(logits / value).numpy(), bad)

    def probability(values: torch.Tensor) -> NDArray[np.float64]:
        found: NDArray[np.float64] = torch.sigmoid(bad_log_odds(values.double() / temperature)).numpy()
        return found

    by_micrograph = [
        (probability(torch.from_numpy(item.logits)), item.labels != CLASSES.index(GOOD))
        for item in cells
        if item.split == VALIDATION
    ]
    threshold = round(threshold_for_clean_area(by_micrograph), 3)
    figures = {part: measure(probability(values), truth, threshold) for part, (values, truth) in parts.items()}
    rng = np.random.default_rng(0)
    tables = []
    for item in cells:
        rows = np.sort(rng.permutation(len(item.labels))[:_SHOWN])
        p_bad = probability(torch.from_numpy(item.logits[rows]))
        labels = [CLASSES[code] for code in item.labels[rows]]
        x, y = item.places[rows].T
        values = {"x": x, "y": y, "label": labels, "split": item.split, "p_bad": p_bad}
        tables.append(pd.DataFrame({"micrograph": item.name, **values}))
    table = pd.concat(tables, ignore_index=True).assign(origin="area")
    odds = np.log(table["p_bad"] / (1 - table["p_bad"])).to_numpy()
    return Judged(table, odds, temperature, threshold, figures[VALIDATION], figures.get(TEST, {}), _RULE)


def _patches(table: pd.DataFrame, loaded: Dict[str, Field]) -> NDArray[np.float32]:
    """Return the patch (64 px of the context view) around each cell of a table, shape (n, 64, 64)."""
    parts = []
    for name, rows in table.groupby("micrograph", sort=False):
        view = torch.from_numpy(loaded[str(name)].view.astype(np.float32))
        parts.append(cut(view, torch.from_numpy(rows[["x", "y"]].to_numpy(copy=True)), WINDOW).numpy())
    found: NDArray[np.float32] = np.concatenate(parts)
    return found
