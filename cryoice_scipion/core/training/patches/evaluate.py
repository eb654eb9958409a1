# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate a model on labelled patches, in all and by origin and label."""

from __future__ import annotations

from typing import Dict

import numpy as np
import torch

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.detectors.network_detector import NetworkDetector
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.training.metrics import is_bad, measure
from cryoice_scipion.core.training.patches.fit import bad_log_odds, predict
from cryoice_scipion.core.training.patches.patch_set import PatchSet


def evaluate(detector: NetworkDetector, patches: PatchSet, threshold: float) -> Dict[str, Dict[str, float]]:
    """Return the metrics of all patches, and the share that is predicted bad for each origin and label.

    The session baseline is not applied, since patches are of no session.

    Raises
    ------
    SettingsError
        When the sampling of the patches is not the model's.
    """
    if abs(patches.sampling / detector.sampling - 1.0) > 0.01:
        reason = f"are cut at {patches.sampling:g} Å/px, the model takes {detector.sampling:g}"
        raise SettingsError("patches", reason, "cut them anew")
    rows = np.flatnonzero(patches.table["copy"] == 0)
    table = patches.table.iloc[rows]
    views = patches.views(detector.network.views)
    logits = predict(detector.network, views, rows, str(detector.device)) / detector.config.temperature
    p_bad = torch.sigmoid(bad_log_odds(torch.from_numpy(logits))).numpy()
    bad = (table["label"] != GOOD).to_numpy()
    figures = {"all": measure(p_bad, bad, threshold)}
    predicted = is_bad(p_bad, threshold)
    for (origin, label), rows in table.reset_index(drop=True).groupby(["origin", "label"]).indices.items():
        share = float(np.mean(predicted[rows]))
        figures[f"{origin} {label}"] = {"number": float(len(rows)), "predicted_bad": share}
    return figures
