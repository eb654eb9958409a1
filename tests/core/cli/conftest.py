# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands that screen are given."""

import pytest
from noise import NUMBER, write_noise
from random_model import write_random_model

from cryoice_scipion.core.screening import watch
from cryoice_scipion.core.streaming import file_retry


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return a model folder of random weights."""
    return write_random_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="module")
def micrographs(tmp_path_factory):
    """Return a folder of small micrographs, which differ from place to place; tests only copy from it."""
    folder = tmp_path_factory.mktemp("micrographs")
    for number in range(NUMBER):
        write_noise(folder / f"mic{number}.mrc", number)
    return folder


@pytest.fixture
def soon_again(monkeypatch):
    """Try micrographs that cannot be read again after fractions of a second."""
    monkeypatch.setattr(file_retry, "_SECOND_ATTEMPT", 0.2)
    monkeypatch.setattr(watch, "_PAUSE", 0.2)
