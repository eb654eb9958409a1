# SPDX-License-Identifier: GPL-3.0-or-later
"""From a labelled patch set to a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cryoice_scipion.constants import ENOUGH_BAD, GOOD
from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.choice import PATCH_FFT, UNET, network_of, views_of
from cryoice_scipion.core.detectors.network_detector import NetworkDetector
from cryoice_scipion.core.detectors.patch_fft import WINDOW
from cryoice_scipion.core.errors import CryoIceError, SettingsError
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.maps.session_baseline import session_logit_of
from cryoice_scipion.core.training.fine_tuning import fit_head, load_base
from cryoice_scipion.core.training.metrics import fit_temperature, measure, recommend_threshold
from cryoice_scipion.core.training.patches.fit import Log, bad_log_odds, fit, predict
from cryoice_scipion.core.training.patches.patch_set import EMBEDDING, PatchSet
from cryoice_scipion.core.training.points import LabelledMicrograph
from cryoice_scipion.core.training.saving import Predictions, Result, model_config, save_model
from cryoice_scipion.core.training.splits import TEST, VALIDATION, patch_weights, split_micrographs

CONTEXT_SAMPLING = 4.0  # Å/px of the patch + spectrum and of the U-Net
_RULE = "Youden's point, or what is within one standard error of it and nearer to {}"
_WORSE = 0.01  # AUC by which chance may make a model worse
_MINIMUM = 5  # patches of a kind without which nothing can be learned


def train(
    patches: PatchSet,
    micrographs: Sequence[LabelledMicrograph],
    config: TrainConfig,
    folder: Path,
    trained_on: Dict[str, str],
    device: str,
    log: Log,
) -> Result:
    """Fit, calibrate, evaluate and save a model.

    Parameters
    ----------
    patches : PatchSet
        All labelled patches; they are split by micrograph here.
    micrographs : sequence of LabelledMicrograph
        Where they come from: the validation ones are mapped whole, for the level that the data-set reference is
        compared with. Without them the level is taken from the GOOD validation patches.
    config : TrainConfig
    folder : Path
        The model folder to write.
    trained_on : dict
        Free text by topic, for the card.
    device : str
        The torch device.
    log : callable
        Receives the progress messages, one line each.

    Raises
    ------
    SettingsError
        When there are too few patches, or no split by micrograph is possible.
    """
    _check(patches, config)
    dense = network_of(config) == UNET
    views = patches.views([EMBEDDING] if dense else views_of(config))
    table = patches.table
    split = split_micrographs(table, config.validation, config.hold_out, config.seed)
    table = table.assign(split=table["micrograph"].map(split))
    log(_describe(table))
    few = int(((table["label"] != GOOD) & (table["copy"] == 0)).sum())
    if not config.base and few < ENOUGH_BAD:
        log(f"warning: {few} BAD patches are few for a new network: --from default, to tune the shipped one, is better")
    fitted = (fit_head if dense else fit)(views, table, config, device, log)
    original = (table["copy"] == 0).to_numpy()
    rows = np.flatnonzero(original & table["split"].isin([VALIDATION, TEST]).to_numpy())
    logits = predict(fitted.network, views, rows, device)
    base = load_base(config.base) if dense else None
    preferred = base[1].recommended_threshold if base else 0.5
    predictions = _calibrate(table.iloc[rows], logits, config.per_micrograph_reference, preferred)
    if base:
        old = predict(base[0], views, rows, device) / base[1].temperature
        predictions.before = _measured(old, predictions, preferred)
        _compare(predictions, log)
    counts = ", ".join(f"{number} {name}" for name, number in sorted(patches.counts().items()))
    model = model_config(config, patches.sampling, fitted, predictions, {**trained_on, "patches": counts})
    detector = NetworkDetector(model, fitted.network, torch.device(device))
    validation_items = [item for item in micrographs if split.get(item.stem) == VALIDATION]
    # By how much sessions differ cannot be told from one: a tuned model keeps what its base knows of it.
    reference = {
        "baseline_logit": baseline_logit(detector, validation_items, config, predictions, log),
        **(base[1].model_dump(include={"offset_limit", "offset_tolerance"}) if base else {}),
    }
    model = model.model_copy(update=reference)
    save_model(folder, model, fitted, predictions, patches.messages, patches.real)
    return Result(folder, model, predictions.validation, predictions.test, fitted.interrupted, predictions.before)


def _measured(logits: NDArray[np.float64], predictions: Predictions, threshold: float) -> Dict[str, float]:
    """Return the figures of other logits of the same patches, where the honest figures are taken."""
    rows = (predictions.table["split"] == predictions.measured_on).to_numpy()
    p_bad = torch.sigmoid(bad_log_odds(torch.from_numpy(logits[rows]))).numpy()
    return measure(p_bad, (predictions.table["label"] != GOOD).to_numpy()[rows], threshold)


def _compare(predictions: Predictions, log: Log) -> None:
    """Warn when fine-tuning made the model worse."""
    now, before = (
        (predictions.test if predictions.measured_on == TEST else predictions.validation)["auc"],
        predictions.before["auc"],
    )
    if now < before - _WORSE:
        log(
            f"warning: the model before fine-tuning ranked these positions better (AUC {before:.3f}, now {now:.3f}): "
            "keep that model, or give coordinates of more micrographs"
        )


def _calibrate(
    table: pd.DataFrame, logits: NDArray[np.float64], per_micrograph_reference: bool, preferred: float
) -> Predictions:
    """Fit temperature and threshold on the validation micrographs; measure there and on the held-out ones."""
    bad = (table["label"] != GOOD).to_numpy()
    on_validation = (table["split"] == VALIDATION).to_numpy()
    weights = patch_weights(table)[on_validation]

    def odds_at(temperature: float) -> NDArray[np.float64]:
        odds: NDArray[np.float64] = bad_log_odds(torch.from_numpy(logits / temperature)).numpy()
        return as_sessions(odds, table, on_validation) if per_micrograph_reference else odds

    temperature = fit_temperature(lambda value: odds_at(value)[on_validation], bad[on_validation], weights)
    log_odds = odds_at(temperature)
    p_bad = 1.0 / (1.0 + np.exp(-log_odds))
    threshold = round(recommend_threshold(p_bad[on_validation], bad[on_validation], weights, preferred), 3)
    parts = {
        name: measure(p_bad[rows], bad[rows], threshold) if rows.any() else {}
        for name, rows in ((VALIDATION, on_validation), (TEST, ~on_validation))
    }
    predictions = table.assign(p_bad=p_bad)
    return Predictions(
        predictions, log_odds, temperature, threshold, parts[VALIDATION], parts[TEST], _RULE.format(preferred)
    )


def _clean_levels(odds: NDArray[np.float64], table: pd.DataFrame) -> pd.Series:
    """Return the median log-odds of BAD of each micrograph's GOOD patches, by micrograph."""
    good = (table["label"] == GOOD).to_numpy()
    return pd.Series(odds[good]).groupby(table["micrograph"].to_numpy()[good]).median()


def as_sessions(
    odds: NDArray[np.float64], table: pd.DataFrame, on_validation: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return log-odds as the screening has them where each micrograph is of a session of its own.

    The data-set reference takes a session's own level off; patches of micrographs without GOOD ones stay as they are.
    """
    levels = _clean_levels(odds, table)
    common = session_logit_of(_clean_levels(odds[on_validation], table[on_validation]))
    shifts = table["micrograph"].map(levels).to_numpy(dtype=np.float64) - common
    shifted: NDArray[np.float64] = odds - np.nan_to_num(shifts)
    return shifted


def baseline_logit(
    detector: NetworkDetector,
    micrographs: Sequence[LabelledMicrograph],
    config: TrainConfig,
    predictions: Predictions,
    log: Log,
) -> float:
    """Return the level of the validation micrographs, the baseline of sessions (docs/explanation/sessions.md)."""
    levels: List[float] = []
    for item in tqdm(micrographs, desc="reference level", unit="mic"):
        try:
            micrograph = load_micrograph(item.path, config.patches.pixel_size or item.pixel_size)
            bright = item.is_bright(config.patches.contrast)
            classmap = detector.map(micrograph.image, micrograph.pixel_size, micrograph.border, bright)
            level = classmap.checked(item.path).median_logit
            levels += [level] if np.isfinite(level) else []  # NaN: all of it is border
        except CryoIceError as error:
            log(f"left out of the reference level: {error}")
    if not levels:
        rows = (predictions.table["split"] == VALIDATION).to_numpy()
        levels = _clean_levels(predictions.log_odds[rows], predictions.table[rows]).tolist()
    return session_logit_of(levels)


def _check(patches: PatchSet, config: TrainConfig) -> None:
    good = int((patches.table["label"] == GOOD).sum())
    for number, name in ((good, "GOOD"), (len(patches.table) - good, "BAD")):
        if number < _MINIMUM:
            raise SettingsError(
                "training set", f"{number} {name} patches, at least {_MINIMUM} are needed", "give more coordinates"
            )
    if patches.real.shape[1] != WINDOW:
        raise SettingsError(
            "patches", f"are {patches.real.shape[1]} px wide, the network takes {WINDOW}", "cut them anew"
        )
    if network_of(config) != PATCH_FFT and abs(patches.sampling - CONTEXT_SAMPLING) > 0.01:
        raise SettingsError(
            "patches",
            f"are cut at {patches.sampling} Å/px, this network takes {CONTEXT_SAMPLING}",
            "cut them anew, or take --network patch_fft",
        )


def _describe(table: pd.DataFrame) -> str:
    """Return one line: micrographs and patches by split."""
    rows = table[table["copy"] == 0]
    parts = []
    for name, part in rows.groupby("split"):
        good = int((part["label"] == GOOD).sum())
        parts.append(f"{name}: {part['micrograph'].nunique()} micrographs, {good} good, {len(part) - good} bad")
    return "; ".join(parts)
