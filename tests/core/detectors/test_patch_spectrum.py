# SPDX-License-Identifier: GPL-3.0-or-later
"""The patch + spectrum network: its map is what it says of places, with spectra and without."""

import numpy as np
import pytest
import torch

from cryoice_scipion.core.config import ModelConfig, ViewConfig
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import write_sums
from cryoice_scipion.core.detectors.network_detector import NetworkDetector, save_weights
from cryoice_scipion.core.detectors.patch_spectrum import VIEWS, PatchSpectrumNet
from cryoice_scipion.core.errors import ModelError, PixelSizeError
from cryoice_scipion.core.views.patch_spectrum import MicrographViews
from cryoice_scipion.core.views.patches import grid_shape
from cryoice_scipion.core.views.spectrum import Spectra
from cryoice_scipion.core.views.spectrum_features import FEATURES

EVERY = ("patch", "local", "coarse", "fft", "spectrum")


def random_network(views=VIEWS):
    """A network whose normalisations have seen something, so that evaluation mode matters."""
    torch.manual_seed(0)
    network = PatchSpectrumNet(3, views, width=4)
    batch = {
        "patch": torch.randn(16, 64, 64) * 1.5 + 0.3,
        "local": torch.randn(16, 64, 64),
        "coarse": torch.randn(16, 2, 64, 64),
        "spectrum": torch.randn(16, len(FEATURES)) + 0.5,
    }
    network.measure(batch)
    network.train()(batch)
    return network.eval()


def detector_of(views=VIEWS, required=False):
    kinds = [ViewConfig(kind=kind, required=kind != "spectrum" or required) for kind in views]
    config = ModelConfig(
        name="t",
        network="patch_spectrum",
        network_options={"width": 4},
        views=kinds,
        classes=["good", "crystalline", "thick"],
    )
    return NetworkDetector(config, random_network(views), torch.device("cpu"))


@pytest.mark.parametrize("views", [EVERY, ("patch", "local"), ("coarse",), ("spectrum",), VIEWS])
@pytest.mark.parametrize("shape", [(400, 520), (600, 300)])
def test_fast_map_equals_place_by_place(views, shape):
    """At every cell whose surroundings are not mirrored: there the order of mirroring and cutting shows."""
    network = random_network(views)
    scaled = torch.randn(*shape, generator=torch.Generator().manual_seed(3))
    native = torch.randn(shape[0] * 2, shape[1] * 2, generator=torch.Generator().manual_seed(4))  # 2 Å/px
    cells = grid_shape(shape, 16)
    seen = MicrographViews(scaled, Spectra(native, 2.0, shape=cells))
    places = [(row, column) for row in range(cells[0] - 2) for column in range(row % 4, cells[1] - 2, 4)]
    centres = torch.tensor([[column * 16 + 8.0, row * 16 + 8.0] for row, column in places])
    with torch.inference_mode():
        fast = network.map(seen.padded(), cells, strip=5)
        slow = network(seen.cut(centres, centres * 2))
    assert fast.shape == (3, *cells)
    there = torch.stack([fast[:, row, column] for row, column in places])
    wide = 7 if "coarse" in views else 0  # cells that a coarse window reaches over an edge of the grid
    inner = torch.tensor([row < cells[0] - 1 - wide and column < cells[1] - 1 - wide for row, column in places])
    assert int(inner.sum()) > 50
    assert (there - slow)[inner].abs().max() < 1e-4


@pytest.mark.parametrize("size", [(333, 401), (1200, 900)])
@pytest.mark.parametrize("pixel_size", [0.6, 1.0, 1.31, 3.5])
def test_any_size_and_pixel_size_can_be_mapped(size, pixel_size):
    image = np.random.default_rng(0).normal(size=size).astype(np.float32)
    result = detector_of().map(image, pixel_size, np.zeros(size, dtype=bool))
    assert result.logits.shape[1:] == tuple(int(np.ceil(n * pixel_size / 64)) for n in size)
    assert np.isfinite(result.logits).all()
    assert result.flags == (["no_fft"] if pixel_size > 1.72 else [])


def test_a_model_that_needs_spectra_refuses_what_has_none():
    image = np.random.default_rng(0).normal(size=(400, 400)).astype(np.float32)
    border = np.zeros(image.shape, dtype=bool)
    assert detector_of(required=True).map(image, 1.2, border).flags == []
    with pytest.raises(PixelSizeError, match=r"3\.67 Å ring"):
        detector_of(required=True).map(image, 2.5, border)


def test_unknown_features_count_as_average_and_are_told():
    network = random_network(("spectrum",))
    known = network.spectral.centre[None].clone()
    unknown = torch.full_like(known, torch.nan)
    assert torch.isfinite(network({"spectrum": unknown})).all()
    assert not torch.allclose(network({"spectrum": unknown}), network({"spectrum": known}))


def test_model_folder_round_trip(tmp_path):
    detector = detector_of()
    save_weights(detector.network, tmp_path / "weights.safetensors")
    (tmp_path / "model.json").write_text(detector.config.to_text())
    write_sums(tmp_path)
    image = np.random.default_rng(1).normal(size=(500, 420)).astype(np.float32)
    border = np.zeros(image.shape, dtype=bool)
    again = load_detector(tmp_path)
    assert np.array_equal(again.map(image, 1.5, border).logits, detector.map(image, 1.5, border).logits)
    inverted = again.map(-image, 1.5, border, inverted=True)
    assert np.allclose(inverted.logits, detector.map(image, 1.5, border).logits, atol=1e-3)
    (tmp_path / "model.json").write_text(detector.config.to_text().replace("patch_spectrum", "patch_fft"))
    write_sums(tmp_path)
    with pytest.raises(ModelError, match="does not fit"):
        load_detector(tmp_path)
