# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged and hostile model folders of every kind are refused in one sentence: file, reason, remedy."""

import shutil

import pytest
from hostile_models import FAULTS, all_faults, changed, write_model
from noise import write_noise

from cryoice_scipion import core as cryoice
from cryoice_scipion.core.cli import main
from cryoice_scipion.core.detectors.kinds import KINDS
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import read_card
from cryoice_scipion.core.errors import ModelError
from cryoice_scipion.core.grades.loading import load_grader

LONGEST = 1300  # characters


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Return a function that copies a sound model folder of a kind."""
    folder = tmp_path_factory.mktemp("sound")

    def copy(kind, target):
        if not (folder / kind).exists():
            write_model(folder / kind, kind)
        return shutil.copytree(folder / kind, target)

    return copy


def check_sentence(text, folder):
    assert text.count("\n") == 0 and len(text) < LONGEST and str(folder) in text
    assert all(part.strip() for part in text.partition(": ")[2].rpartition("; "))


def load(folder, kind):
    (load_grader if KINDS[kind].grades else load_detector)(folder)
    read_card(folder)


def refused(folder, kind):
    with pytest.raises(ModelError) as caught:
        load(folder, kind)
    assert caught.value.remedy
    return str(caught.value)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_hostile_folder_is_one_sentence(kind, sound, tmp_path):
    load(sound(kind, tmp_path / "sound"), kind)
    for name, spoil in {**all_faults(kind), **(FAULTS if kind == "spot_test" else {})}.items():
        folder = sound(kind, tmp_path / name)
        spoil(folder)
        check_sentence(refused(folder, kind), folder)


def test_the_interface_and_the_commands_say_the_same_sentence(sound, tmp_path, capsys):
    micrograph = str(write_noise(tmp_path / "m.mrc", 0))
    for name in ("deep model.json", "sums are a pipe", "no model.json", "card links to itself"):
        folder = sound("spot_test", tmp_path / name)
        FAULTS[name](folder)
        with pytest.raises(ModelError) as caught:
            cryoice.load(folder, "cpu")
        screen = ["screen", micrograph, "--output", str(tmp_path / "o"), "--device", "cpu", "--model", str(folder)]
        for words in (["info", str(folder)], screen):
            assert main(words) == 2
            text = capsys.readouterr().err
            assert text == f"cryoice {words[0]}: {caught.value}\n"
            check_sentence(text.strip(), folder)


def test_weights_that_do_not_fit_end_a_run_in_one_sentence(sound, tmp_path, capsys):
    folder, other = sound("patch_fft", tmp_path / "m"), sound("resnet", tmp_path / "g")
    changed(network_options={"width": 1_000_000_000})(folder)
    changed(network_options={"depth": 18, "width": 100_000})(other)
    micrograph = str(write_noise(tmp_path / "m.mrc", 0))
    screen = ["screen", micrograph, "--output", str(tmp_path / "o"), "--device", "cpu", "--model"]
    assert main([*screen, str(folder)]) == 2
    check_sentence(capsys.readouterr().err.strip().splitlines()[-1], folder)
    assert main([*screen, "spots", "--grader", str(other)]) != 0
    check_sentence(capsys.readouterr().err.strip().splitlines()[-1], other)
