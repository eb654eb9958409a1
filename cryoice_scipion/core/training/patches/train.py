# SPDX-License-Identifier: GPL-3.0-or-later
"""Train a network on labelled patches, calibrate it, and write the model folder."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cryoice_scipion.constants import ENOUGH_BAD, FEWEST_LABELS, GOOD
from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.choice import views_of
from cryoice_scipion.core.detectors.network_detector import NetworkDetector
from cryoice_scipion.core.detectors.patch_fft import WINDOW
from cryoice_scipion.core.errors import CryoIceError, SettingsError, counted
from cryoice_scipion.core.evaluation.labels import LabelledMicrograph
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.maps.session_baseline import session_logit_of
from cryoice_scipion.core.training.metrics import fit_temperature, measure, recommend_threshold
from cryoice_scipion.core.training.patches.fit import Arrays, Fitted, bad_log_odds, fit, predict
from cryoice_scipion.core.training.patches.joining import join
from cryoice_scipion.core.training.patches.patch_set import BACKGROUND, KINDS, PatchSet, cut_patches
from cryoice_scipion.core.training.saving import Predictions, model_config, save_model
from cryoice_scipion.core.training.splits import TEST, VALIDATION, patch_weights, split_micrographs
from cryoice_scipion.core.training.trainers import Epoch, Log, Result, TrainRequest

CONTEXT_SAMPLING = 4.0  # Å/px of all views beside "patch" and "fft"
_RULE = "Youden's point, or the threshold nearest to {} within one standard error of it"
_WORSE = 0.01  # AUC by which chance may make a model worse

Fitter = Callable[[Arrays, pd.DataFrame, TrainConfig, str, Log, bool, Callable[[Epoch], None]], Fitted]


def train(request: TrainRequest) -> Result:
    """Train a network of the requested kind on labelled patches, and write the model folder.

    Raises
    ------
    SettingsError
        When there are too few patches, no split by micrograph is possible, or the network has no such view.
    """
    views = views_of(request.config)  # a wrong one is reported before any patch is cut
    patches, micrographs, topics = gather_patches(request, views)
    return train_on_patches(patches, micrographs, request, topics)


def gather_patches(
    request: TrainRequest, views: Sequence[str], embedder: Optional[NetworkDetector] = None
) -> Tuple[PatchSet, List[LabelledMicrograph], Dict[str, str]]:
    """Return the labelled patches of all sources, the micrographs they were cut from, and topics of the model card.

    Parameters
    ----------
    request : TrainRequest
    views, embedder
        As of :func:`cut_patches`.
    """
    sources = request.sources
    sets = [PatchSet.load(folder) for folder in request.patch_sets]
    topics = {"patch sets": ", ".join(folder.name for folder in request.patch_sets)} if sets else {}
    micrographs: List[LabelledMicrograph] = []
    if not sets or sources.has_positions or sources.simulated:
        micrographs = sources.labelled(request.config.seed)
        request.warn(sources.messages)
        topics.update(sources.describe())
        # They come first, so that their micrographs keep their names.
        sets.insert(0, cut_patches(micrographs, request.config.patches, request.progress, views, embedder))
    patches = join(sets)
    request.warn(patches.messages)
    return patches, micrographs, request.describe(topics, bool((patches.table["origin"] == BACKGROUND).any()))


def train_on_patches(
    patches: PatchSet,
    micrographs: Sequence[LabelledMicrograph],
    request: TrainRequest,
    topics: Dict[str, str],
    fitter: Fitter = fit,
    base: Optional[NetworkDetector] = None,
) -> Result:
    """Fit, calibrate, evaluate and save a model.

    Parameters
    ----------
    patches : PatchSet
        All labelled patches; they are split by micrograph here.
    micrographs : sequence of LabelledMicrograph
        Where the patches come from. The validation ones are mapped completely, for the baseline of sessions. Without
        them the baseline is taken from the GOOD validation patches.
    request : TrainRequest
    topics : dict
        Text by topic, for the model card.
    fitter : callable
        Fits the network.
    base : NetworkDetector, optional
        The model that is fine-tuned, to compare with the result; None: a training of all layers.

    Raises
    ------
    SettingsError
        When there are too few patches, or no split by micrograph is possible.
    """
    config, device, log, progress = request.config, request.device, request.log, request.progress
    names = base.network.views if base else views_of(config)
    _check(patches, names)
    views = patches.views(names)
    table = patches.table
    split = split_micrographs(table, config.validation, config.hold_out, config.seed)
    table = table.assign(split=table["micrograph"].map(split))
    log(_describe(table))
    few = int(((table["label"] != GOOD) & (table["copy"] == 0)).sum())
    if not config.base and few < ENOUGH_BAD:
        given = counted(few, "BAD patch is", "BAD patches are")
        log(f"warning: {given} few for a new network; use --from default to fine-tune the shipped one")
    fitted = fitter(views, table, config, device, log, progress, request.on_epoch)
    rows, measured, logits = _predicted(fitted, views, table, device)
    preferred = base.config.recommended_threshold if base else 0.5
    predictions = _calibrate(measured, logits, config.per_micrograph_reference, preferred)
    if base:
        old = predict(base.network, views, rows, device) / base.config.temperature
        predictions.before = _measured(old, predictions, preferred)
        _compare(predictions, log)
    counts = ", ".join(f"{number} {name}" for name, number in sorted(patches.counts().items()))
    topics = {**topics, "patches": counts, **fitted.topics}
    model = model_config(config, patches.sampling, fitted, predictions, topics)
    detector = NetworkDetector(model, fitted.network, torch.device(device))
    validation_items = [item for item in micrographs if split.get(item.stem) == VALIDATION]
    # One session does not show by how much sessions differ: a fine-tuned model keeps the values of its base model.
    reference = {
        "baseline_logit": baseline_logit(detector, validation_items, config, predictions, log, progress),
        **(base.config.model_dump(include={"offset_limit", "offset_tolerance"}) if base else {}),
    }
    model = model.model_copy(update=reference)
    save_model(request.output, model, fitted, predictions, patches.messages, patches.real)
    return Result(
        request.output, model, predictions.validation, predictions.test, fitted.interrupted, predictions.before
    )


def _predicted(
    fitted: Fitted, views: Arrays, table: pd.DataFrame, device: str
) -> Tuple[NDArray[np.int64], pd.DataFrame, NDArray[np.float64]]:
    """Return the rows of validation and test patches, their part of the table, and their logits.

    Where predictions are cross-validated, their patches are the validation patches.
    """
    original = (table["copy"] == 0).to_numpy()
    if fitted.crossed is None:
        rows = np.flatnonzero(original & table["split"].isin([VALIDATION, TEST]).to_numpy())
        return rows, table.iloc[rows], predict(fitted.network, views, rows, device)
    crossed, logits = fitted.crossed
    test = np.flatnonzero(original & (table["split"] == TEST).to_numpy())
    rows = np.concatenate([crossed, test])
    split = np.repeat([VALIDATION, TEST], [len(crossed), len(test)])
    of_test = predict(fitted.network, views, test, device) if len(test) else logits[:0]
    return rows, table.iloc[rows].assign(split=split), np.concatenate([logits, of_test])


def _measured(logits: NDArray[np.float64], predictions: Predictions, threshold: float) -> Dict[str, float]:
    """Return the metrics of other logits of the same patches, on the split that is reported."""
    rows = (predictions.table["split"] == predictions.measured_on).to_numpy()
    p_bad = torch.sigmoid(bad_log_odds(torch.from_numpy(logits[rows]))).numpy()
    return measure(p_bad, (predictions.table["label"] != GOOD).to_numpy()[rows], threshold)


def _compare(predictions: Predictions, log: Log) -> None:
    """Warn if fine-tuning made the model worse."""
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


def _clean_medians(odds: NDArray[np.float64], table: pd.DataFrame) -> pd.Series:
    """Return the median log-odds of BAD of each micrograph's GOOD patches, by micrograph."""
    good = (table["label"] == GOOD).to_numpy()
    return pd.Series(odds[good]).groupby(table["micrograph"].to_numpy()[good]).median()


def as_sessions(
    odds: NDArray[np.float64], table: pd.DataFrame, on_validation: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return log-odds with the median of each micrograph's GOOD patches subtracted, as if each were a session.

    Patches of micrographs without GOOD patches keep their log-odds.
    """
    medians = _clean_medians(odds, table)
    common = session_logit_of(_clean_medians(odds[on_validation], table[on_validation]))
    offsets = table["micrograph"].map(medians).to_numpy(dtype=np.float64) - common
    corrected: NDArray[np.float64] = odds - np.nan_to_num(offsets)
    return corrected


def baseline_logit(
    detector: NetworkDetector,
    micrographs: Sequence[LabelledMicrograph],
    config: TrainConfig,
    predictions: Predictions,
    log: Log,
    progress: bool = True,
) -> float:
    """Return the median log-odds of the validation micrographs, the baseline of the model."""
    medians: List[float] = []
    for item in tqdm(micrographs, desc="baseline", unit="mic", disable=not progress):
        try:
            micrograph = load_micrograph(item.path, config.patches.pixel_size or item.pixel_size)
            bright = item.is_bright(config.patches.contrast)
            classmap = detector.map(micrograph.image, micrograph.pixel_size, micrograph.border, bright)
            median = classmap.checked(item.path).median_logit
            medians += [median] if np.isfinite(median) else []  # NaN: the whole micrograph is border
        except CryoIceError as error:
            log(f"left out of the baseline: {error}")
    if not medians:
        rows = (predictions.table["split"] == VALIDATION).to_numpy()
        medians = _clean_medians(predictions.log_odds[rows], predictions.table[rows]).tolist()
    return session_logit_of(medians)


def _check(patches: PatchSet, views: Sequence[str]) -> None:
    """Raise SettingsError if the patches are too few, or not of the size or sampling that the views have."""
    good = int((patches.table["label"] == GOOD).sum())
    for number, name in ((good, "GOOD"), (len(patches.table) - good, "BAD")):
        if number < FEWEST_LABELS:
            reason = f"{counted(number, f'{name} patch', f'{name} patches')}, at least {FEWEST_LABELS} are needed"
            raise SettingsError("training set", reason, "give more coordinates")
    if patches.real.shape[1] != WINDOW:
        raise SettingsError(
            "patches", f"are {patches.real.shape[1]} px wide, the network takes {WINDOW}", "cut them anew"
        )
    if set(views) & set(KINDS) and abs(patches.sampling - CONTEXT_SAMPLING) > 0.01:
        raise SettingsError(
            "patches",
            f"are cut at {patches.sampling:g} Å/px, this network takes {CONTEXT_SAMPLING:g}",
            "cut them anew, or take --network patch_fft",
        )


def _describe(table: pd.DataFrame) -> str:
    """Return one line: micrographs and patches by split."""
    rows = table[table["copy"] == 0]
    parts = []
    for name, part in rows.groupby("split"):
        good = int((part["label"] == GOOD).sum())
        micrographs = counted(part["micrograph"].nunique(), "micrograph")
        parts.append(f"{name}: {micrographs}, {good} good, {len(part) - good} bad")
    return "; ".join(parts)
