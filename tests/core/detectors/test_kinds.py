# SPDX-License-Identifier: GPL-3.0-or-later
"""A new kind of detector is one module: it is registered, and all programs use it."""

import json
import sys

import numpy as np
import pytest
from noise import write_noise

from cryoice_scipion import core as cryoice
from cryoice_scipion.core.cli import main
from cryoice_scipion.core.config import ModelConfig, ViewConfig
from cryoice_scipion.core.detectors import kinds
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import MODEL_JSON, write_sums
from cryoice_scipion.core.errors import ModelError
from cryoice_scipion.core.images.writing import read_map

MODULE = '''
import numpy as np
from cryoice_scipion.core.detectors.class_map import ClassMap

class Toy:
    """Everything on the left is support."""
    def __init__(self, config):
        self.config = config

    def map(self, image, pixel_size, border, inverted):
        cells = [int(np.ceil(side * pixel_size / 40.0)) for side in image.shape]
        logits = np.zeros((2, *cells), np.float32)
        logits[1] = -9
        logits[1, :, : cells[1] // 2] = 9
        return ClassMap(logits, np.zeros(cells, bool), ["good", "support"], 40.0, 0.0)

def load(folder, config, device):
    return Toy(config)
'''


@pytest.fixture
def model(tmp_path, monkeypatch):
    (tmp_path / "toy_detector.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(kinds.KINDS, "toy", None)
    kinds.register(kinds.Kind("toy", "toy_detector", has_weights=False))
    folder = tmp_path / "model"
    folder.mkdir()
    config = ModelConfig(name="toy", network="toy", classes=["good", "support"], views=[ViewConfig()])
    (folder / MODEL_JSON).write_text(config.to_text())
    write_sums(folder)
    yield folder
    sys.modules.pop("toy_detector", None)


def test_a_toy_kind_screens_from_the_command_line_and_from_python(model, tmp_path):
    write_noise(tmp_path / "mic.mrc", 0)
    words = ["screen", tmp_path / "mic.mrc", "--output", tmp_path / "o", "--model", model, "--device", "cpu"]
    assert main([str(word) for word in words]) == 0
    mask = read_map(tmp_path / "o" / "masks" / "mic.mrc")[0]
    half = mask.shape[1] // 2
    assert not mask[:, :half].any() and mask[:, half:].all()
    areas = json.loads((tmp_path / "o" / "summary.json").read_text())["areas"]
    assert areas["support"] == pytest.approx(half / mask.shape[1], abs=1e-5)
    image = np.random.default_rng(0).normal(size=(100, 200))
    result = cryoice.load(model, "cpu").screen(image, 4.0, [[10, 50], [190, 50]], 60.0)
    assert (result.coordinate_classes, result.kept.tolist()) == (["support", "good"], [False, True])


def test_an_unknown_kind_is_named(model):
    del kinds.KINDS["toy"]
    write_sums(model)
    with pytest.raises(ModelError, match="does not list|needs the network 'toy'"):
        load_detector(model)
