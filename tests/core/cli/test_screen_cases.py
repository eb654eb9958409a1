# SPDX-License-Identifier: GPL-3.0-or-later
"""Coordinate files that users reported, through the command line: every pick is on its micrograph and counted."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from coordinate_cases import BINNED, CASES, GRID_A, HELIX, NAMES, write_micrographs
from random_model import write_random_model

from cryoice_scipion.core.cli import main
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.formats.star import read_star
from cryoice_scipion.core.workers.local_executor import LocalExecutor


class BadRight:
    """A detector for which the right half (from 512 px, at 2 Å/px) is support."""

    def __init__(self, config):
        self.config = config.model_copy(update={"classes": ["good", "support"], "pick_threshold": None})

    def map(self, image, pixel_size, border, inverted):
        logits = np.zeros((2, 64, 64), np.float32)
        logits[1] = np.where(np.arange(64) < 32, -12, 12)
        return ClassMap(logits, np.zeros((64, 64), bool), self.config.classes, 32.0, 0.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_micrographs(tmp_path_factory.mktemp("cases"))


@pytest.fixture
def screen(data, tmp_path, monkeypatch):
    """Return a function that screens folders with a coordinate file and returns rows by stem, and the summary."""
    model = write_random_model(tmp_path / "model")
    config = LocalExecutor.load(model, "cpu").model
    monkeypatch.setattr(
        LocalExecutor, "load", lambda path, device: LocalExecutor(BadRight(config), "bad right", device)
    )

    def run(folders, name, text, *options, status=0):
        (tmp_path / name).write_text(text)
        output, paths = tmp_path / "run", [str(data / folder) for folder in folders]
        words = [*paths, "--coordinates", str(tmp_path / name), "--particle-diameter", "40", "--output", str(output)]
        assert main(["screen", *words, "--model", str(model), "--device", "cpu", *options]) == status
        if status:
            return None, None
        with open(output / "micrographs.csv", encoding="utf-8") as stream:
            rows = {row["stem"]: row for row in csv.DictReader(stream)}
        summary = json.loads((output / "summary.json").read_text())
        left_out = sum(summary["left_out"].values())
        assert summary["input_picks"] == summary["kept"] + summary["rejected"] + left_out and summary["adds_up"]
        return rows, summary

    return run


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_pick_is_on_its_micrograph_or_counted(screen, data, case):
    rows, summary = screen(case.folders, case.file, case.text)
    names = {str(data / f"{name}.mrc"): name for name in NAMES}
    picks = {names[row["path"]]: int(row["picks"]) for row in rows.values() if row["picks"] != "0"}
    assert picks == {name: len(found) for name, found in case.picks.items()}
    assert summary["left_out"] == case.left_out and summary["failed"] == 0


def test_picks_on_binned_micrographs_are_scaled_and_the_summary_says_so(screen):
    rows, summary = screen(GRID_A, "a.star", BINNED)
    assert (summary["kept"], summary["rejected"]) == (4, 0)  # x = 200 and 400 of 512 px
    assert rows["mic_001"]["flags"] == "coordinates_scaled=4"
    assert any("4 Å/px" in line and "scaled" in line for line in summary["warnings"])


def test_the_pixel_size_of_coordinates_can_be_given(screen):
    _, summary = screen(GRID_A, "a.star", BINNED, "--coordinates-pixel-size", "6")
    assert (summary["kept"], summary["rejected"]) == (1, 3)  # x = 300 and 600 px
    assert any("4 Å/px" in line and "given" in line for line in summary["warnings"])


def test_helices_and_picks_of_other_micrographs_are_refused(screen, capsys):
    screen(GRID_A, "mic_001.box", HELIX, status=2)
    assert "holds filaments" in capsys.readouterr().err
    screen(GRID_A, "other.box", "100 100 80 80\n", status=2)
    assert "of 1 coordinate, none matches" in capsys.readouterr().err


def test_relion_gets_the_kept_picks_of_each_micrograph_in_its_own_pixels(screen, data, tmp_path):
    text = BINNED + "gridA/mic_002.mrc 100 50 1\ngridA/mic_002.mrc 200 60 1\ngridA/mic_002.mrc 400 70 1\n"
    _, summary = screen(GRID_A, "a.star", text)
    assert (summary["kept"], summary["rejected"]) == (6, 1)
    listed = read_star(tmp_path / "run" / "coordinates" / "autopick.star")[0]
    assert listed.name == "coordinate_files"
    assert listed.table["rlnMicrographName"].tolist() == [str(data / f"gridA/mic_00{n}.mrc") for n in (1, 2)]
    first, second = (read_star(Path(name))[0].table for name in listed.table["rlnMicrographCoordinates"])
    assert first["rlnCoordinateX"].tolist() == [200, 400, 400, 400]
    assert second[["rlnCoordinateX", "rlnCoordinateY"]].values.tolist() == [[200, 100], [400, 120]]
