# SPDX-License-Identifier: GPL-3.0-or-later
"""Fit a ``one_class`` model to clean micrographs. Imports no torch."""

from __future__ import annotations

import datetime
from typing import Any, Dict, List

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from cryoice_scipion.constants import BAD, FEWEST_CLEAN, GOOD, VERSION
from cryoice_scipion.core.config import ModelConfig
from cryoice_scipion.core.detectors import one_class
from cryoice_scipion.core.detectors.model_folder import CARD, WEIGHTS, write_sums
from cryoice_scipion.core.detectors.one_class_fit import fit_one_class
from cryoice_scipion.core.detectors.tail import Tail
from cryoice_scipion.core.errors import SettingsError, counted
from cryoice_scipion.core.images.naming import expand_micrographs
from cryoice_scipion.core.training.clean_micrographs import read_clean
from cryoice_scipion.core.training.saving import start_folder
from cryoice_scipion.core.training.trainers import Result, TrainRequest, refuse_options
from cryoice_scipion.core.views.session_features import session_features

_UNUSED = (
    "good", "bad", "micrographs", "cryoppp", "simulated", "patches", "base", "hold_out", "validation", "epochs",
    "patience", "batch", "learning_rate", "width", "class_weights", "per_micrograph_reference", "crops", "cache",
    "mixed_precision", "invert", "sampling", "no_background", "jitter_copies", "views", "texture_weight", "grades",
)  # fmt: skip


def train(request: TrainRequest) -> Result:
    """Fit to the micrographs of ``--clean``, and write the model folder.

    Raises
    ------
    SettingsError
        When there are too few clean micrographs, or options are given that this kind does not use.
    """
    refuse_options(request, _UNUSED, "--network one_class")
    if not request.sources.clean:
        raise SettingsError("--network one_class", "needs clean micrographs", "name them with --clean")
    features = _features_of(request)
    sampling = max(sorted(features), key=lambda size: len(features[size])) if features else 0.0
    chosen = features.get(sampling, [])
    fitted = fit_one_class(dict(enumerate(chosen)), sampling)
    if fitted is None:
        only = counted(len(chosen), "clean micrograph")
        reason = f"only {only} of one pixel size can be used, and {FEWEST_CLEAN} are the least"
        raise SettingsError("--clean", reason, "name more clean micrographs")
    tail = Tail.of(one_class.left_out_distances(chosen))
    name, number = request.config.name, len(chosen)
    model = ModelConfig(
        name=name,
        created=f"{datetime.date.today().isoformat()} by cryoice {VERSION}",
        network="one_class",
        classes=[GOOD, BAD],
        views=one_class.views_for(request.config, None, 1.0),
        stride=max(1, round(sampling)),
        metrics={"clean_micrographs": float(number)},
        trained_on=request.describe({"clean micrographs": str(number)}, backgrounds=False),
    )
    start_folder(request.output, model)
    (request.output / WEIGHTS).write_bytes(save(one_class.to_arrays(fitted, tail)))
    (request.output / CARD).write_text(_card(model, number, len(fitted.fitted)), encoding="utf-8")
    write_sums(request.output)
    return Result(request.output, model, {}, {}, None)


def _features_of(request: TrainRequest) -> Dict[float, List[NDArray[Any]]]:
    """Return the features of the clean micrographs by the side of their cells."""
    found: Dict[float, List[NDArray[Any]]] = {}
    for micrograph in read_clean(request, expand_micrographs(request.sources.clean)):
        features = session_features(micrograph.image, micrograph.pixel_size, micrograph.border)
        found.setdefault(float(np.round(features.sampling, 3)), []).append(features.values)
    return found


def _card(model: ModelConfig, number: int, used: int) -> str:
    """Return the text of the model card."""
    note = model.trained_on.get("note", "")
    return "\n".join(
        [
            f"# {model.name}",
            "",
            f"Made {model.created}. Network `one_class`: how unlike clean micrographs each cell is.",
            "",
            f"- Clean micrographs: {number}. The fit uses the {used} that agree best.",
            *([f"- {note}"] if note else []),
            "- It has seen no bad area. P(BAD) = 0.5 is where one clean cell in 1000 would be called bad.",
            "- It knows no classes of bad area: everything unusual is bad.",
            "- Use it only for micrographs that were recorded and processed like the clean ones: same pixel size, "
            "dose, gain and normalisation.",
            "",
        ]
    )
