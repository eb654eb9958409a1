# SPDX-License-Identifier: GPL-3.0-or-later
"""A new kind of detector is one module: it is registered, and then trained, stored, loaded and screened with."""

import json
import sys

import mrcfile
import numpy as np
import pandas as pd
import pytest

from cryoice_scipion import core as cryoice
from cryoice_scipion.core.cli import build_parser, main
from cryoice_scipion.core.detectors import kinds
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.errors import ModelError
from cryoice_scipion.core.formats.coordinates import write_star
from cryoice_scipion.core.images.writing import read_map

# A kind with a trainer of its own: it learns a grey value between the good and the bad coordinates.
GREY = """
import dataclasses
import numpy as np
from cryoice_scipion.core.config import ModelConfig, ViewConfig
from cryoice_scipion.core.detectors import kinds
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.detectors.model_folder import write_sums
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.training.trainers import Result

kinds.register(
    kinds.Kind("toy", __name__, "calls dark areas bad", trainer=__name__ + ":train", views=("grey",), has_weights=False)
)
CELL = 40.0

def cells(image, pixel_size):
    step = round(CELL / pixel_size)
    rows, columns = (size // step for size in image.shape)
    return image[: rows * step, : columns * step].reshape(rows, step, columns, step).mean(axis=(1, 3))

class Toy:
    def __init__(self, config):
        self.config = config

    def map(self, image, pixel_size, border, inverted):
        odds = self.config.network_options["grey"] - cells(image, pixel_size)
        logits = np.stack([np.zeros_like(odds), odds]).astype(np.float32)
        return ClassMap(logits, np.zeros(odds.shape, bool), ["good", "bad"], CELL, 0.0)

def load(folder, config, device):
    return Toy(config)

def train(request):
    found = {"good": [], "bad": []}
    for item in request.sources.labelled(request.config.seed):
        loaded = load_micrograph(item.path, item.pixel_size)
        mean = cells(loaded.image, loaded.pixel_size)
        for x, y, label in item.points[["x", "y", "label"]].itertuples(index=False):
            row, column = (int(value * loaded.pixel_size / CELL) for value in (y, x))
            found[label].append(mean[row, column])
    grey = round((np.mean(found["good"]) + np.mean(found["bad"])) / 2)
    config = ModelConfig(
        name=request.config.name, network="toy", network_options={"grey": grey}, classes=["good", "bad"],
        views=[ViewConfig(kind="grey", sampling=CELL, window=None)], stride=1,
        trained_on=request.describe(request.sources.describe(), backgrounds=False),
    )
    (request.output / "model.json").write_text(config.to_text())
    write_sums(request.output)
    return Result(request.output, config, {}, {}, None)
"""

# A kind without a trainer of its own: a network that the package's trainer fits to labelled patches.
MEAN = """
import torch
from cryoice_scipion.core.config import ViewConfig
from cryoice_scipion.core.detectors import kinds
from cryoice_scipion.core.detectors.network_detector import Network, load_network

kinds.register(kinds.Kind("toy", __name__, "classifies the mean of a patch", trainer=kinds.PATCH_TRAINER))

class ToyNet(Network):
    views, stride = ("patch",), 16

    def __init__(self, classes, width):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(1, width), torch.nn.ReLU(), torch.nn.Linear(width, classes))

    def forward(self, views):
        return self.layers(views["patch"].mean(dim=(1, 2))[:, None])

    def classify_micrograph(self, seen, views):
        mean = torch.nn.functional.avg_pool2d(seen.scaled[None, None], self.stride, ceil_mode=True)[0, 0]
        return self.layers(mean[:, :, None]).permute(2, 0, 1), {}

def build(classes, views, options):
    return ToyNet(classes, **options)

def views_for(config, base, sampling):
    return [ViewConfig(kind="patch", sampling=sampling)]

def load(folder, config, device):
    return load_network(build, folder, config, device)
"""


@pytest.fixture(params=[GREY, MEAN], ids=["own trainer", "shared trainer"])
def toy(request, tmp_path, monkeypatch):
    """Import the module of a toy kind, which registers itself."""
    (tmp_path / "toy_detector.py").write_text(request.param)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(kinds.KINDS, "toy", None)  # so that it is removed at the end
    __import__("toy_detector")
    yield
    sys.modules.pop("toy_detector")


@pytest.fixture
def labelled(tmp_path):
    """Two micrographs with a dark left half, where the bad coordinates lie; return the options that name them."""
    rng = np.random.default_rng(0)
    rows = {"good": [], "bad": []}
    for name in ("m0.mrc", "m1.mrc"):
        pixels = rng.normal(100, 10, (400, 640)).astype(np.float32)
        pixels[:, :320] -= 40
        with mrcfile.new(tmp_path / name) as mrc:
            mrc.set_data(pixels)
            mrc.voxel_size = 4.0
        for label, left in (("bad", 40), ("good", 360)):
            rows[label] += [(name, rng.integers(left, left + 240), rng.integers(40, 360)) for _ in range(20)]
    for label, positions in rows.items():
        names = ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"]
        write_star(tmp_path / f"{label}.star", pd.DataFrame(positions, columns=names))
    micrographs = [str(tmp_path / name) for name in ("m0.mrc", "m1.mrc")]
    return ["--good", str(tmp_path / "good.star"), "--bad", str(tmp_path / "bad.star"), "--micrographs", *micrographs]


def test_a_toy_kind_is_trained_stored_loaded_and_screened_with(toy, labelled, tmp_path, capsys):
    model, output = tmp_path / "model", tmp_path / "output"
    words = ["train", "--network", "toy", *labelled, "--output", str(model), "--device", "cpu", "--epochs", "20"]
    options = ["--no-background", "--jitter-copies", "0", "--learning-rate", "0.05", "--batch", "16"]
    assert main([*words, *options]) == 0
    assert load_config(model).network == "toy"
    assert f"model in {model}" in capsys.readouterr().out
    assert type(load_detector(model)).__name__ in ("Toy", "NetworkDetector")
    words = ["screen", str(tmp_path / "m0.mrc"), "--output", str(output), "--model", str(model), "--device", "cpu"]
    assert main([*words, "--contrast", "dark", "--reference", "0"]) == 0
    mask = read_map(output / "masks" / "m0.mrc")[0]
    half = mask.shape[1] // 2
    assert not mask[:, : half - 4].any() and mask[:, half + 4 :].all()
    assert json.loads((output / "summary.json").read_text())["areas"]["bad"] == pytest.approx(0.5, abs=0.1)
    with mrcfile.open(tmp_path / "m1.mrc") as mrc:
        result = cryoice.load(model, "cpu").screen(np.array(mrc.data), 4.0, [[100, 200], [540, 200]], 60.0)
    assert (result.coordinate_classes, result.kept.tolist()) == (["bad", "good"], [False, True])


def test_the_command_line_offers_the_kinds_of_the_table(toy, capsys):
    with pytest.raises(SystemExit):
        build_parser(["train"]).parse_args(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--network {patch_fft,patch_spectrum,unet,one_class,autoencoder,resnet,toy}" in text
    assert f"toy: {kinds.KINDS['toy'].help}" in text


def test_a_kind_that_is_missing_or_not_trained_is_one_line(labelled, tmp_path, capsys):
    (tmp_path / "settings.json").write_text('{"network": "forest"}')
    words = ["train", *labelled, "--output", str(tmp_path / "model"), "--config", str(tmp_path / "settings.json")]
    assert main(words) == 2
    assert "there is no network forest to train; give one of patch_fft, patch_spectrum, unet, one_class" in (
        capsys.readouterr().err
    )
    with pytest.raises(ModelError, match="needs the network 'forest'"):
        kinds.kind_of("forest", "model")


@pytest.mark.parametrize("name", ["default", "spots"])
def test_the_shipped_models_list_the_views_that_their_kind_takes(name):
    from cryoice_scipion.core.detectors.unet import VIEWS
    from cryoice_scipion.core.views.spots import SCALES

    views = load_config(resolve_model(name)).views
    if name == "default":
        assert views == list(VIEWS)
    else:
        assert [(view.kind, view.sampling * view.window) for view in views] == [("spots", scale) for scale in SCALES]
