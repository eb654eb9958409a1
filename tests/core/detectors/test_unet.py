# SPDX-License-Identifier: GPL-3.0-or-later
"""The U-Net: maps of any shape, with spectra and without, tile by tile as well as at once."""

import numpy as np
import pytest
import torch

from cryoice_scipion.core.config import ModelConfig
from cryoice_scipion.core.detectors import network_detector, unet
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import resolve_model
from cryoice_scipion.core.detectors.network_detector import NetworkDetector
from cryoice_scipion.core.detectors.spectral_branch import SpectralBranch, with_present_features
from cryoice_scipion.core.detectors.unet import VIEWS, UNet, with_texture
from cryoice_scipion.core.simulation.config import SceneConfig
from cryoice_scipion.core.simulation.scene import simulate
from cryoice_scipion.core.training.unet.refinement_head import with_refinement_head
from cryoice_scipion.core.views.micrograph import SPECTRAL_FEATURES as FEATURES
from cryoice_scipion.core.views.outlier_features import CELL
from cryoice_scipion.core.views.texture import texture_features

RELATIVE = {"relative": torch.randn(4, 2, 16, 16, generator=torch.Generator().manual_seed(8))}


def random_network(refined=False):
    """A network whose normalisations have seen something, so that evaluation mode matters."""
    torch.manual_seed(0)
    network = UNet(3, width=4)
    network.spectral.measure(torch.randn(64, len(FEATURES)) + 0.5)
    network.train()(
        {"context": torch.randn(4, 2, 128, 128), "spectrum": torch.randn(4, len(FEATURES), 8, 8), **RELATIVE}
    )
    return (with_refinement_head(network) if refined else network).eval()


def views(rows, columns, seed=1):
    generator = torch.Generator().manual_seed(seed)
    context = torch.randn(2, rows, columns, generator=generator)
    return context, torch.randn(len(FEATURES), -(-rows // 16), -(-columns // 16), generator=generator)


def detector():
    config = ModelConfig(
        name="t", network="unet", network_options={"width": 4}, views=list(VIEWS), stride=8, classes=["good", "a", "b"]
    )
    return NetworkDetector(config, random_network(), torch.device("cpu"))


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (37, 20), (9, 50)])
def test_a_map_has_a_cell_for_every_32_angstroms_begun(shape):
    network = random_network()
    rows, columns = shape[0] * CELL - 3, shape[1] * CELL - 5
    with torch.inference_mode():
        features = network.map(*views(rows, columns), shape)
        logits = network.classify(features)
    assert logits.shape == (3, *shape)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("size", [(1, 3), (50, 128), (90, 257)])
def test_views_are_mirrored_with_their_last_pixel(size):
    view = torch.randn(2, *size)
    wanted = np.pad(view.numpy(), ((0, 0), (0, 128 - size[0]), (0, 384 - size[1])), mode="symmetric")
    assert np.array_equal(unet._filled(view, 128, 384).numpy(), wanted)


def test_what_is_on_one_side_of_a_micrograph_shows_on_that_side():
    network = random_network()
    context, spectrum = views(512, 512)
    changed = context.clone()
    changed[:, :64, -64:] += 3.0
    with torch.inference_mode():
        before, after = (network.classify(network.map(item, spectrum, (64, 64))) for item in (context, changed))
    far, near = (before - after).abs()[:, 40:, :24].max(), (before - after).abs()[:, :8, -8:].max()
    assert near > 5 * far


def test_tiles_agree_with_the_whole(monkeypatch):
    network = random_network()
    context, spectrum = views(1024, 1280)
    with torch.inference_mode():
        whole = network.map(context, spectrum, (128, 160))
        monkeypatch.setattr(unet, "_WHOLE", 512)
        monkeypatch.setattr(unet, "_TILE", 512)
        tiled = network.map(context, spectrum, (128, 160))
    assert tiled.shape == whole.shape
    # A tile sees 2048 Å around it; what comes from farther away is next to nothing.
    assert (tiled - whole).abs().max() < 0.05 * whole.std()


def test_unknown_spectra_are_told_apart_and_leave_a_map():
    network = random_network()
    context, spectrum = views(128, 128)
    with torch.inference_mode():
        known, unknown = (
            network.map(context, item, (16, 16)) for item in (spectrum, torch.full_like(spectrum, torch.nan))
        )
    assert torch.isfinite(unknown).all()
    assert not torch.allclose(known, unknown)


def test_a_cell_is_classified_alike_alone_and_in_its_map():
    network = random_network()
    with torch.inference_mode():
        features = network.map(*views(128, 160), (16, 20))
        alone = network({"embedding": features[:, 3, 7][None]})[0]
        assert torch.allclose(alone, network.classify(features)[:, 3, 7], atol=1e-5)


@pytest.mark.parametrize(("pixel_size", "flagged"), [(1.5, False), (4.0, True)])
def test_the_detector_maps_micrographs_with_and_without_the_rings_of_ice(pixel_size, flagged):
    image = np.random.default_rng(0).normal(size=(300, 420)).astype(np.float32)
    found = detector().map(image, pixel_size, np.zeros(image.shape, bool), False)
    rows, columns = (int(np.ceil(size * pixel_size / 32 - 1e-6)) for size in image.shape)
    assert found.logits.shape == (3, rows, columns)
    assert found.border.shape == (rows, columns)
    assert found.sampling == 32.0
    assert ("no_fft" in found.flags) == flagged
    assert np.isfinite(found.logits).all()


@pytest.mark.parametrize(("side", "pixel_size"), [(960, 1.6), (640, 1.1), (256, 1.0), (301, 0.73)])
def test_pixel_sizes_as_a_header_rounds_them(side, pixel_size):
    """Where the field ends on the edge of a cell, views that round differently must still fit together."""
    image = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    found = detector().map(image, float(np.float32(pixel_size)), np.zeros(image.shape, bool), False)
    assert np.isfinite(found.logits).all()


def test_half_precision_hardly_changes_the_map_of_the_shipped_model(monkeypatch):
    rng = np.random.default_rng(3)
    image = simulate(SceneConfig.random(rng, 700, 800, 1.5), rng).pixels
    border = np.zeros(image.shape, dtype=bool)
    monkeypatch.setattr(network_detector, "multiplies_bfloat16", lambda: False)
    whole = load_detector(resolve_model("default"), "cpu")
    monkeypatch.setattr(network_detector, "multiplies_bfloat16", lambda: True)
    half = load_detector(resolve_model("default"), "cpu")
    one, other = (torch.from_numpy(found.map(image, 1.5, border, False).logits).softmax(0) for found in (whole, half))
    difference = (one - other).abs()
    assert 0 < difference.mean() < 1e-3
    assert difference.max() < 0.03


@pytest.mark.gpu
def test_maps_are_the_same_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    network = random_network()
    context, spectrum = views(256, 384)
    with torch.inference_mode():
        here = network.classify(network.map(context, spectrum, (32, 48)))
        network = network.to("cuda")
        there = network.classify(network.map(context.to("cuda"), spectrum.to("cuda"), (32, 48))).cpu()
    assert torch.allclose(here, there, atol=2e-2)


@pytest.mark.parametrize("refined", [False, True])
def test_a_last_layer_that_reads_the_texture_starts_as_the_one_without(refined):
    network, shape = random_network(refined), (32, 40)
    wider = with_texture(network)
    context, spectrum = views(shape[0] * CELL - 3, shape[1] * CELL)
    with torch.inference_mode():
        before, features = network.map(context, spectrum, shape), wider.map(context, spectrum, shape)
        assert torch.equal(features[: len(before)], before)
        assert torch.equal(features[len(before) :], texture_features(context[0]))
        assert torch.allclose(wider.classify(features), network.classify(before), atol=1e-5)
    assert with_texture(wider) is wider


@pytest.mark.parametrize("spots", [0, 3])
def test_weights_of_earlier_versions_lose_the_features_that_are_unknown_everywhere(spots):
    """Before: 31 bands and 12 rings; now the first 23 and 7 of them. A U-Net also had three scales of the spot test."""
    old = 2 * 31 + 2 * 12 + spots
    kept = [*range(23), *range(31, 54), *range(62, 69), *range(74, 81), *([86, 88] if spots else [])]
    assert not spots or len(kept) == len(FEATURES)
    before, now = SpectralBranch(old, 8).eval(), SpectralBranch(len(kept), 8).eval()
    before.measure(torch.randn(100, old) * 3 + 1)
    state = {f"spectral.{name}": value for name, value in before.state_dict().items()}
    state["head.bias"] = torch.zeros(3)
    converted = with_present_features(state)
    now.load_state_dict({name[9:]: value for name, value in converted.items() if name.startswith("spectral.")})
    assert set(converted) == set(state)
    assert with_present_features(converted) is converted
    features = torch.full((1, old, 4, 5), torch.nan)
    features[:, kept] = torch.randn(1, len(kept), 4, 5)
    assert torch.allclose(before(features), now(features[:, kept]), atol=1e-5)
