# SPDX-License-Identifier: GPL-3.0-or-later
"""The refinement head: the layer that reads the features of a cell and its outlier features."""

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from cryoice_scipion.constants import CLASSES
from cryoice_scipion.core.detectors.unet import UNet
from cryoice_scipion.core.training.patches.fit import bad_log_odds
from cryoice_scipion.core.training.unet.refinement_head import fit_refinement_head
from cryoice_scipion.core.training.unet.training_micrographs import TrainingMicrograph
from cryoice_scipion.core.views.micrograph import SPECTRAL_FEATURES
from cryoice_scipion.core.views.patch_spectrum import local_view

CONTAMINATION = CLASSES.index("contamination")


def field(seed, side=512):
    """Noise, with one small place that varies more than the rest."""
    rng = np.random.default_rng(seed)
    view = rng.normal(size=(side, side))
    row, column = rng.integers(8, side // 8 - 12, 2)
    view[row * 8 : row * 8 + 32, column * 8 : column * 8 + 32] *= 3.0
    labels = np.zeros((side // 8, side // 8), np.uint8)
    labels[row : row + 4, column : column + 4] = CONTAMINATION
    spectrum = np.full((len(SPECTRAL_FEATURES), side // 16, side // 16), np.nan, np.float16)
    return TrainingMicrograph(f"m{seed}", view.astype(np.float16), spectrum, labels)


def test_a_network_that_knows_nothing_finds_small_places_that_stand_out_by_this_layer_alone():
    torch.manual_seed(0)
    body = UNet(2, width=4).eval()
    before = {key: value.clone() for key, value in body.state_dict().items()}
    fields = {str(seed): field(seed) for seed in range(4)}
    network = fit_refinement_head(body, fields, dict.fromkeys(fields, 2), ["good", "contamination"], 0, "cpu", False)
    new = field(9)
    scaled = torch.from_numpy(new.view.astype(np.float32))
    with torch.inference_mode():
        context = torch.stack([scaled, local_view(scaled)])
        features = network.map(context, torch.from_numpy(new.spectrum.astype(np.float32)), new.labels.shape)
        logits = network.classify(features).flatten(1).T
    odds = bad_log_odds(logits).numpy()
    assert roc_auc_score(new.labels.ravel() == CONTAMINATION, odds) > 0.95
    assert (odds[new.labels.ravel() == 0] > 0).mean() < 0.05
    kept = network.state_dict()
    assert all(torch.equal(kept[key], value) for key, value in before.items() if not key.startswith("head."))
