# SPDX-License-Identifier: GPL-3.0-or-later
"""Train an ``autoencoder`` model on clean micrographs, and write its folder.

A share of the clean micrographs is left out of the training. Their cells tell which residuals are usual. Labelled
positions, if there are any, decide the recommended threshold.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Dict, List, Sequence, Tuple

import numpy as np
import torch

from cryoice_scipion.constants import BAD, FEWEST_CLEAN, FEWEST_TRAINED, GOOD, VERSION
from cryoice_scipion.core.config import ModelConfig, ViewConfig
from cryoice_scipion.core.detectors import autoencoder
from cryoice_scipion.core.detectors.autoencoder import FEATURES, PIXELS, AutoencoderDetector, InputView
from cryoice_scipion.core.detectors.autoencoder_network import Autoencoder
from cryoice_scipion.core.detectors.choice import training_views
from cryoice_scipion.core.detectors.one_class import left_out_distances
from cryoice_scipion.core.detectors.one_class_fit import fit_one_class
from cryoice_scipion.core.detectors.tail import Tail
from cryoice_scipion.core.errors import SettingsError, counted
from cryoice_scipion.core.images.naming import expand_micrographs
from cryoice_scipion.core.records import MicrographTask
from cryoice_scipion.core.training.autoencoder.fit import CleanImage, fit
from cryoice_scipion.core.training.autoencoder.labels import labelled_of, measure_positions
from cryoice_scipion.core.training.autoencoder.saving import Trained, save
from cryoice_scipion.core.training.autoencoder.texture import low_texture_weights
from cryoice_scipion.core.training.clean_micrographs import read_clean
from cryoice_scipion.core.training.splits import held_out
from cryoice_scipion.core.training.sweep import folds
from cryoice_scipion.core.training.trainers import Result, TrainRequest, refuse_options
from cryoice_scipion.core.views.patches import robust_scale

_OPTION = "--network autoencoder"
_UNUSED = (
    "patches", "base", "class_weights", "per_micrograph_reference", "crops", "cache", "mixed_precision", "invert",
    "contrast", "no_background", "jitter_copies", "grades",
)  # fmt: skip


def train(request: TrainRequest) -> Result:
    """Train on the micrographs of ``--clean``, and write the model folder.

    Raises
    ------
    SettingsError
        When there are too few clean micrographs, or options are given that this kind does not use.
    """
    refuse_options(request, _UNUSED, _OPTION)
    if not request.sources.clean:
        raise SettingsError(_OPTION, "needs clean micrographs", "name them with --clean")
    config = request.config
    (view,) = training_views(config, config.patches.sampling)
    if view.kind == FEATURES:
        refuse_options(request, ("sampling", "texture_weight"), "--views features")
    labelled, tasks = labelled_of(request), expand_micrographs(request.sources.clean)
    testing = held_out([*(task.stem for task in tasks), *(item.stem for item in labelled)], config.hold_out)
    pixel_size, seen = _read([task for task in tasks if task.stem not in testing], view, request)
    number = max(FEWEST_CLEAN, round(config.validation * len(seen)))
    if len(seen) < number + FEWEST_TRAINED:
        least = FEWEST_CLEAN + FEWEST_TRAINED
        only = counted(len(seen), "clean micrograph")
        reason = f"only {only} of one pixel size can be used, and {least} are the least"
        raise SettingsError("--clean", reason, "name more clean micrographs, or give a smaller --validation")
    order = np.random.default_rng(config.seed).permutation(len(seen))
    left_out, trained = ([seen[index] for index in part] for part in (order[:number], order[number:]))
    network = _new_network(seen, pixel_size, request)
    images = [[_clean_image(network, one, config.texture_weight) for one in part] for part in (trained, left_out)]
    history, interrupted = fit(network, images[0], images[1], request)
    detector = _calibrated(network, left_out, view, request)
    positions = measure_positions(detector, labelled, testing, request)
    return save(request, detector, Trained(history, positions, len(trained), len(left_out), interrupted))


def micrographs_by_source(request: TrainRequest) -> folds.Groups:
    """Return the labelled micrographs of each data source; a sweep needs labels to score its trials by."""
    return folds.micrographs_by_source(
        dataclasses.replace(request, sources=dataclasses.replace(request.sources, clean=[]))
    )


def _read(tasks: Sequence[MicrographTask], view: ViewConfig, request: TrainRequest) -> Tuple[float, List[InputView]]:
    """Return the most frequent pixel size (Å/px) of clean micrographs, and those that have it."""
    found: Dict[float, List[InputView]] = {}
    for micrograph in read_clean(request, tasks):
        seen = autoencoder.input_view(micrograph.image, micrograph.pixel_size, micrograph.border, view)
        found.setdefault(float(np.round(micrograph.pixel_size, 3)), []).append(seen)
    size = max(sorted(found), key=lambda key: len(found[key])) if found else 0.0
    return size, found.get(size, [])


def _new_network(seen: Sequence[InputView], pixel_size: float, request: TrainRequest) -> Autoencoder:
    """Return an untrained network that has the grey levels of the clean micrographs."""
    torch.manual_seed(request.config.seed)
    network = Autoencoder(int(seen[0].values.shape[0]), request.config.width)
    for channel in range(len(network.level)):
        values = torch.cat([one.values[channel][one.inside] for one in seen])
        network.level[channel], network.deviation[channel] = robust_scale(values)
    network.pixel_size.fill_(pixel_size)
    return network.to(request.device)


def _clean_image(network: Autoencoder, seen: InputView, texture_weight: bool) -> CleanImage:
    values, weights = autoencoder.scale(network, seen), seen.inside.float()
    if texture_weight:
        weights = weights * torch.from_numpy(low_texture_weights(values[0].numpy(), seen.stride))
    return CleanImage(values, weights)


def _calibrated(
    network: Autoencoder, left_out: Sequence[InputView], view: ViewConfig, request: TrainRequest
) -> AutoencoderDetector:
    """Return the detector that compares cells with those of clean micrographs that were left out of the training."""
    found = [autoencoder.residual_features(network, one) for one in left_out]
    rim = network.rim(left_out[0].stride)
    interior = [
        np.where(autoencoder.interior_cells(one.border_share > 0, rim)[..., None], one.values, np.nan) for one in found
    ]
    fitted = fit_one_class(dict(enumerate(interior)), found[0].sampling)
    if fitted is None:
        raise SettingsError("--clean", "the micrographs are too small, or are mostly border", "name other micrographs")
    detector = AutoencoderDetector(
        ModelConfig(
            name=request.config.name,
            created=f"{datetime.date.today().isoformat()} by cryoice {VERSION}",
            network=autoencoder.NAME,
            network_options={"channels": len(network.level), "width": request.config.width},
            classes=[GOOD, BAD],
            views=[view],
            stride=left_out[0].stride if view.kind == PIXELS else max(1, round(found[0].sampling)),
            trained_on=request.describe(request.sources.describe(), backgrounds=False),
        ),
        network,
        fitted,
        Tail.of(left_out_distances(interior)),
        request.device,
    )
    network.highest.fill_(float(np.nanmax([detector.score(detector.map_of(one)) for one in found])))
    return detector
