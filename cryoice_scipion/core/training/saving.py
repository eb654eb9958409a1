# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the model folder at the end of a training."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoice_scipion.constants import GOOD, VERSION
from cryoice_scipion.core.config import ModelConfig, TrainConfig
from cryoice_scipion.core.detectors.choice import kind_to_train, training_views
from cryoice_scipion.core.detectors.model_folder import CARD, HISTORY, MODEL_JSON, SUMS, WEIGHTS, write_sums
from cryoice_scipion.core.detectors.network_detector import save_weights
from cryoice_scipion.core.reports.mistakes import hardest, write_mistakes
from cryoice_scipion.core.reports.plots import calibration, precision_recall, roc, training_curves
from cryoice_scipion.core.screening.csv_table import write_csv
from cryoice_scipion.core.training.model_card import write_card
from cryoice_scipion.core.training.patches.fit import Fitted
from cryoice_scipion.core.training.splits import TEST, VALIDATION


@dataclasses.dataclass
class Predictions:
    """Predictions on the patches or cells that were not trained on."""

    table: pd.DataFrame  # label, split, micrograph, p_bad
    log_odds: NDArray[np.float64]  # calibrated
    temperature: float
    threshold: float
    validation: Dict[str, float]
    test: Dict[str, float]
    rule: str  # how the threshold was chosen, for the card
    before: Dict[str, float] = dataclasses.field(default_factory=dict)  # of the model before fine-tuning

    @property
    def measured_on(self) -> str:
        """Return the split to report: the held-out micrographs if these have good and bad positions."""
        return TEST if np.isfinite(self.test.get("auc", np.nan)) else VALIDATION


def model_config(
    config: TrainConfig, sampling: float, fitted: Fitted, predictions: Predictions, trained_on: Dict[str, str]
) -> ModelConfig:
    """Return the content of model.json, without the baseline; ``sampling``: Å/px at which the network sees images."""
    metrics = {f"validation_{key}": value for key, value in predictions.validation.items() if np.isfinite(value)}
    metrics.update({f"test_{key}": value for key, value in predictions.test.items() if np.isfinite(value)})
    metrics.update({f"before_{key}": value for key, value in predictions.before.items() if np.isfinite(value)})
    views = training_views(config, sampling)
    return ModelConfig(
        name=config.name,
        created=f"{datetime.date.today().isoformat()} by cryoice {VERSION}",
        network=kind_to_train(config).name,
        network_options=fitted.options,
        classes=fitted.classes,
        views=views,
        stride=round(fitted.network.stride * sampling / views[0].sampling),
        temperature=predictions.temperature,
        recommended_threshold=predictions.threshold,
        metrics={key: round(value, 4) for key, value in metrics.items()},
        trained_on=trained_on,
    )


def start_folder(folder: Path, model: ModelConfig) -> None:
    """Write model.json into a folder, without checksums; ``write_sums`` comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        (folder / SUMS).unlink()
    (folder / MODEL_JSON).write_text(model.to_text(), encoding="utf-8")


def save_model(
    folder: Path,
    model: ModelConfig,
    fitted: Fitted,
    predictions: Predictions,
    messages: List[str],
    patches: Optional[NDArray[np.float32]] = None,
) -> None:
    """Write the model folder; the checksums come last, so that an unfinished folder is never used as a model.

    ``patches``, (n, window, window), are the images of the rows of ``predictions.table``, for the picture of the worst
    mistakes. Without them there is no such picture.
    """
    start_folder(folder, model)
    save_weights(fitted.network, folder / WEIGHTS)
    pd.DataFrame(fitted.history).to_csv(folder / HISTORY, index=False, float_format="%.5f")
    training_curves(fitted.history, folder / "curves.png")
    shown = predictions.table[predictions.table["split"] == predictions.measured_on]
    bad = (shown["label"] != GOOD).to_numpy()
    roc(shown["p_bad"].to_numpy(), bad, folder / "roc.png", predictions.threshold)
    precision_recall(shown["p_bad"].to_numpy(), bad, folder / "precision_recall.png", predictions.threshold)
    calibration(shown["p_bad"].to_numpy(), bad, folder / "calibration.png")
    if patches is not None:
        found = hardest(shown, predictions.threshold)
        write_mistakes(folder, found, patches[found.index])
    write_csv(folder / "predictions.csv", predictions.table, "%.5g")
    write_card(folder / CARD, model, predictions.table, messages, predictions.rule)
    write_sums(folder)
