# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice train --one-class --clean DIR``, and screening with the model."""

import mrcfile
import numpy as np
import pytest
from numpy.random import default_rng

from cryoice_scipion.core.cli import main
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.errors import ModelError, PixelSizeError

PIXEL = 4.0  # Å/px: cells of 32 px
SIDE = 320


def pixels(seed, level=100.0):
    rng = default_rng(seed)
    return rng.normal(level + rng.normal(0, 0.5), 10 * np.exp(rng.normal(0, 0.02)), (SIDE, SIDE)).astype(np.float32)


def write(path, image):
    with mrcfile.new(str(path), overwrite=True) as mrc:
        mrc.set_data(image)
        mrc.voxel_size = PIXEL
    return path


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean")
    for seed in range(8):
        write(folder / f"m{seed}.mrc", pixels(seed))
    return folder


@pytest.fixture(scope="module")
def model(clean, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "mine"
    assert main(["train", "--one-class", "--clean", str(clean), "--output", str(folder), "--device", "cpu"]) == 0
    return folder


def share_bad(model, image):
    classmap = load_detector(model).map(image, PIXEL, np.zeros(image.shape, bool))
    return float((classmap.log_odds > 0).mean()), classmap


def test_clean_micrographs_are_good_and_a_dark_one_is_bad_from_edge_to_edge(model):
    assert np.mean([share_bad(model, pixels(seed))[0] for seed in range(50, 60)]) <= 0.01
    share, classmap = share_bad(model, pixels(70, level=80.0))
    assert share == 1.0
    assert classmap.sampling == 128.0 and classmap.logits.shape == (2, 10, 10) and np.isnan(classmap.median_logit)


def test_a_dark_half_is_bad_and_the_other_half_good(model):
    image = pixels(71)
    image[:, : SIDE // 2] -= 20
    odds = share_bad(model, image)[1].log_odds
    assert (odds[:, :4] > 0).all() and (odds[:, 6:] < 0).all()


def test_the_border_is_border(model):
    image, border = pixels(72), np.zeros((SIDE, SIDE), bool)
    border[:40] = True
    classmap = load_detector(model).map(image, PIXEL, border)
    assert classmap.border[0].all() and not classmap.border[1:].any()
    classmap.checked("m")


def test_a_session_is_screened_with_it(model, clean, tmp_path):
    write(tmp_path / "dark.mrc", pixels(73, level=80.0))
    words = ["screen", str(clean / "m0.mrc"), str(tmp_path / "dark.mrc"), "--model", str(model), "--device", "cpu"]
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    table = (tmp_path / "out" / "micrographs.csv").read_text().splitlines()
    column = table[0].split(",").index("bad_area")
    assert [float(row.split(",")[column]) for row in table[1:]] == [0.0, 1.0]


def test_another_pixel_size_is_refused(model):
    with pytest.raises(PixelSizeError, match="is not the pixel size of the clean micrographs"):
        load_detector(model).map(pixels(74), 5.0, np.zeros((SIDE, SIDE), bool))


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "needs clean micrographs; name them with --clean"),
        (["--clean", "CLEAN/m0.mrc", "CLEAN/m1.mrc"], "only 2 clean micrographs of one pixel size can be used"),
        (["--clean", "CLEAN", "--epochs", "3", "--good", "x.star"], "does not use --good, --epochs"),
    ],
)
def test_what_it_cannot_use_is_one_line(clean, tmp_path, capsys, words, message):
    words = [word.replace("CLEAN", str(clean)) for word in words]
    assert main(["train", "--one-class", *words, "--output", str(tmp_path / "model"), "--device", "cpu"]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_named_and_left_out(clean, tmp_path, capsys):
    (tmp_path / "broken.mrc").write_bytes(b"nothing")
    words = ["train", "--one-class", "--clean", str(clean), str(tmp_path / "broken.mrc"), "--device", "cpu"]
    assert main([*words, "--output", str(tmp_path / "model")]) == 0
    assert "left out:" in capsys.readouterr().err
    card = (tmp_path / "model" / "card.md").read_text()
    assert "Clean micrographs: 8." in card
    assert "*" not in card  # windows and reports show asterisks as they are


def test_weights_of_another_kind_are_an_error(model, tmp_path):
    from safetensors.numpy import save

    from cryoice_scipion.core.detectors.model_folder import write_sums

    (tmp_path / "model.json").write_bytes((model / "model.json").read_bytes())
    (tmp_path / "weights.safetensors").write_bytes(save({"mean": np.zeros(3)}))
    write_sums(tmp_path)
    with pytest.raises(ModelError, match="does not fit the network 'one_class'"):
        load_detector(tmp_path)
