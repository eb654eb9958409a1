# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the model folder of an autoencoder, with its card."""

from __future__ import annotations

import dataclasses
import math
from typing import Dict, List, Optional

import pandas as pd

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.config import ModelConfig
from cryoice_scipion.core.detectors import autoencoder
from cryoice_scipion.core.detectors.autoencoder import AutoencoderDetector
from cryoice_scipion.core.detectors.model_folder import CARD, HISTORY, WEIGHTS, write_sums
from cryoice_scipion.core.errors import counted
from cryoice_scipion.core.reports.plots import calibration, roc, training_curves
from cryoice_scipion.core.screening.csv_table import write_csv
from cryoice_scipion.core.training.autoencoder.labels import Measured
from cryoice_scipion.core.training.metrics import in_words
from cryoice_scipion.core.training.saving import start_folder
from cryoice_scipion.core.training.splits import TEST, VALIDATION
from cryoice_scipion.core.training.trainers import Result, TrainRequest


@dataclasses.dataclass
class Trained:
    """What a training did."""

    history: List[Dict[str, float]]  # one row an epoch
    positions: Measured
    trained: int  # clean micrographs that were trained on
    left_out: int  # clean micrographs that say what is usual
    interrupted: Optional[KeyboardInterrupt]


def save(request: TrainRequest, detector: AutoencoderDetector, trained: Trained) -> Result:
    """Complete the description of the model, and write its folder."""
    positions, folder = trained.positions, request.output
    model = detector.config.model_copy(
        update={"recommended_threshold": positions.threshold, "metrics": _metrics(trained)}
    )
    start_folder(folder, model)
    autoencoder.save_weights(folder / WEIGHTS, detector.network, detector.fitted, detector.tail)
    pd.DataFrame(trained.history).to_csv(folder / HISTORY, index=False, float_format="%.5f")
    training_curves(trained.history, folder / "curves.png")
    if len(positions.table):
        write_csv(folder / "predictions.csv", positions.table, "%.5g")
        shown = positions.table[positions.table["split"] == (TEST if positions.test else VALIDATION)]
        p_bad, bad = shown["p_bad"].to_numpy(), (shown["label"] != GOOD).to_numpy()
        roc(p_bad, bad, folder / "roc.png", positions.threshold)
        calibration(p_bad, bad, folder / "calibration.png")
    text = _card(model, trained, float(detector.network.highest), request.config.texture_weight)
    (folder / CARD).write_text(text, encoding="utf-8")
    write_sums(folder)
    return Result(folder, model, positions.validation, positions.test, trained.interrupted)


def _metrics(trained: Trained) -> Dict[str, float]:
    numbers = {"clean_micrographs": float(trained.trained + trained.left_out)}
    for part, values in ((VALIDATION, trained.positions.validation), (TEST, trained.positions.test)):
        numbers.update({f"{part}_{key}": round(value, 4) for key, value in values.items() if math.isfinite(value)})
    return numbers


def _card(model: ModelConfig, trained: Trained, highest: float, weighted: bool) -> str:
    """Return the text of the model card."""
    positions, topics = trained.positions, model.trained_on
    if positions.is_chosen:
        rule = "Youden's point of the labelled positions that are not held out, or the value nearest to 0.5 within one "
        rule += "standard error of it"
    else:
        rule = "there are no good and bad positions to choose it by"
    measured = ((VALIDATION, positions.validation), ("test (held out)", positions.test))
    return "\n".join(
        [
            f"# {model.name}",
            "",
            f"Made {model.created}. Network `autoencoder`, view {model.views[0].kind}; map cells of about "
            f"{model.sampling:g} Å. It measures how unlike those of clean micrographs the residuals of a "
            "reconstruction are.",
            "",
            f"- Clean micrographs: {trained.trained} to train on. "
            f"{counted(trained.left_out, 'other says', 'others say')} which residuals are usual.",
            *(["- Places with little texture (GLCM) had more weight in the training."] if weighted else []),
            *(f"- {topic}: {text}" for topic, text in topics.items() if topic not in ("settings", "clean micrographs")),
            f"- Recommended threshold: {model.recommended_threshold:g} on goodness = 1 - P(BAD): {rule}.",
            *(f"- Labelled positions, {part}: {in_words(values)}." for part, values in measured if values),
            f"- Score of a micrograph: the {100 * autoencoder.SCORE:.0f}th percentile of the log-odds of its cells. "
            f"The highest of a left-out clean micrograph is {highest:.2f}.",
            "- P(BAD) = 0.5 is where one clean cell in 1000 would be called bad.",
            "- It knows no classes of bad area: everything unusual is bad.",
            "- Use it only for micrographs that were recorded and processed like the clean ones: same pixel size, "
            "dose, gain and normalisation.",
            "",
        ]
    )
