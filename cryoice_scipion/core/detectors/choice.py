# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide which kind of detector a training makes, and which views it takes."""

from __future__ import annotations

from typing import List, Optional

from cryoice_scipion.core.config import ModelConfig, TrainConfig, ViewConfig
from cryoice_scipion.core.detectors.kinds import DEFAULT_KIND, Kind, kind_of, module_of, trained_kinds
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.errors import SettingsError

AUTO = "auto"  # as the model that training starts from has it


def kind_to_train(config: TrainConfig) -> Kind:
    """Return the kind of detector that a training makes: the requested one, or that of the model it starts from.

    Raises
    ------
    ModelError
        When the model to start from is damaged or missing.
    SettingsError
        When there is no such kind, the model is of another kind than the requested one, or it cannot be trained.
    """
    base = base_of(config)
    kinds = {kind.name: kind for kind in trained_kinds()}
    if base is None:
        name = DEFAULT_KIND if config.network == AUTO else config.network
        if name not in kinds:
            raise SettingsError("--network", f"there is no network {name} to train", f"give one of {', '.join(kinds)}")
        return kinds[name]
    kind = kind_of(base.network, config.base)
    if not kind.trainer or config.network not in (AUTO, kind.name):
        asked = "" if config.network == AUTO else f", not {config.network}"
        reason = f"{config.base} is of the network {kind.name}{asked}"
        raise SettingsError("--from", reason, "start from a trained model, and leave --network out")
    return kind


def training_views(config: TrainConfig, sampling: float) -> List[ViewConfig]:
    """Return the views that a training takes, as model.json lists them.

    Parameters
    ----------
    config : TrainConfig
    sampling : float
        Å/px of the patches.

    Raises
    ------
    SettingsError
        When the network has no such view.
    """
    views: List[ViewConfig] = module_of(kind_to_train(config)).views_for(config, base_of(config), sampling)
    return views


def views_of(config: TrainConfig) -> List[str]:
    """Return the names of the views that a training takes; see :func:`training_views`."""
    return [view.kind for view in training_views(config, config.patches.sampling)]


def base_of(config: TrainConfig) -> Optional[ModelConfig]:
    """Return the description of the model that training starts from; None: random weights."""
    return load_config(resolve_model(config.base)) if config.base else None


def selected_views(config: TrainConfig, kind: str, allowed: List[str]) -> List[str]:
    """Return the requested views in the order of the network.

    Raises
    ------
    SettingsError
        When no view is requested, or one that the network does not have.
    """
    if not config.views or set(config.views) - set(allowed):
        asked = " ".join(config.views) or "none"
        raise SettingsError("views", f"{asked}: the {kind} network has {', '.join(allowed)}")
    return [name for name in allowed if name in config.views]
