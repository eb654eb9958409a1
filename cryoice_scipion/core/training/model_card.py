# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the model card: training data, test results and known failures of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.config import ModelConfig, TrainConfig
from cryoice_scipion.core.training.metrics import shown
from cryoice_scipion.core.training.splits import TEST, VALIDATION

BEFORE = "before"  # the model before fine-tuning, on the split that is reported
#: Metrics by their name in model.json.
MEASURES = {
    "auc": "AUC, BAD against GOOD",
    "ap": "average precision of BAD",
    "precision": "precision: share of positions predicted bad that are BAD",
    "recall": "recall: share of BAD positions that are predicted bad",
    "f1": "F1",
    "false_positive_rate": "false-positive rate: share of GOOD positions that are predicted bad",
    "ece": "ECE: mean error of P(BAD)",
    "good": "GOOD positions",
    "bad": "BAD positions",
}


def write_card(path: Path, model: ModelConfig, predictions: pd.DataFrame, messages: List[str], rule: str) -> None:
    """Write card.md.

    Parameters
    ----------
    path : Path
    model : ModelConfig
    predictions : pandas.DataFrame
        Patches, or cells of maps, that were not trained on: label, split, origin, p_bad.
    messages : list of str
        Messages about data left out of training.
    rule : str
        How the recommended threshold was chosen.
    """
    loader = PackageLoader("cryoice_scipion.core.training", "")
    environment = Environment(
        loader=loader,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - the card is Markdown, not HTML
    )
    template = environment.get_template("card.md.j2")
    kinds, thresholds = _by_kind(predictions, model.recommended_threshold), _by_threshold(predictions)
    text = template.render(
        model=model,
        measured=_by_measure(model.metrics),
        kinds=kinds,
        thresholds=thresholds,
        messages=messages,
        rule=rule,
        settings=_changed(model.trained_on.get("settings", "")),
    )
    path.write_text(text, encoding="utf-8")


def _changed(settings: str) -> Optional[Dict[str, str]]:
    """Return the settings (JSON text) that differ from the defaults, by name; None if the text is no JSON."""
    try:
        given = dict(flat(json.loads(settings)))
    except ValueError:
        return None
    usual = dict(flat(TrainConfig().model_dump(mode="json")))
    return {name: _words(value) for name, value in given.items() if name not in usual or value != usual[name]}


def flat(settings: Mapping[str, Any], above: str = "") -> Iterator[Tuple[str, Any]]:
    """Yield each setting with its name; settings of a group as "group.name"."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{above}{name}.")
        else:
            yield above + name, value


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    if isinstance(value, float):
        value = float(f"{value:.6g}")
    return "none" if value in (None, "") else str(value)


def _by_measure(metrics: Mapping[str, float]) -> List[List[str]]:
    """Return a table with one row for each metric and one column for each split; the first row is the header."""
    splits = [split for split in (VALIDATION, TEST, BEFORE) if any(name.startswith(f"{split}_") for name in metrics)]
    rows = [["measure", *("before tuning" if split == BEFORE else split for split in splits)]]
    for key, name in MEASURES.items():
        values = [metrics.get(f"{split}_{key}") for split in splits]
        rows.append([name, *("–" if value is None else shown(key, value, 4) for value in values)])
    return rows


def _by_kind(predictions: pd.DataFrame, threshold: float) -> List[Dict[str, object]]:
    """Return the numbers of patches and of those predicted bad, for each split, origin and label."""
    rows: List[Dict[str, object]] = []
    for (split, label, origin), part in predictions.groupby(["split", "label", "origin"]):
        predicted = int((1.0 - part["p_bad"] < threshold).sum())
        rows.append(
            {"split": split, "label": label, "origin": origin, "number": len(part), "predicted": predicted,
             "right": predicted / len(part) if label != GOOD else 1 - predicted / len(part)}
        )  # fmt: skip
    return rows


def _by_threshold(predictions: pd.DataFrame) -> List[Dict[str, float]]:
    """Return the shares of BAD found and of GOOD lost on the validation micrographs, for several thresholds."""
    rows = predictions[predictions["split"] == VALIDATION]
    bad = rows["label"] != GOOD
    goodness = 1.0 - rows["p_bad"]
    return [
        {
            "threshold": value,
            "found": float((goodness[bad] < value).mean()),
            "lost": float((goodness[~bad] < value).mean()),
        }
        for value in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    ]
