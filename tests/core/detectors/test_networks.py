# SPDX-License-Identifier: GPL-3.0-or-later
"""The map of a micrograph is what the network says of its patches, whichever way it is computed."""

import json

import numpy as np
import pytest
import torch

from cryoice_scipion.core.config import ModelConfig, ViewConfig
from cryoice_scipion.core.detectors.loading import build_network, load_detector
from cryoice_scipion.core.detectors.model_folder import fingerprint, load_config, resolve_model, write_sums
from cryoice_scipion.core.detectors.network_detector import NetworkDetector, save_weights, within_memory
from cryoice_scipion.core.detectors.patch_fft import PatchFftNet
from cryoice_scipion.core.errors import ModelError, PixelSizeError, WorkerError
from cryoice_scipion.core.views import patches
from cryoice_scipion.core.views.micrograph import contrast_cells, fill_border, skewness
from cryoice_scipion.core.views.patches import cut, grid_shape, normalise, pad_for_grid
from cryoice_scipion.core.views.resample import resample

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def random_network(views=("patch", "fft"), classes=3):
    """A network whose batch norm has seen something, so that evaluation mode matters."""
    torch.manual_seed(0)
    network = PatchFftNet(classes, views, width=4)
    network.train()(torch.randn(16, 64, 64) * 1.5 + 0.3)
    return network.eval()


def model_of(network, views=("patch", "fft"), **values):
    config = ModelConfig(
        name="test", network_options={"width": 4}, classes=["good", "thick", "bad"],
        views=[ViewConfig(kind=kind) for kind in views], **values,
    )  # fmt: skip
    return config, network


def save_model(folder, **values):
    folder.mkdir()
    config, network = model_of(random_network(), **values)
    save_weights(network, folder / "weights.safetensors")
    (folder / "model.json").write_text(config.to_text())
    write_sums(folder)
    return folder


@pytest.mark.parametrize("views", [("patch", "fft"), ("patch",), ("fft",)])
@pytest.mark.parametrize("shape", [(64, 64), (200, 330), (515, 300)])
def test_fast_map_equals_patch_by_patch(views, shape):
    network = random_network(views)
    view = torch.randn(*shape, generator=torch.Generator().manual_seed(3))
    rows, columns = grid_shape(shape, 16)
    centres = torch.tensor([[j * 16 + 8.0, i * 16 + 8.0] for i in range(rows) for j in range(columns)])
    with torch.inference_mode():
        fast = network.map(pad_for_grid(view, 64, 16), (rows, columns), strip=5)
        # Patches are cut from the image padded as for the grid: at the far edges mirrors of other sizes differ.
        padded = pad_for_grid(view, 64, 16)
        slow = network(cut(padded, centres + 24, 64)).T.reshape(3, rows, columns)
    assert (fast - slow).abs().max() < 1e-5


@pytest.mark.gpu
@gpu
def test_map_on_cuda_equals_map_on_cpu():
    image = np.random.default_rng(0).normal(size=(700, 500)).astype(np.float32)
    border = np.zeros(image.shape, dtype=bool)
    maps = [
        NetworkDetector(*model_of(random_network()), torch.device(name)).map(image, 2.0, border)
        for name in ("cpu", "cuda:0")
    ]
    assert np.abs(maps[0].logits - maps[1].logits).max() < 1e-3


def test_detector_maps_cells_that_hold_the_coordinates(tmp_path):
    """The logits of a cell are those of the patch around the cell's centre in the micrograph."""
    detector = load_detector(save_model(tmp_path / "m", temperature=2.0))
    image = np.random.default_rng(1).normal(size=(800, 1100)).astype(np.float32)
    result = detector.map(image, 1.6, np.zeros(image.shape, dtype=bool))
    assert result.sampling == 64.0
    assert result.logits.shape == (3, 20, 28)  # 1280 and 1760 Å in cells of 64 Å, rounded up
    view = normalise(resample(torch.from_numpy(image), 1.6, 4.0))
    with torch.inference_mode():
        expected = detector.network(cut(view, torch.tensor([[9 * 16 + 8.0, 7 * 16 + 8.0]]), 64))[0] / 2.0
    assert np.allclose(result.logits[:, 7, 9], expected.numpy(), atol=1e-4)


def test_inverted_contrast_gives_the_map_of_the_inverted_image(tmp_path):
    detector = load_detector(save_model(tmp_path / "m"))
    image = np.random.default_rng(1).normal(size=(400, 400)).astype(np.float32) ** 3
    border = np.zeros(image.shape, dtype=bool)
    there, back = detector.map(image, 3.0, border, True), detector.map(-image, 3.0, border, False)
    assert np.allclose(there.logits, back.logits, atol=1e-3)
    assert there.skewness == pytest.approx(-back.skewness, abs=1e-6)


def test_skewness_tells_dark_objects(tmp_path):
    detector = load_detector(save_model(tmp_path / "m"))
    image = np.random.default_rng(1).normal(size=(600, 600)).astype(np.float32)
    for y, x in np.random.default_rng(2).integers(0, 560, size=(30, 2)):
        image[y : y + 30, x : x + 30] -= 3.0
    border = np.zeros(image.shape, dtype=bool)
    assert detector.map(image, 4.0, border).skewness < -0.5
    image[:, :150] += 6.0  # vacuum: brighter than ice, and no object
    assert detector.map(image, 4.0, border).skewness < 0


def test_skewness_is_of_what_there_is_not_of_how_finely_it_is_seen():
    """Objects of 120 Å beside a wide band of vacuum, seen at 4 and at 1 Å/px."""
    image = np.random.default_rng(1).normal(size=(600, 600)).astype(np.float32)
    for y, x in np.random.default_rng(2).integers(0, 560, size=(30, 2)):
        image[y : y + 30, x : x + 30] -= 3.0
    image[:, :150] += 6.0
    finer = np.kron(image, np.ones((4, 4), dtype=np.float32))
    there, here = (
        skewness(contrast_cells(torch.from_numpy(view), sampling).numpy(), np.ones(view.shape, dtype=bool), sampling)
        for view, sampling in ((image, 4.0), (finer, 1.0))
    )
    assert there < 0
    assert here == pytest.approx(there, abs=1e-3)


def test_border_is_filled_with_image_and_marked_in_the_map(tmp_path):
    image = np.random.default_rng(1).normal(size=(640, 640)).astype(np.float32)
    border = np.zeros(image.shape, dtype=bool)
    border[:100] = True
    image[:100] = 500.0
    filled = fill_border(image, border)
    assert filled[:100].max() < 10
    assert np.array_equal(filled[100:], image[100:])
    result = load_detector(save_model(tmp_path / "m")).map(image, 2.0, border)
    assert result.border[:3].all()  # 100 px of 2 Å: three cells of 64 Å and a bit
    assert not result.border[4:].any()


def test_too_coarse_pixels_are_refused_and_coarse_ones_flagged(tmp_path):
    detector = load_detector(save_model(tmp_path / "m"))
    image = np.random.default_rng(1).normal(size=(100, 100)).astype(np.float32)
    border = np.zeros(image.shape, dtype=bool)
    assert "coarse_pixels" in detector.map(image, 8.0, border).flags
    assert detector.map(image, 4.0, border).flags == []
    with pytest.raises(PixelSizeError, match="too coarse"):
        detector.map(image, 12.0, border)


def test_model_folder_round_trip_and_damage(tmp_path):
    folder = save_model(tmp_path / "m", recommended_threshold=0.37)
    assert load_config(folder).recommended_threshold == 0.37
    before = fingerprint(folder)
    data = bytearray((folder / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(bytes(data))
    with pytest.raises(ModelError, match=r"weights\.safetensors was modified"):
        load_detector(folder)
    write_sums(folder)
    assert fingerprint(folder) != before
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match=r"weights\.safetensors is missing"):
        load_config(folder)


def test_model_of_a_newer_schema_or_an_unknown_network_is_refused(tmp_path):
    folder = save_model(tmp_path / "m")
    values = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**values, "schema_version": 99}))
    write_sums(folder)
    with pytest.raises(ModelError, match="newer version"):
        load_config(folder)
    with pytest.raises(ModelError, match="transformer"):
        build_network(ModelConfig(name="x", network="transformer", views=[ViewConfig()]))


def test_names_that_are_no_model(tmp_path):
    with pytest.raises(ModelError, match="no such model"):
        resolve_model("nothing-here")
    with pytest.raises(ModelError, match=r"model\.json is missing"):
        resolve_model(tmp_path)


@pytest.mark.parametrize("failures", [1, 2, 99])
def test_out_of_memory_halves_the_work_and_goes_on(monkeypatch, failures):
    monkeypatch.setitem(patches._AT_ONCE, "cpu", 4 * patches._FEWEST)
    left = [failures]

    def compute():
        left[0] -= 1
        if left[0] >= 0:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return "result"

    if failures > 2:
        with pytest.raises(WorkerError, match="out of memory"):
            within_memory(compute, torch.device("cpu"))
    else:
        assert within_memory(compute, torch.device("cpu")) == "result"
    assert patches._AT_ONCE["cpu"] == max(1, 4 >> failures) * patches._FEWEST
