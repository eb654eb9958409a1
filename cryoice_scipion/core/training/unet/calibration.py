# SPDX-License-Identifier: GPL-3.0-or-later
"""Calibrate and measure a U-Net on whole micrographs: temperature, threshold and session baseline."""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Sequence, Tuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit

from cryoice_scipion.constants import CLASSES, GOOD
from cryoice_scipion.core.detectors.unet import UNet
from cryoice_scipion.core.maps.session_baseline import session_logit_of
from cryoice_scipion.core.training.metrics import (
    CLEAN_LOST,
    OUTLIERS,
    fit_temperature,
    measure,
    threshold_for_clean_area,
)
from cryoice_scipion.core.training.patches.fit import bad_log_odds
from cryoice_scipion.core.training.saving import Predictions
from cryoice_scipion.core.training.splits import TEST, VALIDATION
from cryoice_scipion.core.training.unet.refinement_head import features_of_micrograph
from cryoice_scipion.core.training.unet.training_micrographs import TrainingMicrograph
from cryoice_scipion.core.views.outlier_features import CELL

_RULE = (
    f"the one nearest to 0.5 that predicts at most {CLEAN_LOST:.2%} of clean area bad, "
    f"on average over all micrographs except the worst {OUTLIERS:.0%}"
)
_MOSTLY, _NORMAL = 0.75, 90  # share of good cells of a clean micrograph; percentile of their median log-odds
_LEAST_TOLERANCE = 4.0  # log-odds: usual sessions with much bad area differ by this much
_SHOWN = 60  # cells of a micrograph that go into predictions.csv and the card


@dataclasses.dataclass
class MapCells:
    """Logits and labels of the labelled cells of one micrograph."""

    name: str
    split: str
    positions: NDArray[np.float64]  # (n, 2), x and y of the cells' centres, px of the context view
    labels: NDArray[np.uint8]  # (n,), positions in CLASSES
    logits: NDArray[np.float32]  # (n, classes)

    @property
    def bad(self) -> NDArray[np.bool_]:
        """Return which cells are of any class but good."""
        found: NDArray[np.bool_] = self.labels != CLASSES.index(GOOD)
        return found

    def log_odds(self, temperature: float = 1.0) -> NDArray[np.float64]:
        """Return the log-odds of BAD, shape (n,), the class logits divided by a temperature."""
        odds: NDArray[np.float64] = bad_log_odds(torch.from_numpy(self.logits).double() / temperature).numpy()
        return odds


@torch.inference_mode()
def cells_of_maps(
    network: UNet,
    loaded: Dict[str, TrainingMicrograph],
    split: Dict[str, str],
    parts: Tuple[str, ...],
    device: str,
) -> List[MapCells]:
    """Return logits and labels of the cells of whole micrographs."""
    network = network.eval().to(device)
    found = []
    for name, micrograph in loaded.items():
        if split[name] not in parts:
            continue
        logits = network.classify(features_of_micrograph(network, micrograph, device)).flatten(1).T.cpu().numpy()
        known = micrograph.labelled
        row, column = np.unravel_index(known, micrograph.labels.shape)
        positions = (np.column_stack([column, row]) + 0.5) * CELL
        found.append(MapCells(name, split[name], positions, micrograph.labels.ravel()[known], logits[known]))
    return found


def calibrate_maps(cells: Sequence[MapCells]) -> Tuple[Predictions, Dict[str, float]]:
    """Fit temperature and threshold on the validation micrographs; measure there and on the held-out ones.

    Returns
    -------
    (Predictions, dict)
        The table has some cells of each micrograph, with x and y in px of the context view. The dict is the result of
        :func:`reference_of` on the validation micrographs.
    """
    validation = [item for item in cells if item.split == VALIDATION]
    logits = torch.from_numpy(np.concatenate([item.logits for item in validation])).double()
    bad = np.concatenate([item.bad for item in validation])
    temperature = fit_temperature(lambda value: bad_log_odds(logits / value).numpy(), bad)
    odds = {item.name: item.log_odds(temperature) for item in cells}
    threshold = round(threshold_for_clean_area([(expit(odds[item.name]), item.bad) for item in validation]), 3)
    figures = {}
    for part in (VALIDATION, TEST):
        chosen = [item for item in cells if item.split == part]
        if chosen:
            p_bad = expit(np.concatenate([odds[item.name] for item in chosen]))
            figures[part] = measure(p_bad, np.concatenate([item.bad for item in chosen]), threshold)
    table = some_cells(cells, [odds[item.name] for item in cells])
    log_odds = table.pop("log_odds").to_numpy()
    measured = (figures[VALIDATION], figures.get(TEST, {}))
    predictions = Predictions(table, log_odds, temperature, threshold, *measured, _RULE)
    return predictions, reference_of([(odds[item.name], item.labels) for item in validation])


def some_cells(cells: Sequence[MapCells], odds: Sequence[NDArray[np.float64]]) -> pd.DataFrame:
    """Return the log-odds of BAD (``odds``) and P(BAD) of some cells of each micrograph, one row a cell."""
    rng = np.random.default_rng(0)
    parts = [_some_cells(item, values, rng) for item, values in zip(cells, odds)]
    return pd.concat(parts, ignore_index=True).assign(origin="area")


def _some_cells(item: MapCells, odds: NDArray[np.float64], rng: np.random.Generator) -> pd.DataFrame:
    """Return some cells of a micrograph, one row each."""
    rows = np.sort(rng.permutation(len(item.labels))[:_SHOWN])
    x, y = item.positions[rows].T
    labels = [CLASSES[code] for code in item.labels[rows]]
    values = {"x": x, "y": y, "label": labels, "split": item.split, "p_bad": expit(odds[rows]), "log_odds": odds[rows]}
    return pd.DataFrame({"micrograph": item.name, **values})


def reference_of(micrographs: Sequence[Tuple[NDArray[np.float64], NDArray[np.uint8]]]) -> Dict[str, float]:
    """Return the session baseline of the validation micrographs, and how far above it a session is still usual.

    Parameters
    ----------
    micrographs : sequence of (ndarray, ndarray)
        Calibrated log-odds of BAD and labels (indices into CLASSES) of the labelled cells of each.
    """
    there = [
        (float(np.median(odds)), float((labels == CLASSES.index(GOOD)).mean()))
        for odds, labels in micrographs
        if len(labels)
    ]
    level = session_logit_of([median for median, _ in there])
    clean = [median for median, share in there if share > _MOSTLY]
    upper = float(np.percentile(clean, _NORMAL)) if clean else level
    return {"baseline_logit": level, "offset_tolerance": max(_LEAST_TOLERANCE, upper - level)}
