# SPDX-License-Identifier: GPL-3.0-or-later
"""A model folder is read only if its files are those that were written, and lie in it."""

import io
import os
import pickle

import pytest
from random_model import write_random_model

from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.detectors.model_folder import SUMS, WEIGHTS, load_config, read_card, write_sums
from cryoice_scipion.core.errors import ModelError


@pytest.fixture
def model(tmp_path):
    (tmp_path / "secret.txt").write_text("password")
    return write_random_model(tmp_path / "model")


def test_a_link_to_a_file_elsewhere_is_not_read(model):
    (model / "card.md").unlink()
    (model / "card.md").symlink_to(model.parent / "secret.txt")
    for read in (read_card, load_config):
        with pytest.raises(ModelError, match=r"card.md lies outside the folder; get the model again"):
            read(model)


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname"])
def test_a_listed_file_elsewhere_is_not_read(model, name):
    with (model / SUMS).open("a") as stream:
        stream.write(f"{'0' * 64}  {name}\n")
    with pytest.raises(ModelError, match=f"{name} lies outside the folder"):
        load_config(model)


def test_a_link_to_the_folder_itself_is_followed(model):
    link = model.with_name("link")
    link.symlink_to(model, target_is_directory=True)
    assert load_config(link).name == "random" and read_card(link).startswith("# random")


def test_a_binary_list_of_sums_is_one_line(model):
    (model / SUMS).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="SHA256SUMS is damaged"):
        load_config(model)


class Command:
    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return os.mkdir, (self.made,)


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_code_in_the_weights_is_not_run(model, tmp_path, kind):
    torch = pytest.importorskip("torch")
    stream, made = io.BytesIO(), tmp_path / "made"
    (torch.save if kind == "torch" else pickle.dump)(Command(str(made)), stream)
    (model / WEIGHTS).write_bytes(stream.getvalue())
    write_sums(model)
    with pytest.raises(ModelError, match="does not fit the network"):
        load_detector(model)
    assert not made.exists()
    stream.seek(0)
    torch.load(stream, weights_only=False) if kind == "torch" else pickle.load(stream)
    assert made.exists()  # the code would have run
