# SPDX-License-Identifier: GPL-3.0-or-later
"""A model measured on labelled patches, in all and by kind."""

from __future__ import annotations

from typing import Dict

import numpy as np
import torch

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.detectors.choice import UNET
from cryoice_scipion.core.detectors.network_detector import NetworkDetector
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.training.metrics import is_bad, measure
from cryoice_scipion.core.training.patches.fit import bad_log_odds, predict
from cryoice_scipion.core.training.patches.patch_set import EMBEDDING, PatchSet


def evaluate(detector: NetworkDetector, patches: PatchSet, threshold: float) -> Dict[str, Dict[str, float]]:
    """Return the metrics of all patches, and for each origin and label the share that is predicted rightly.

    Without a data-set reference: patches have no data set around them.

    Raises
    ------
    SettingsError
        When the patches are of another sampling than the model's.
    """
    sampling = detector.config.sampling / detector.stride
    if abs(patches.sampling / sampling - 1.0) > 0.01:
        raise SettingsError(
            "patches", f"are cut at {patches.sampling} Å/px, the model takes {sampling}", "cut them anew"
        )
    rows = np.flatnonzero(patches.table["copy"] == 0)
    table = patches.table.iloc[rows]
    dense = detector.config.network == UNET
    views = patches.views([EMBEDDING] if dense else [view.kind for view in detector.config.views])
    logits = predict(detector.network, views, rows, str(detector.device)) / detector.config.temperature
    p_bad = torch.sigmoid(bad_log_odds(torch.from_numpy(logits))).numpy()
    bad = (table["label"] != GOOD).to_numpy()
    figures = {"all": measure(p_bad, bad, threshold)}
    predicted = is_bad(p_bad, threshold)
    for (origin, label), rows in table.reset_index(drop=True).groupby(["origin", "label"]).indices.items():
        share = float(np.mean(predicted[rows]))
        figures[f"{origin} {label}"] = {"number": float(len(rows)), "predicted_bad": share}
    return figures
