# SPDX-License-Identifier: GPL-3.0-or-later
"""Train a ``resnet`` grader, measure it, and write its model folder."""

from __future__ import annotations

import datetime
from typing import Any, Dict, List, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from cryoice_scipion.constants import BAD, FEWEST_GRADED, GOOD, GRADES, VERSION
from cryoice_scipion.core.config import ModelConfig
from cryoice_scipion.core.detectors.model_folder import CARD, HISTORY, WEIGHTS, write_sums
from cryoice_scipion.core.detectors.network_detector import save_weights
from cryoice_scipion.core.errors import SettingsError, counted
from cryoice_scipion.core.evaluation.validation_draw import draw_validation
from cryoice_scipion.core.grades.resnet import SAMPLING, ResNet, views_for
from cryoice_scipion.core.reports.plots import calibration, training_curves
from cryoice_scipion.core.screening.csv_table import write_csv
from cryoice_scipion.core.training.grades.examples import examples_of, tasks_by_source
from cryoice_scipion.core.training.grades.fit import (
    Example,
    bad_probabilities,
    fit,
    grades_of,
    is_bad,
    logits_of,
    measures,
    temperature_of,
)
from cryoice_scipion.core.training.saving import start_folder
from cryoice_scipion.core.training.splits import TEST, TRAIN, VALIDATION, held_out
from cryoice_scipion.core.training.trainers import Epoch, Positions, Result, TrainRequest, refuse_options

_UNUSED = (
    "good", "bad", "clean", "cryoppp", "patches", "base", "patience", "per_micrograph_reference", "crops",
    "mixed_precision", "invert", "sampling", "contrast", "no_background", "jitter_copies", "views",
)  # fmt: skip
_THUMBNAIL = 64  # px of the dashboard's pictures


def train(request: TrainRequest) -> Result:
    """Fit to graded micrographs, calibrate on the validation micrographs, and write the model folder.

    Raises
    ------
    SettingsError
        When there are too few graded micrographs, or options are given that this kind does not use.
    """
    refuse_options(request, _UNUSED, "--network resnet")
    examples = examples_of(request, request.cache or request.output.with_name(f"{request.output.name}_cache"))
    split = split_examples(examples, request)
    parts = {name: [one for one in examples if split[one.name] == name] for name in (TRAIN, VALIDATION, TEST)}
    device = torch.device(request.device)
    torch.manual_seed(request.config.seed)
    network = ResNet(request.config.depth, request.config.width).to(device)
    history: List[Dict[str, float]] = []

    def on_epoch(row: Dict[str, float]) -> None:
        history.append(row)
        request.on_epoch(Epoch(row, lambda: _positions(network, parts[VALIDATION], device)))
        request.log(" ".join(f"{name} {value:.4g}" for name, value in row.items()))

    fit(network, parts[TRAIN], parts[VALIDATION], request.config, device, on_epoch)
    logits = {name: logits_of(network, parts[name], device) for name in (VALIDATION, TEST) if parts[name]}
    temperature = temperature_of(logits[VALIDATION], grades_of(parts[VALIDATION]))
    probabilities = {name: softmax(values / temperature, axis=1) for name, values in logits.items()}
    found = {name: measures(values, grades_of(parts[name])) for name, values in probabilities.items()}
    model = ModelConfig(
        name=request.config.name,
        created=f"{datetime.date.today().isoformat()} by cryoice {VERSION}",
        network="resnet",
        network_options=network.options,
        classes=list(GRADES),
        views=views_for(request.config, None, SAMPLING),
        temperature=temperature,
        metrics={f"{part}_{name}": round(value, 4) for part, some in found.items() for name, value in some.items()
                 if np.isfinite(value)},
        trained_on=request.describe(_topics(examples), backgrounds=False),
    )  # fmt: skip
    start_folder(request.output, model)
    save_weights(network, request.output / WEIGHTS)
    pd.DataFrame(history).to_csv(request.output / HISTORY, index=False, float_format="%.5f")
    training_curves(history, request.output / "curves.png")
    measured = TEST if parts[TEST] else VALIDATION
    table = _table(parts[measured], probabilities[measured])
    write_csv(request.output / "predictions.csv", table, "%.5g")
    calibration(table["p_bad"], table["label"] != GOOD, request.output / "calibration.png")
    (request.output / CARD).write_text(_card(model, measured, parts[measured], probabilities[measured]), "utf-8")
    write_sums(request.output)
    return Result(request.output, model, found[VALIDATION], found.get(TEST, {}), None)


def micrographs_by_source(request: TrainRequest) -> Dict[str, List[str]]:
    """Return the micrographs of each data source as SOURCE/STEM, for a sweep."""
    found = tasks_by_source(request)
    return {source: [f"{source}/{task.stem}" for task, _ in tasks] for source, tasks in found.items()}


def split_examples(examples: Sequence[Example], request: TrainRequest) -> Dict[str, str]:
    """Assign each micrograph to the training, validation or test set; the first two have good and bad micrographs.

    Raises
    ------
    SettingsError
        When there are too few micrographs for that.
    """
    names = [one.name for one in examples]
    wanted = request.config.hold_out
    whole = {name for name in wanted if name in names}
    others = set(held_out([name.split("/", 1)[1] for name in names], [name for name in wanted if name not in whole]))
    held = {name for name in names if name in whole or name.split("/", 1)[1] in others}
    free = [name for name in names if name not in held]
    number = round(request.config.validation * len(free))
    if len(free) < FEWEST_GRADED or number < 1:
        raise SettingsError("graded micrographs", f"{len(free)} are too few to train", f"give at least {FEWEST_GRADED}")
    counts = {
        one.name: np.array([not bad, bad], dtype=np.int64) for one, bad in zip(examples, is_bad(grades_of(examples)))
    }
    chosen = draw_validation(free, counts, request.config.validation, np.random.default_rng(request.config.seed))
    return {name: TEST if name in held else VALIDATION if name in chosen else TRAIN for name in names}


def _topics(examples: Sequence[Example]) -> Dict[str, str]:
    sources = sorted({one.source for one in examples})
    numbers = [f"{sum(one.source == source for one in examples)} of {source}" for source in sources]
    return {"graded micrographs": ", ".join(numbers)}


def _table(examples: Sequence[Example], probabilities: NDArray[np.float64]) -> pd.DataFrame:
    """Return a table of micrographs with the columns that pictures and dashboard use."""
    grades = grades_of(examples)
    return pd.DataFrame(
        {
            "micrograph": [one.name for one in examples],
            "grade": [GRADES[index] for index in grades],
            "label": np.where(is_bad(grades), BAD, GOOD),
            "predicted": [GRADES[index] for index in probabilities.argmax(axis=1)],
            "p_bad": bad_probabilities(probabilities),
            "x": 0.0,
            "y": 0.0,
            "origin": [one.source for one in examples],
        }
    )


def _positions(network: ResNet, examples: Sequence[Example], device: torch.device) -> Positions:
    """Return the predictions on the validation micrographs, with pictures and features, for the dashboard."""
    logits = logits_of(network, examples, device)

    def pictures(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.stack([_thumbnail(examples[int(row)].picture[0]) for row in rows])

    def features() -> NDArray[np.float32]:
        with torch.inference_mode():
            views = ([torch.from_numpy(view)[None].to(device) for view in (one.picture, one.power)] for one in examples)
            values: NDArray[np.float32] = torch.cat([network.features(*some) for some in views]).cpu().numpy()
        return values

    return Positions(_table(examples, softmax(logits, axis=1)), pictures, features)


def _thumbnail(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a square part of a picture, reduced by taking pixels, ``_THUMBNAIL`` px wide."""
    side = min(picture.shape)
    index = (np.arange(_THUMBNAIL) * side) // _THUMBNAIL
    part: NDArray[np.float32] = picture[np.ix_(index, index)]
    return part


def confusion(grades: Any, predicted: Any) -> NDArray[np.int64]:
    """Return the numbers of micrographs by true grade (rows) and predicted grade (columns)."""
    counts = np.zeros((len(GRADES), len(GRADES)), dtype=np.int64)
    np.add.at(counts, (np.asarray(grades), np.asarray(predicted)), 1)
    return counts


def _card(model: ModelConfig, part: str, examples: Sequence[Example], probabilities: NDArray[np.float64]) -> str:
    """Return the text of the model card."""
    counts = confusion(grades_of(examples), probabilities.argmax(axis=1))
    depth, width = model.network_options["depth"], model.network_options["width"]
    measured = {name: model.metrics.get(f"{part}_{name}", "unknown") for name in ("auc", "accuracy")}
    lines = [
        f"# {model.name}",
        "",
        f"Made {model.created}. Network `resnet`: grades whole micrographs; {depth} layers, {width} channels at first.",
        "",
        *[f"- {topic}: {text}" for topic, text in model.trained_on.items() if topic != "settings"],
        f"- Measured on the {counted(len(examples), f'{part} micrograph')}: AUC of bad against good {measured['auc']}, "
        f"share with the right grade {measured['accuracy']}.",
        "- Use it with `cryoice screen --grader`. It knows nothing of the session.",
        "",
        "| true grade | " + " | ".join(GRADES) + " |",
        "|" + "---|" * (len(GRADES) + 1),
        *[f"| {name} | " + " | ".join(map(str, row)) + " |" for name, row in zip(GRADES, counts.tolist())],
        "",
    ]
    return "\n".join(lines)
