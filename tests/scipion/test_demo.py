# SPDX-License-Identifier: GPL-3.0-or-later
"""``make demo`` from its own entry point, in a process of its own."""

import os
import re
import subprocess
import sys

import pytest
from scipion_data import write_data

from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.errors import ModelError

pytestmark = pytest.mark.scipion


def demo(folder, *words):
    """Run the demo without any of Scipion's variables, as on a machine that never had one."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SCIPION")}
    command = [sys.executable, "-m", "cryoice_scipion.demo", *map(str, words)]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True)


def check_that_it_says_one_line(finished, words):
    assert finished.returncode == 1
    assert words in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1, finished.stderr
    assert "Traceback" not in finished.stdout + finished.stderr


@pytest.fixture(scope="module", autouse=True)
def shipped_model():
    try:
        load_config(resolve_model("default"))
    except ModelError as error:
        pytest.skip(f"needs the shipped model: {error}")


def test_a_model_that_is_not_there_is_told_at_once(tmp_path):
    check_that_it_says_one_line(demo(tmp_path, "--model", "nowhere"), "nowhere: no such model")


def test_own_files_need_all_three_options(tmp_path):
    check_that_it_says_one_line(demo(tmp_path, "--micrographs", "*.mrc"), "give all of")


def test_picks_that_are_not_there_are_told(tmp_path):
    finished = demo(tmp_path, "--micrographs", "*.mrc", "--picks", "none.star", "--pixel-size", 1)
    check_that_it_says_one_line(finished, "none.star: there is no such file or folder")


@pytest.mark.slow
def test_own_files_are_screened_and_every_pick_is_accounted_for(tmp_path):
    data = write_data(tmp_path / "data")
    pattern = data / "full" / "mic_0[01].mrc"
    finished = demo(tmp_path, "--micrographs", pattern, "--picks", data / "good.star", "--pixel-size", 4)
    assert finished.returncode == 0, finished.stderr
    found = re.search(r"28 coordinates: (\d+) kept, (\d+) rejected", finished.stdout)
    assert found and sum(map(int, found.groups())) == 28
    assert len(list(tmp_path.glob("demo/projects/*/Runs/*/extra/screening/thumbnails/*.png"))) == 2


@pytest.mark.slow
def test_simulated_micrographs_are_screened(tmp_path):
    finished = demo(tmp_path, "--number", 2, "--folder", "elsewhere")
    assert finished.returncode == 0, finished.stderr
    assert "2 accepted" in finished.stdout
    assert (tmp_path / "elsewhere" / "projects").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


def test_a_first_micrograph_that_cannot_be_read_is_named(tmp_path):
    """Scipion's own import opens it, and fails without naming it."""
    data = write_data(tmp_path / "data")
    (data / "full" / "mic_00.mrc").write_bytes(b"")
    own = ["--micrographs", data / "full" / "*.mrc", "--picks", data / "all.star", "--pixel-size", 4]
    check_that_it_says_one_line(demo(tmp_path, *own), "mic_00.mrc: is empty (0 bytes)")
