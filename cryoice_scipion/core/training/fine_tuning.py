# SPDX-License-Identifier: GPL-3.0-or-later
"""Fine-tune a U-Net to few labels (5 to 50 BAD coordinates): combine its last layer with one fitted to the labels.

The layers below do not change. The new layer also reads the texture of a cell (``views.texture``). Cross-validation
chooses how much the old layer counts; see ``head_choice``.
"""

from __future__ import annotations

import math
from typing import Callable, Dict, List, Tuple, cast

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import resolve_model
from cryoice_scipion.core.detectors.network_detector import NetworkDetector
from cryoice_scipion.core.detectors.unet import UNet, with_texture
from cryoice_scipion.core.errors import ModelError
from cryoice_scipion.core.training.head_choice import FREEDOM, MICROGRAPHS, Fit, Freedom, Rows, choose
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
from cryoice_scipion.core.training.splits import TRAIN, VALIDATION, patch_weights
from cryoice_scipion.core.training.trainers import Epoch, Log, Result, TrainRequest
from cryoice_scipion.core.views.texture import TEXTURE_CHANNELS

# Standard deviation of the prior of the change of a weight, for a feature of the usual spread
_LOOSE = 0.3  # for this number of features of the network; with more, each weight changes less and a logit as much
_FEATURES = 128
# Of the features of the network, and of each of the texture: what hardly varies in these patches may vary elsewhere
_LEAST_SPREAD, _LEAST_TEXTURE_SPREAD = 1e-3, 0.4
_SHIFT = 0.7  # the same for the bias
_STEPS = 40

Layer = Tuple[torch.Tensor, torch.Tensor]  # weights (classes, features) and bias (classes,)
AfterStep = Callable[[Layer, float], None]  # called with the layer and the loss after each step of a fit


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
    """Load a U-Net model that can be fine-tuned, by its name or folder; its last layer reads the texture.

    Raises
    ------
    ModelError
        When the model is missing or damaged, or is no U-Net.
    """
    folder = resolve_model(name)
    loaded = load_detector(folder, device)
    if not isinstance(loaded, NetworkDetector) or not isinstance(loaded.network, UNet):
        raise ModelError(folder, "is no U-Net, so it cannot be fine-tuned", "give another model with --from")
    options = {**loaded.config.network_options, "texture": 1}
    config = loaded.config.model_copy(update={"network_options": options})
    return NetworkDetector(config, with_texture(loaded.network), loaded.device)


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

    The penalised likelihood, with a Gaussian prior around the old weights or a part of them, is maximised by L-BFGS on
    all patches at once, weighted by :func:`patch_weights`. The layer is fitted to the training patches for the history,
    then to these and the validation patches. Temperature and threshold are to be set on the cross-validated predictions
    of both. With fewer than three labelled micrographs, the validation patches are left out and used for this instead.
    """
    torch.manual_seed(config.seed)
    detector = load_base(config.base)
    network, base = cast(UNet, detector.network), detector.config
    old = last_layer(detector)
    features = torch.from_numpy(np.asarray(views["embedding"], dtype=np.float32))
    allowed = torch.from_numpy(allowed_classes(table["label"].tolist(), base.classes))
    weights = patch_weights(table)
    split = {name: np.flatnonzero(table["split"] == name) for name in (TRAIN, VALIDATION)}
    train, validation = split[TRAIN], split[VALIDATION]
    bad = (table["label"] != GOOD).to_numpy()[validation]

    def fit(rows: Rows, freedom: Freedom, after: AfterStep = lambda layer, value: None) -> Layer:
        return fit_layer(old, freedom, features[rows], allowed[rows], torch.from_numpy(weights[rows]), after)

    def refit(freedom: Freedom) -> Fit:
        return lambda rows, left: functional.linear(features[left], *fit(rows, freedom))

    fits = {name: refit(freedom) for name, freedom in FREEDOM.items()}
    both = np.sort(np.concatenate([train, validation]))
    choice = choose(fits, table, both, weights)
    log(f"fine-tuning {base.name}, last layer: {choice}")
    history: List[Dict[str, float]] = []

    def report(layer: Layer, value: float) -> None:
        logits = functional.linear(features[validation], *layer)
        p_bad = torch.sigmoid(bad_log_odds(logits)).double().numpy()
        loss = float(loss_of(logits, allowed[validation], torch.from_numpy(weights[validation])))
        values, row = measure(p_bad, bad, 0.5), {"epoch": len(history) + 1.0, "train_loss": value}
        history.append({**row, "validation_loss": loss, "validation_auc": values["auc"], "validation_ap": values["ap"]})
        read = features[validation].numpy()
        on_epoch(Epoch(history[-1], lambda: positions_of(p_bad, table, validation, views, lambda: read)))

    layer = fit(train, FREEDOM[choice.name], report)
    crossed, topics = None, {"last layer": str(choice)}
    if len(choice.rows) and choice.unit == MICROGRAPHS:  # quarters of micrographs resemble each other too much
        layer, crossed = fit(both, FREEDOM[choice.name]), (choice.rows, choice.logits.double().numpy())
        number = len(choice.losses[choice.name])
        topics["validation"] = f"cross-validation over {number} micrographs; the last layer is fitted to all of them"
    with torch.no_grad():
        network.head.weight.copy_(layer[0][:, :, None, None])
        cast(torch.Tensor, network.head.bias).copy_(layer[1])
    options = dict(base.network_options)
    return Fitted(network, list(base.classes), history, options=options, topics=topics, crossed=crossed)


def last_layer(detector: NetworkDetector) -> Layer:
    """Return the last layer of a U-Net model; its logits are calibrated."""
    weight, bias = cast(UNet, detector.network).head.parameters()
    temperature = detector.config.temperature
    return weight.detach()[:, :, 0, 0] / temperature, bias.detach() / temperature


def fit_layer(
    old: Layer,
    freedom: Freedom,
    features: torch.Tensor,
    allowed: torch.Tensor,
    weights: torch.Tensor,
    after: AfterStep = lambda layer, value: None,
) -> Layer:
    """Return a last layer that is fitted to labelled cells."""
    trust = freedom.trust
    given = functional.linear(features, trust * old[0], trust * old[1])
    middle = features.mean(dim=0)
    units = _prior_widths(features, freedom.texture)
    rows = (features - middle) * units
    change = torch.zeros_like(old[0], requires_grad=True)  # in these units
    shift = torch.zeros_like(old[1], requires_grad=True)
    number = float(weights.sum())
    optimizer = torch.optim.LBFGS([change, shift], max_iter=5, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss_of(given + functional.linear(rows, change, shift), allowed, weights)
        value = value + (change.square().sum() + (shift / _SHIFT).square().sum()) / (2 * number)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    def layer() -> Layer:
        moved = change.detach() * units
        return trust * old[0] + moved, trust * old[1] + shift.detach() - moved @ middle

    before = math.inf
    for _ in range(_STEPS):
        value = float(optimizer.step(closure).detach())  # type: ignore[no-untyped-call]
        after(layer(), value)
        if abs(before - value) < 1e-6:
            break
        before = value
    return layer()


def _prior_widths(features: torch.Tensor, texture: float) -> torch.Tensor:
    """Return the standard deviation of the prior of the change of each weight, (features,)."""
    seen = features.shape[1] - TEXTURE_CHANNELS
    # One spread for all features of the network. With a spread of its own, a feature with little variance in these few
    # patches gets a weight that dominates where it varies more (20 BAD patches of MicAssess: AUC 0.41 on others, 0.99
    # with one). The features of the texture are of different kinds, and each has its own.
    variance = features.var(dim=0)
    spread = variance[:seen].mean().sqrt().clamp(min=_LEAST_SPREAD)
    spreads = variance[seen:].sqrt().clamp(min=_LEAST_TEXTURE_SPREAD)
    return torch.cat([(_LOOSE * math.sqrt(_FEATURES / seen) / spread).expand(seen), texture / spreads])
