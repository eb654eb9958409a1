# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind ``autoencoder`` without a training: rim, interior, scaling, and how residuals become a map."""

import numpy as np
import pytest
import torch

from cryoice_scipion.core.config import ModelConfig, TrainConfig, ViewConfig
from cryoice_scipion.core.detectors import autoencoder
from cryoice_scipion.core.detectors.autoencoder import AutoencoderDetector, interior_cells, residual_features
from cryoice_scipion.core.detectors.autoencoder_network import Autoencoder
from cryoice_scipion.core.detectors.one_class import left_out_distances
from cryoice_scipion.core.detectors.one_class_fit import fit_one_class
from cryoice_scipion.core.detectors.tail import Tail
from cryoice_scipion.core.errors import PixelSizeError, SettingsError

VIEW = ViewConfig(kind="pixels", sampling=8.0, window=None)
SIDE = 20 * 8  # px of 8 Å: ten cells
NOWHERE = np.zeros((SIDE, SIDE), bool)


@pytest.fixture(scope="module", autouse=True)
def seeded():
    torch.manual_seed(0)


def noise(seed, factor=1.0):
    return (factor * np.random.default_rng(seed).normal(0, 1, (SIDE, SIDE))).astype(np.float32)


@pytest.fixture(scope="module")
def detector():
    """A network of random weights, with what is usual of its residuals on white noise."""
    network = Autoencoder(width=4)
    network.pixel_size.fill_(8.0)
    found = [residual_features(network, autoencoder.input_view(noise(seed), 8.0, NOWHERE, VIEW)) for seed in range(8)]
    values = [np.where(interior_cells(one.border_share > 0, 1)[..., None], one.values, np.nan) for one in found]
    config = ModelConfig(name="random", network="autoencoder", views=[VIEW], stride=16, network_options={"width": 4})
    detector = AutoencoderDetector(
        config, network, fit_one_class(dict(enumerate(values)), 128.0), Tail.of(left_out_distances(values))
    )
    network.highest.fill_(max(detector.score(detector.map_of(one)) for one in found))
    return detector


def test_residuals_depend_on_nothing_beyond_the_reach():
    network = Autoencoder(width=4).double().eval()
    image = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 1, 96, 96)))
    before = network.residuals(image)
    farthest = 0
    for position in range(44, 52):
        changed = image.clone()
        changed[0, 0, position, position] += 5
        places = (network.residuals(changed) != before).any(dim=1)[0].nonzero()
        farthest = max(farthest, int((places - position).abs().max()))
    assert farthest == network.reach
    assert network.rim(16) == 1 and network.rim(8) == 2


def test_features_are_reconstructed_cell_by_cell():
    network = Autoencoder(5, width=4).eval()
    cells = torch.randn(1, 5, 6, 7)
    changed = cells.clone()
    changed[..., 2, 3] += 1
    places = (network.residuals(changed) != network.residuals(cells)).nonzero()
    assert network.reach == 0 and places.tolist() == [[0, 0, 2, 3]]


def test_images_of_any_size_are_reconstructed():
    assert Autoencoder(width=4)(torch.zeros(2, 1, 13, 22)).shape == (2, 1, 13, 22)


def test_interior_cells_are_away_from_the_border_and_the_edge():
    border = np.zeros((7, 8), bool)
    border[3, 6] = True
    expected = np.zeros((7, 8), bool)
    expected[1:-1, 1:5] = True
    expected[1, 1:-1] = expected[5, 1:-1] = True
    assert (interior_cells(border, 1) == expected).all()
    assert (interior_cells(border, 0) == ~border).all()
    assert (interior_cells(border, 4) == ~border).all()  # none would be left


def test_the_residual_of_a_cell_leaves_out_the_border(detector):
    image, border = noise(20), NOWHERE.copy()
    border[:, :24] = True  # one cell and a half
    image[border] = 50
    found = detector.features(image, 8.0, border)
    assert np.isnan(found.values[:, 0]).all() and np.isfinite(found.values[:, 1:]).all()
    assert found.border_share[0, :3].tolist() == [1, 0.5, 0]
    filled = detector.features(np.where(border, np.flip(noise(20), 1), noise(20)), 8.0, NOWHERE)
    assert found.values[:, 5:] == pytest.approx(filled.values[:, 5:])
    assert detector.map(image, 8.0, border).checked("m").border[:, 0].all()


@pytest.mark.parametrize("factor", [0.2, 3.0])
def test_residuals_that_are_too_small_or_too_large_are_bad(detector, factor):
    usual = [detector.map(noise(seed), 8.0, NOWHERE) for seed in range(30, 34)]
    assert np.mean([classmap.log_odds > 0 for classmap in usual]) < 0.02
    strange = detector.map(noise(40, factor), 8.0, NOWHERE)
    assert (strange.log_odds > 3).all() and np.isnan(strange.median_logit)
    assert detector.score(strange) > max(map(detector.score, usual)) + 3


def test_a_part_of_a_micrograph_is_bad_where_it_is_smooth(detector):
    image = noise(41)
    image[:, : SIDE // 2] *= 0.2
    odds = detector.map(image, 8.0, NOWHERE).log_odds
    assert (odds[:, :4] > 0).all() and (odds[:, 6:] < 0).mean() > 0.95


def test_only_a_score_above_that_of_clean_micrographs_is_a_flag(detector):
    assert detector.map(noise(0), 8.0, NOWHERE).flags == []
    (flag,) = detector.map(noise(40, 3.0), 8.0, NOWHERE).flags
    assert flag.startswith("residual_score=")


def test_the_score_does_not_count_the_rim(detector):
    odds = np.zeros((2, 10, 10), np.float32)
    odds[1] = 7
    odds[1, 1:-1, 1:-1] = np.arange(64).reshape(8, 8) / 10
    classmap = detector.map(noise(0), 8.0, NOWHERE)
    classmap.logits = odds
    assert detector.score(classmap) == pytest.approx(0.95 * 6.3)
    classmap.border[:] = True
    assert np.isnan(detector.score(classmap))


def test_another_pixel_size_is_refused(detector):
    with pytest.raises(PixelSizeError, match="autoencoder model: 7 Å/px is not the pixel size"):
        detector.map(noise(0), 7.0, NOWHERE)


def test_grey_levels_are_scaled_by_the_clean_micrographs_and_clipped():
    network = Autoencoder()
    network.level[0], network.deviation[0] = 100, 5
    seen = autoencoder.InputView(torch.tensor([[[100.0, 105.0, 9000.0]]]), torch.ones(1, 3, dtype=torch.bool), 16, 128)
    assert autoencoder.scale(network, seen).flatten().tolist() == [0, 1, 10]


def test_one_view_is_taken():
    def views(*names):
        return autoencoder.views_for(TrainConfig(views=list(names)) if names else TrainConfig(), None, 16.0)

    assert (
        [(view.kind, view.sampling) for view in views()]
        == [("pixels", 16.0)]
        == [(view.kind, view.sampling) for view in views("pixels")]
    )
    assert [view.kind for view in views("features")] == ["features"]
    with pytest.raises(SettingsError, match="takes one view"):
        views("pixels", "features")
    with pytest.raises(SettingsError, match="the autoencoder network has pixels, features"):
        views("fft")
