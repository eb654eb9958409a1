# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice train --network autoencoder --clean DIR``, its labels, a sweep, and screening with the model."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import torch
from noise import write_image

from cryoice_scipion.core.cli import main
from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.autoencoder_network import Autoencoder
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import load_config
from cryoice_scipion.core.errors import ModelError, SettingsError
from cryoice_scipion.core.formats.coordinates import write_star
from cryoice_scipion.core.training.autoencoder import fit as autoencoder_fit
from cryoice_scipion.core.training.autoencoder.fit import CleanImage, fit, loss_of
from cryoice_scipion.core.training.autoencoder.texture import low_texture_weights
from cryoice_scipion.core.training.trainers import TrainRequest

PIXEL = 8.0  # Å/px
SIDE = 10 * 16  # px: ten cells
TRAIN = ["train", "--network", "autoencoder", "--device", "cpu", "--width", "4", "--epochs", "1", "--batch", "2"]


@pytest.fixture(scope="module", autouse=True)
def short_epochs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoencoder_fit, "_STEPS", 4)
        yield


def pixels(seed, factor=1.0):
    return 100 + 10 * factor * np.random.default_rng(seed).normal(0, 1, (SIDE, SIDE))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean")
    for seed in range(9):
        write_image(folder / f"m{seed}.mrc", pixels(seed), PIXEL)
    return folder


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Three micrographs with a smooth left half, where the bad coordinates lie; the options that name them."""
    folder = tmp_path_factory.mktemp("labels")
    rows = {"good": [], "bad": []}
    for seed in range(3):
        image = pixels(50 + seed)
        image[:, : SIDE // 2] = 100 + 0.3 * (image[:, : SIDE // 2] - 100)
        write_image(folder / f"half{seed}.mrc", image, PIXEL)
        rng = np.random.default_rng(seed)
        for label, left in (("bad", 16), ("good", 112)):
            rows[label] += [(f"half{seed}.mrc", left + rng.integers(32), rng.integers(16, 144)) for _ in range(20)]
    names = ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"]
    for label, positions in rows.items():
        write_star(folder / f"{label}.star", pd.DataFrame(positions, columns=names))
    words = [word for label in rows for word in (f"--{label}", str(folder / f"{label}.star"))]
    return [*words, "--micrographs", *(str(folder / f"half{seed}.mrc") for seed in range(3))]


@pytest.fixture(scope="module")
def model(clean, labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "mine"
    assert main([*TRAIN, "--clean", str(clean), *labels, "--hold-out", "half2", "--output", str(folder)]) == 0
    return folder


def test_the_folder_describes_the_model(model):
    config = load_config(model)
    assert (config.network, config.classes, config.sampling) == ("autoencoder", ["good", "bad"], 128.0)
    assert [(view.kind, view.sampling, view.window) for view in config.views] == [("pixels", 8.0, None)]
    assert config.network_options == {"channels": 1, "width": 4}
    with open(model / "history.csv") as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["train_loss"]) > 0 and float(row["validation_loss"]) > 0
    card = (model / "card.md").read_text()
    assert "Clean micrographs: 4 to train on. 5 others" in card and "Youden's point" in card
    assert f"Recommended threshold: {config.recommended_threshold:g}" in card


def test_labels_choose_the_threshold_and_held_out_ones_measure_it(model):
    config = load_config(model)
    assert config.metrics["test_bad"] == config.metrics["test_good"] == 20
    assert config.metrics["validation_bad"] == 40
    assert config.metrics["test_auc"] > 0.9 and config.metrics["test_recall"] > 0.8
    table = pd.read_csv(model / "predictions.csv")
    rows = table[table["split"] == "validation"]
    goodness, bad = 1 - rows["p_bad"], rows["label"] == "bad"

    def youden(threshold):
        return (goodness[bad] < threshold).mean() - (goodness[~bad] < threshold).mean()

    best = max(youden(cut) for cut in np.linspace(0, 1, 201))
    assert youden(config.recommended_threshold) >= best - 0.15  # one standard error
    assert set(table.loc[table["split"] == "test", "micrograph"]) == {"half2"}


def test_it_is_loaded_and_maps_as_it_was_saved(model):
    detector = load_detector(model)
    clean = [detector.map(pixels(seed).astype(np.float32), PIXEL, np.zeros((SIDE,) * 2, bool)) for seed in (70, 71)]
    assert np.mean([one.log_odds > 0 for one in clean]) < 0.03
    smooth = detector.map(pixels(72, 0.3).astype(np.float32), PIXEL, np.zeros((SIDE,) * 2, bool))
    assert (smooth.log_odds > 0).all()
    again = load_detector(model).map(pixels(72, 0.3).astype(np.float32), PIXEL, np.zeros((SIDE,) * 2, bool))
    assert (again.logits == smooth.logits).all() and again.flags == smooth.flags != []


def test_a_session_is_screened_with_it(model, clean, tmp_path):
    write_image(tmp_path / "smooth.mrc", pixels(73, 0.3), PIXEL)
    words = ["screen", str(clean / "m0.mrc"), str(tmp_path / "smooth.mrc"), "--model", str(model), "--device", "cpu"]
    assert main([*words, "--output", str(tmp_path / "out"), "--threshold", "0.5"]) == 0
    with open(tmp_path / "out" / "micrographs.csv") as stream:
        good, bad = csv.DictReader(stream)
    assert float(good["bad_area"]) < 0.05 and float(bad["bad_area"]) == 1
    assert "residual_score=" in bad["flags"] and "residual_score=" not in good["flags"]


def test_features_instead_of_pixels(clean, tmp_path):
    words = [*TRAIN, "--views", "features", "--clean", str(clean), "--output", str(tmp_path / "model")]
    assert main(words) == 0
    config = load_config(tmp_path / "model")
    assert config.views[0].kind == "features" and config.network_options["channels"] > 10
    assert config.recommended_threshold == 0.5 and config.metrics == {"clean_micrographs": 9}
    assert "no good and bad positions" in (tmp_path / "model" / "card.md").read_text()
    image, nowhere = pixels(80, 0.3).astype(np.float32), np.zeros((SIDE,) * 2, bool)
    assert (load_detector(tmp_path / "model").map(image, PIXEL, nowhere).log_odds > 0).all()


def test_the_texture_weight_is_in_the_training(clean, tmp_path):
    losses = []
    for more in ([], ["--texture-weight"]):
        folder = tmp_path / f"model{len(more)}"
        words = [*TRAIN, "--sampling", "16", *more, "--clean", str(clean), "--output", str(folder)]
        assert main(words) == 0
        losses.append((folder / "history.csv").read_text())
    assert losses[0] != losses[1]
    assert json.loads(load_config(folder).trained_on["settings"])["texture_weight"] is True
    assert "GLCM" in (folder / "card.md").read_text()


def test_smooth_squares_have_more_weight():
    image = np.random.default_rng(0).normal(0, 1, (40, 36)).astype(np.float32)
    image[:16, :16] *= 0.1
    weights = low_texture_weights(image, 16)
    assert weights.shape == image.shape and weights.mean() == pytest.approx(1)
    assert weights[:16, :16].min() > 1.5 * weights[16:, 16:].max()
    assert (low_texture_weights(np.zeros((8, 8), np.float32), 4) == 1).all()


def test_the_loss_counts_pixels_by_their_weight():
    network, image = Autoencoder(width=4), torch.randn(1, 1, 16, 16)
    weights = torch.zeros(1, 16, 16)
    weights[0, 3, 5] = 2
    expected = network.residuals(image)[0, :, 3, 5].sum()
    assert float(loss_of(network, image, weights).detach()) == pytest.approx(float(expected.detach()))


def test_training_stops_early_and_keeps_the_best_epoch(tmp_path, monkeypatch):
    torch.manual_seed(0)
    images = [CleanImage(torch.randn(1, 24, 24), torch.ones(24, 24)) for _ in range(2)]
    losses = iter([3.0, 1.0, 2.0, 2.5, 0.5])
    states, seen = [], []
    network = Autoencoder(width=4)
    path = "cryoice_scipion.core.training.autoencoder.fit._validate"
    monkeypatch.setattr(
        path, lambda network, _: states.append(network.state_dict()["layers.0.bias"].clone()) or next(losses)
    )
    config = TrainConfig.make(network="autoencoder", epochs=5, patience=2, batch=2)
    request = TrainRequest(config, tmp_path, progress=False, on_epoch=seen.append)
    history, interrupted = fit(network, images, images, request)
    assert [row["validation_loss"] for row in history] == [3, 1, 2, 2.5] and not interrupted
    assert [epoch.row for epoch in seen] == history
    assert (network.state_dict()["layers.0.bias"] == states[1]).all() and (states[1] != states[3]).any()
    monkeypatch.setattr(path, lambda network, _: float("nan"))
    with pytest.raises(SettingsError, match="the loss became infinite"):
        fit(network, images, images, request)


def test_ctrl_c_keeps_what_is_trained(tmp_path):
    def stop(epoch):
        raise KeyboardInterrupt

    images = [CleanImage(torch.randn(1, 16, 16), torch.ones(16, 16))]
    config = TrainConfig.make(network="autoencoder", epochs=3, batch=2)
    said = []
    request = TrainRequest(config, tmp_path, progress=False, on_epoch=stop, log=said.append)
    history, interrupted = fit(Autoencoder(width=4), images, images, request)
    assert interrupted and len(history) == 1 and "interrupted" in said[0]


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "needs clean micrographs; name them with --clean"),
        (["--clean", "CLEAN/m0.mrc", "CLEAN/m1.mrc"], "only 2 clean micrographs of one pixel size can be used, and 8"),
        (["--clean", "CLEAN", "--crops", "3", "--mixed-precision"], "does not use --crops, --mixed-precision"),
        (["--clean", "CLEAN", "--views", "features", "--texture-weight"], "does not use --texture-weight"),
        (["--clean", "CLEAN", "--views", "fft"], "the autoencoder network has pixels, features"),
        (["--clean", "CLEAN", "--hold-out", "nobody"], "no labelled micrograph is called nobody"),
    ],
)
def test_what_it_cannot_use_is_one_line(clean, tmp_path, capsys, words, message):
    words = [word.replace("CLEAN", str(clean)) for word in words]
    assert main([*TRAIN, *words, "--output", str(tmp_path / "model")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("network", ["one_class", "unet"])
def test_other_kinds_refuse_the_texture_weight(network, clean, tmp_path, capsys):
    data = {"one_class": ["--clean", str(clean)], "unet": ["--simulated", str(clean)]}[network]
    assert main(["train", "--network", network, *data, "--texture-weight", "--output", str(tmp_path / "model")]) == 2
    assert "does not use --texture-weight" in capsys.readouterr().err


def test_a_sweep_is_scored_on_labelled_micrographs_that_are_left_out(clean, labels, tmp_path, capsys):
    (tmp_path / "space.json").write_text('{"width": {"values": [4, 8]}}')
    words = ["sweep", *TRAIN[1:], "--clean", str(clean), "--output", str(tmp_path / "swept"), "--trials", "1"]
    words += ["--space", str(tmp_path / "space.json"), "--seeds", "1"]
    assert main(words) == 2
    assert "labelled data: none given" in capsys.readouterr().err
    assert main([*words, *labels]) == 0
    assert "one data source" in (said := capsys.readouterr().out) and "AUC" in said
    assert load_config(tmp_path / "swept").network == "autoencoder"


def test_weights_of_another_kind_are_an_error(model, tmp_path):
    from safetensors.numpy import save

    from cryoice_scipion.core.detectors.model_folder import write_sums

    (tmp_path / "model.json").write_bytes((model / "model.json").read_bytes())
    (tmp_path / "weights.safetensors").write_bytes(save({"mean": np.zeros(3)}))
    write_sums(tmp_path)
    with pytest.raises(ModelError, match="does not fit the network 'autoencoder'"):
        load_detector(tmp_path)
