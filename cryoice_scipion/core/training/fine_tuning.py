# SPDX-License-Identifier: GPL-3.0-or-later
"""Fine-tune a U-Net: a new last layer on its features, held near the old one (for 5 to 50 BAD patches).

The layers below stay: with few labels, a frozen embedding beats training from nothing
(docs/explanation/training.md).
"""

from __future__ import annotations

import math
from typing import Dict, List, Tuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.config import ModelConfig, TrainConfig
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import resolve_model
from cryoice_scipion.core.detectors.network_detector import NetworkDetector
from cryoice_scipion.core.detectors.unet import UNet
from cryoice_scipion.core.errors import ModelError, SettingsError
from cryoice_scipion.core.training.metrics import measure
from cryoice_scipion.core.training.patches.fit import Arrays, Fitted, Log, allowed_classes, bad_log_odds, loss_of
from cryoice_scipion.core.training.splits import TRAIN, VALIDATION, patch_weights

_LOOSE = 0.3  # standard deviation of the prior: how far a logit's weight on a feature of the usual spread may move
_FEATURES = 128  # for so many; of more, each moves less, so that a logit may move as far as before
_STEPS = 40


def load_base(name: str) -> Tuple[UNet, ModelConfig]:
    """Return a U-Net model that can be fine-tuned, by its name or folder: its network, and what it says of itself.

    Raises
    ------
    ModelError
        When there is none, or its network is not a dense one.
    """
    folder = resolve_model(name)
    loaded = load_detector(folder)
    network = loaded.network if isinstance(loaded, NetworkDetector) else None
    if not isinstance(network, UNet):
        raise ModelError(folder, "is not of the shipped one's kind: it cannot be tuned", "give another with --from")
    return network, loaded.config


def fit_head(
    views: Arrays, table: pd.DataFrame, config: TrainConfig, device: str, log: Log, progress: bool = True
) -> Fitted:
    """Fit the last layer of the U-Net model ``config.base`` to labelled cells; arguments as :func:`fit.fit`.

    The penalised likelihood (a Gaussian prior around the old weights) is maximised by L-BFGS on all training patches
    at once, weighed by :func:`patch_weights`.

    Raises
    ------
    SettingsError
        When no base model is named: the U-Net learns from label images, not from coordinates.
    """
    if not config.base:
        raise SettingsError(
            "--network dense",
            "learns from whole labelled micrographs",
            "give --simulated folders only, or --from default",
        )
    torch.manual_seed(config.seed)
    network, base = load_base(config.base)
    with torch.no_grad():  # the old model's temperature becomes a part of the weights
        for values in network.head.parameters():
            values.div_(base.temperature)
    log(f"fine-tuning {base.name}: its last layer is fitted anew, the rest stays")
    features = torch.from_numpy(np.asarray(views["embedding"], dtype=np.float32))
    allowed = torch.from_numpy(allowed_classes(table["label"].tolist(), base.classes))
    bad = (table["label"] != GOOD).to_numpy()
    weights = torch.from_numpy(patch_weights(table))
    rows = {name: torch.from_numpy(np.flatnonzero(table["split"] == name)) for name in (TRAIN, VALIDATION)}
    history = _move(network, features, allowed, bad, weights, rows)
    return Fitted(network, list(base.classes), history, options=dict(base.network_options))


def _move(
    network: UNet,
    features: torch.Tensor,
    allowed: torch.Tensor,
    bad: NDArray[np.bool_],
    weights: torch.Tensor,
    rows: Dict[str, torch.Tensor],
) -> List[Dict[str, float]]:
    """Fit the head in place; return the curves."""
    train, validation = rows[TRAIN], rows[VALIDATION]
    weight, bias = network.head.parameters()
    old = weight.detach()[:, :, 0, 0].clone(), bias.detach().clone()
    # One spread for all: by its own, a feature that is nearly silent in these few patches would get a weight that
    # decides everything where it is loud (20 BAD patches of MicAssess: AUC .41 on others, .99 so).
    spread = features[train].var(dim=0).mean().sqrt().clamp(min=1e-3)
    change = torch.zeros_like(old[0], requires_grad=True)  # in units of it
    shift = torch.zeros_like(old[1], requires_grad=True)
    loose = _LOOSE * math.sqrt(_FEATURES / features.shape[1])
    number = float(weights[train].sum())
    optimizer = torch.optim.LBFGS([change, shift], max_iter=5, line_search_fn="strong_wolfe")

    def loss(rows: torch.Tensor) -> torch.Tensor:
        logits = functional.linear(features[rows], old[0] + change / spread, old[1] + shift)
        return loss_of(logits, allowed[rows], weights[rows])

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(train) + (change.square().sum() + 0.1 * shift.square().sum()) / (2 * loose**2 * number)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    history: List[Dict[str, float]] = []
    for step in range(1, _STEPS + 1):
        value = float(optimizer.step(closure).detach())  # type: ignore[no-untyped-call]
        with torch.no_grad():
            logits = functional.linear(features[validation], old[0] + change / spread, old[1] + shift)
            p_bad = torch.sigmoid(bad_log_odds(logits)).double().numpy()
            values = measure(p_bad, bad[validation.numpy()], 0.5)
            row = {"epoch": float(step), "train_loss": value, "validation_loss": float(loss(validation))}
        history.append({**row, "validation_auc": values["auc"], "validation_ap": values["ap"]})
        if step > 1 and abs(history[-2]["train_loss"] - value) < 1e-6:
            break
    with torch.no_grad():
        weight.copy_((old[0] + change / spread)[:, :, None, None])
        bias.copy_(old[1] + shift)
    return history
