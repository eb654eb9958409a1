# SPDX-License-Identifier: GPL-3.0-or-later
"""Fine-tune a U-Net to few labels (5 to 50 BAD coordinates): fit its last layer, and keep it near the old one.

The layers below do not change. With few labels this beats training from scratch.
"""

from __future__ import annotations

import math
from typing import Callable, Dict, List, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import resolve_model
from cryoice_scipion.core.detectors.network_detector import NetworkDetector
from cryoice_scipion.core.detectors.unet import UNet
from cryoice_scipion.core.errors import ModelError
from cryoice_scipion.core.training.metrics import measure
from cryoice_scipion.core.training.patches.fit import (
    Arrays,
    Fitted,
    allowed_classes,
    bad_log_odds,
    loss_of,
    positions_of,
)
from cryoice_scipion.core.training.patches.train import gather_patches, train_on_patches
from cryoice_scipion.core.training.saving import Result
from cryoice_scipion.core.training.splits import TRAIN, VALIDATION, patch_weights
from cryoice_scipion.core.training.trainers import Epoch, Log, TrainRequest

_LOOSE = 0.3  # standard deviation of the prior of the change of a weight, for a feature of the usual spread
_FEATURES = 128  # for this number of features; with more, each weight changes less and a logit as much
_STEPS = 40


def fine_tune(request: TrainRequest) -> Result:
    """Fine-tune the U-Net model ``request.config.base`` to labelled positions, and write the model folder.

    Raises
    ------
    ModelError
        When the model is missing or damaged, or is no U-Net.
    SettingsError
        When the labels are not enough.
    """
    detector = load_base(request.config.base, request.device)
    patches, micrographs, topics = gather_patches(request, detector.network.views, detector)
    return train_on_patches(patches, micrographs, request, topics, fit_head, load_base(request.config.base))


def load_base(name: str, device: str = "cpu") -> NetworkDetector:
    """Load a U-Net model that can be fine-tuned, by its name or folder.

    Raises
    ------
    ModelError
        When the model is missing or damaged, or is no U-Net.
    """
    folder = resolve_model(name)
    loaded = load_detector(folder, device)
    if not isinstance(loaded, NetworkDetector) or not isinstance(loaded.network, UNet):
        raise ModelError(folder, "is no U-Net, so it cannot be fine-tuned", "give another model with --from")
    return loaded


def fit_head(
    views: Arrays,
    table: pd.DataFrame,
    config: TrainConfig,
    device: str,
    log: Log,
    progress: bool,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Fitted:
    """Fit the last layer of the U-Net model ``config.base`` to labelled cells; arguments as of ``fit.fit``.

    The penalised likelihood, with a Gaussian prior around the old weights, is maximised by L-BFGS on all training
    patches at once, weighted by :func:`patch_weights`.
    """
    torch.manual_seed(config.seed)
    detector = load_base(config.base)
    network, base = cast(UNet, detector.network), detector.config
    with torch.no_grad():  # the temperature of the old model becomes a part of the weights
        for values in network.head.parameters():
            values.div_(base.temperature)
    log(f"fine-tuning {base.name}: its last layer is fitted, the other layers do not change")
    features = torch.from_numpy(np.asarray(views["embedding"], dtype=np.float32))
    allowed = torch.from_numpy(allowed_classes(table["label"].tolist(), base.classes))
    bad = (table["label"] != GOOD).to_numpy()
    weights = torch.from_numpy(patch_weights(table))
    rows = {name: torch.from_numpy(np.flatnonzero(table["split"] == name)) for name in (TRAIN, VALIDATION)}
    validation = rows[VALIDATION].numpy()

    def report(row: Dict[str, float], p_bad: NDArray[np.float64]) -> None:
        read = features[rows[VALIDATION]].numpy()
        on_epoch(Epoch(row, lambda: positions_of(p_bad, table, validation, views, lambda: read)))

    history = _move(network, features, allowed, bad, weights, rows, report)
    return Fitted(network, list(base.classes), history, options=dict(base.network_options))


def _move(
    network: UNet,
    features: torch.Tensor,
    allowed: torch.Tensor,
    bad: NDArray[np.bool_],
    weights: torch.Tensor,
    rows: Dict[str, torch.Tensor],
    report: Callable[[Dict[str, float], NDArray[np.float64]], None],
) -> List[Dict[str, float]]:
    """Fit the last layer in place, and report each step; return one row of the training curves for each step."""
    train, validation = rows[TRAIN], rows[VALIDATION]
    weight, bias = network.head.parameters()
    old = weight.detach()[:, :, 0, 0].clone(), bias.detach().clone()
    # One spread for all features. With a spread of its own, a feature with little variance in these few patches gets
    # a weight that dominates where it varies more (20 BAD patches of MicAssess: AUC 0.41 on others, 0.99 with one).
    spread = features[train].var(dim=0).mean().sqrt().clamp(min=1e-3)
    change = torch.zeros_like(old[0], requires_grad=True)  # in units of the spread
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
        report(history[-1], p_bad)
        if step > 1 and abs(history[-2]["train_loss"] - value) < 1e-6:
            break
    with torch.no_grad():
        weight.copy_((old[0] + change / spread)[:, :, None, None])
        bias.copy_(old[1] + shift)
    return history
