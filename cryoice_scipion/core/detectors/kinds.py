# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of detectors: one table that loading, training, the command line and the documentation use. No torch.

A kind is one module. Its entry in ``KINDS`` is either written below or added with :func:`register`, and names the
module and the trainer as text, so that the table is read without torch. The module has these functions:

``load(folder, config, device)``
    Return the detector that a model folder describes; see ``network_detector.Detector``. Required.
``views_for(config, base, sampling)``
    Return the ``ViewConfig`` of each view that a training takes, as model.json lists them. ``config`` is the
    ``TrainConfig``, ``base`` the ``ModelConfig`` of the model that training starts from, or None, and ``sampling``
    the Å/px of the patches. Required if the trainer is one of this package's.
``build(classes, views, options)``
    Return an untrained ``network_detector.Network``. Required if the trainer is one of this package's.

A trainer is a function that takes a ``training.trainers.TrainRequest`` and returns a ``training.trainers.Result``.
A kind with a network that classifies labelled patches uses ``PATCH_TRAINER`` and needs no trainer of its own.
"""

from __future__ import annotations

import dataclasses
import importlib
from types import ModuleType
from typing import Any, Dict, List, Mapping, Tuple

from cryoice_scipion.core.errors import ModelError

PATCH_TRAINER = "cryoice_scipion.core.training.patches.train:train"
DEFAULT_KIND = "patch_fft"  # what is trained if neither --network nor --from is given


#: Settings that a sweep varies if it is not told otherwise; see ``training/sweep/space.py``.
SPACE: Mapping[str, Mapping[str, object]] = {
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "weight_decay": {"low": 1e-4, "high": 1e-1, "log": True},
    "width": {"values": [8, 16, 32]},
    "augment.noise": {"low": 0.0, "high": 0.6},
    "augment.shift": {"low": 0.0, "high": 0.6},
}
AUTOENCODER_SPACE: Mapping[str, Mapping[str, object]] = {
    "learning_rate": {"low": 5e-4, "high": 1e-2, "log": True},
    "width": {"values": [8, 16, 32]},
    "patches.sampling": {"values": [8.0, 16.0]},
    "texture_weight": {"values": [False, True]},
}


GRADER_SPACE: Mapping[str, Mapping[str, object]] = {
    "learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
    "weight_decay": {"low": 1e-4, "high": 1e-1, "log": True},
    "depth": {"values": [10, 18, 34]},
    "width": {"values": [8, 16, 32]},
    "augment.spectrum_dropout": {"low": 0.0, "high": 0.5},
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of detector."""

    name: str  # --network, and "network" in model.json
    module: str  # imported when a model of this kind is built, loaded or trained
    help: str = ""  # one clause, for --help and the documentation
    trainer: str = ""  # "module:function"; empty: this kind is not trained
    views: Tuple[str, ...] = ()  # the views that --views selects from; empty: the kind always takes the same ones
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of TrainConfig, in a training from scratch
    space: Mapping[str, Mapping[str, object]] = dataclasses.field(
        default_factory=lambda: SPACE
    )  # the settings that a sweep varies, and their ranges
    has_weights: bool = True  # whether its model folders hold weights.safetensors
    grades: bool = False  # whether it grades micrographs instead of mapping them
    tunable: bool = False  # whether its last layer alone can be fitted to few labels


KINDS: Dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "patch_fft",
            "cryoice_scipion.core.detectors.patch_fft",
            "classifies patches of 256 Å by the image and its Fourier transform",
            trainer=PATCH_TRAINER,
            views=("patch", "fft"),
        ),
        Kind(
            "patch_spectrum",
            "cryoice_scipion.core.detectors.patch_spectrum",
            "classifies patches of 256 Å by the image in two normalisations and by power spectra at full resolution",
            trainer=PATCH_TRAINER,
            views=("patch", "local", "coarse", "fft", "spectrum"),
        ),
        Kind(
            "unet",
            "cryoice_scipion.core.detectors.unet",
            "the network of the shipped model; learns whole maps from --simulated folders",
            trainer="cryoice_scipion.core.training.unet.train:train",
            defaults={"batch": 8, "learning_rate": 0.002, "validation": 0.1},
            tunable=True,
        ),
        Kind(
            "one_class",
            "cryoice_scipion.core.detectors.one_class",
            "measures how unlike clean micrographs (--clean) each cell is; needs no bad examples",
            trainer="cryoice_scipion.core.training.one_class:train",
        ),
        Kind(
            "autoencoder",
            "cryoice_scipion.core.detectors.autoencoder",
            "measures how unlike those of clean micrographs (--clean) the residuals of a reconstruction are",
            trainer="cryoice_scipion.core.training.autoencoder.train:train",
            views=("pixels", "features"),
            defaults={
                "batch": 16,
                "epochs": 15,
                "learning_rate": 0.002,
                "validation": 0.5,
                "patches": {"sampling": 8.0},
            },
            space=AUTOENCODER_SPACE,
        ),
        Kind(
            "resnet",
            "cryoice_scipion.core.grades.resnet",
            "grades whole micrographs by picture and power spectrum; learns from --grades or --simulated",
            trainer="cryoice_scipion.core.training.grades.train:train",
            defaults={"batch": 16, "learning_rate": 0.002, "width": 16, "epochs": 30},
            space=GRADER_SPACE,
            grades=True,
        ),
        Kind(
            "spot_test",
            "cryoice_scipion.core.detectors.spots",
            "a statistical test for lattice fringes; it is not trained",
            has_weights=False,
        ),
    )
}


def register(kind: Kind) -> None:
    """Add a kind to the table, or replace the one of the same name."""
    KINDS[kind.name] = kind


def kind_of(network: str, model: object) -> Kind:
    """Return the kind of a model.

    Parameters
    ----------
    network : str
        The name in model.json.
    model : object
        The model's name or folder, for the error message.

    Raises
    ------
    ModelError
        When this version has no such kind.
    """
    if network not in KINDS:
        raise ModelError(model, f"needs the network '{network}', which this version lacks", "update this package")
    return KINDS[network]


def module_of(kind: Kind) -> ModuleType:
    """Import the module of a kind, which may import torch."""
    return importlib.import_module(kind.module)


def trained_kinds() -> List[Kind]:
    """Return the kinds that can be trained, in the order of the table."""
    return [kind for kind in KINDS.values() if kind.trainer]
