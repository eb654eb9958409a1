# SPDX-License-Identifier: GPL-3.0-or-later
"""Training a grader of whole micrographs on a table of grades, or on label images."""

import re

import numpy as np
import pytest
from noise import write_image
from test_unet_training import write_labelled

from cryoice_scipion.constants import GRADES
from cryoice_scipion.core.cli import main
from cryoice_scipion.core.config import AugmentConfig, ModelConfig, TrainConfig, ViewConfig
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.grades.loading import load_grader
from cryoice_scipion.core.training.grades.examples import tasks_by_source
from cryoice_scipion.core.training.grades.fit import (
    Example,
    augmented,
    batches,
    class_weights,
    measures,
    temperature_of,
)
from cryoice_scipion.core.training.grades.train import _card, split_examples
from cryoice_scipion.core.training.sources import Sources
from cryoice_scipion.core.training.trainers import TrainRequest

NUMBER = 12
PIXEL_SIZE = 8.0


def picture(bad, seed):
    """Return a micrograph of noise; a bad one has broad waves."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (96, 96))
    return image + bad * 3 * np.sin(np.arange(96) / 6 + seed)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A folder of micrographs, and a table of their grades."""
    folder = tmp_path_factory.mktemp("graded")
    lines = ["micrograph,grade"]
    for number in range(NUMBER):
        write_image(folder / f"m{number}.mrc", picture(number % 2, number), PIXEL_SIZE)
        lines.append(f"m{number}.mrc,{('great', 'film')[number % 2]}")
    (folder / "grades.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def grader(graded, tmp_path_factory):
    output = tmp_path_factory.mktemp("grader") / "model"
    words = ["--network", "resnet", "--grades", graded / "grades.csv", "--micrographs", graded / "*.mrc"]
    words += ["--output", output, "--depth", 10, "--width", 4, "--epochs", 5, "--batch", 4, "--learning-rate", 0.01]
    assert main(["train", *map(str, words), "--device", "cpu", "--hold-out", "m10", "m11"]) == 0
    return output


def test_it_learns_the_grades_and_writes_a_model_folder(grader):
    config = load_config(grader)
    assert config.classes == list(GRADES)
    assert config.network_options == {"depth": 10, "width": 4}
    assert config.metrics["validation_auc"] == 1.0
    found = load_grader(grader)
    border = np.zeros((96, 96), dtype=bool)
    clean, bad = (found.probabilities(picture(kind, 50).astype(np.float32), PIXEL_SIZE, border) for kind in (0, 1))
    assert sum(clean.values()) == pytest.approx(1, abs=1e-5)
    assert clean["great"] > clean["film"]
    assert bad["film"] > bad["great"]
    names = {path.name for path in grader.iterdir()}
    assert {"card.md", "history.csv", "curves.png", "calibration.png", "predictions.csv", "SHA256SUMS"} <= names
    assert "Measured on the 2 test micrographs" in (grader / "card.md").read_text()


def test_the_card_of_a_grader_says_if_its_auc_is_unknown():
    view = ViewConfig(kind="picture", sampling=20.0)
    model = ModelConfig(
        name="m", views=[view], network_options={"depth": 10, "width": 4}, metrics={"test_accuracy": 1.0}
    )
    text = _card(model, "test", [Example("a", "", None, None, 0)], np.eye(len(GRADES))[:1])
    assert "AUC of bad against good unknown, share with the right grade 1.0." in text


@pytest.mark.parametrize("seed", range(5))
def test_two_bad_micrographs_are_trained_and_validated_on(tmp_path, seed):
    examples = [Example(f"set/m{number}", "set", None, None, GRADES.index("great")) for number in range(18)]
    for name in ("x", "y"):
        examples.append(Example(f"set/{name}", "set", None, None, GRADES.index("film")))
    config = TrainConfig(network="resnet", seed=seed)
    split = split_examples(examples, TrainRequest(config, tmp_path / "model"))
    assert {split["set/x"], split["set/y"]} == {"train", "validation"}
    assert sum(part == "validation" for part in split.values()) == round(config.validation * 20)


def test_it_is_no_detector_and_a_detector_is_no_grader(grader):
    with pytest.raises(CryoIceError, match="--model"):
        load_grader(resolve_model("default"))
    with pytest.raises(CryoIceError, match="grades micrographs.*--grader"):
        load_detector(grader)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("micrograph,class\nm1.mrc,great\n", "lacks the column grade"),
        ("micrograph,grade\nm1.mrc,good\n", "unknown grade good.*the grades are great"),
        ("micrograph,grade\nother.mrc,great\n", "names none of the micrographs"),
    ],
)
def test_a_wrong_table_is_one_line(graded, tmp_path, capsys, text, message):
    (tmp_path / "grades.csv").write_text(text)
    words = ["train", "--network", "resnet", "--grades", tmp_path / "grades.csv", "--micrographs", graded / "*.mrc"]
    assert main([*map(str, words), "--output", str(tmp_path / "model")]) == 2
    assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])


def test_options_of_other_networks_are_refused(graded, tmp_path, capsys):
    words = ["--grades", graded / "grades.csv", "--micrographs", graded / "*.mrc", "--clean", graded / "m0.mrc"]
    assert main(["train", "--network", "resnet", *map(str, words), "--output", str(tmp_path / "model")]) == 2
    assert "does not use --clean" in capsys.readouterr().err


def test_label_images_give_grades(tmp_path):
    write_labelled(tmp_path / "set", number=3)
    request = TrainRequest(TrainConfig(), tmp_path / "out", Sources(simulated=[tmp_path / "set"]))
    ((source, tasks),) = tasks_by_source(request).items()
    assert source == "set"
    assert len(tasks) == 3
    assert {grade for _, grade in tasks} <= set(GRADES)


def example(shape, grade=0):
    return Example("a", "s", np.ones((1, *shape), np.float32), np.ones((2, 176, 88), np.float32), grade)


def test_a_batch_has_pictures_of_one_size():
    some = [example((8, 8))] * 5 + [example((8, 9))] * 3
    found = list(batches(some, 4, np.random.default_rng(0)))
    assert sorted(len(batch) for batch in found) == [1, 3, 4]
    assert all(len({one.picture.shape for one in batch}) == 1 for batch in found)


def test_augmentation_keeps_shapes_and_takes_away_high_frequencies_only():
    config = AugmentConfig(spectrum_dropout=0.99)
    for seed in range(5):
        changed = augmented(example((8, 8)), config, np.random.default_rng(seed))
        assert changed.picture.shape == (1, 8, 8)
        assert changed.power.shape == (2, 176, 88)
        assert changed.power[1, 86:90, :4].all()  # low frequencies stay
        assert (changed.power[0] == changed.power[1]).all()


def test_measures_and_weights():
    certain = np.full((4, len(GRADES)), 1e-3)
    grades = np.array([0, 1, 2, 6])
    certain[np.arange(4), grades] = 0.994
    assert measures(certain, grades)["auc"] == 1.0
    assert measures(certain, grades)["accuracy"] == 1.0
    assert measures(certain[::-1], grades)["accuracy"] == 0.0
    assert class_weights(np.array([0, 0, 0, 2])).tolist()[:3] == pytest.approx([2 / 3, 0, 2])


def test_the_temperature_undoes_too_much_confidence():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (4000, len(GRADES)))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    grades = np.array([rng.choice(len(GRADES), p=row) for row in shares])
    assert temperature_of(3 * logits, grades) == pytest.approx(3, rel=0.1)
