# SPDX-License-Identifier: GPL-3.0-or-later
"""Which network and which views a training takes. Imports no torch."""

from __future__ import annotations

from typing import List, Tuple

from cryoice_scipion.core.config import UNET_CELL, UNET_WINDOW, ModelConfig, TrainConfig, ViewConfig
from cryoice_scipion.core.detectors.model_folder import SPOT_TEST, load_config, resolve_model
from cryoice_scipion.core.errors import SettingsError

PATCH_FFT, PATCH_SPECTRUM, UNET = "patch_fft", "patch_spectrum", "unet"
_SEED = ("patch", "fft")
# "coarse" is not among them: on simulated micrographs it gained nothing that held on other ones.
_MEANING = {"patch": ["patch", "local"], "fft": ["spectrum"]}


def network_of(config: TrainConfig) -> str:
    """Return the network a training makes: the one asked for, else that of the model it starts from.

    Raises
    ------
    ModelError
        When that model is damaged or not there.
    SettingsError
        When it is of another network than the one asked for, or was never trained.
    """
    if not config.base:
        return PATCH_FFT if config.network == "auto" else config.network
    base = _base(config).network
    if base == SPOT_TEST or config.network not in ("auto", base):
        asked = "" if config.network == "auto" else f", not {config.network}"
        reason = f"{config.base} is of the network {base}{asked}"
        raise SettingsError("--from", reason, "start from a trained model, and leave --network out")
    return base


def views_of(config: TrainConfig) -> List[str]:
    """Return the views of a training's network.

    For the seed's network "patch" and "fft" are what they say. For the patch + spectrum one they stand for its views of
    the image and for its spectra; lists with other names are taken as they are (for ablations). A training that
    starts from a patch + spectrum model and asks for both keeps that model's views.

    Raises
    ------
    SettingsError
        When the network has no such view.
    """
    named = list(dict.fromkeys(config.views))
    if network_of(config) == UNET:
        return ["patch", "local", "spectrum"]
    if network_of(config) == PATCH_FFT:
        if not named or set(named) - set(_SEED):
            raise SettingsError("views", f"{' '.join(named) or 'none'}: the patch + FFT network has patch and fft")
        return named
    if set(named) == set(_SEED) and config.base and _base(config).network == PATCH_SPECTRUM:
        return [view.kind for view in _base(config).views]
    if named and not set(named) - set(_SEED):
        return [view for name in _SEED if name in named for view in _MEANING[name]]
    order = ("patch", "local", "coarse", "fft", "spectrum")
    if not named or set(named) - set(order):
        raise SettingsError(
            "views", f"{' '.join(named) or 'none'}: the patch + spectrum network has {', '.join(order)}"
        )
    return [name for name in order if name in named]


def view_configs(config: TrainConfig, sampling: float, window: int) -> Tuple[List[ViewConfig], int]:
    """Return the views as model.json names them, and the stride in px of the first one.

    Parameters
    ----------
    config : TrainConfig
    sampling : float
        Å/px of the patches.
    window : int
        Their side in px; a map cell is a quarter of it.
    """
    cell = window // 4 * sampling
    if network_of(config) == UNET:
        window, cell = UNET_WINDOW, UNET_CELL * sampling
    views = []
    for kind in views_of(config):
        if kind == "spectrum":
            required = config.augment.spectrum_dropout == 0
            views.append(ViewConfig(kind=kind, sampling=1.0, window=round(window * sampling), required=required))
        else:
            views.append(ViewConfig(kind=kind, sampling=sampling * (4 if kind == "coarse" else 1), window=window))
    return views, round(cell / views[0].sampling)


def _base(config: TrainConfig) -> ModelConfig:
    return load_config(resolve_model(config.base))
