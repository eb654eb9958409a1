# SPDX-License-Identifier: GPL-3.0-or-later
"""Coordinate files that users reported, through the command line: every pick is on its micrograph and counted."""

import csv
import json
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from random_model import write_random_model

from cryoice_scipion.core.cli import main
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.formats.star import read_star
from cryoice_scipion.core.workers.local_executor import LocalExecutor

NAMES = ("gridA/mic_001", "gridA/mic_002", "gridB/mic_001", "numbered/0001", "numbered/0002", "odd/name with blanks")
GRID_A, BOTH, NUMBERED = ["gridA"], ["gridA", "gridB"], ["numbered"]
HEAD = "data_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"
TWO_GRIDS = HEAD + "".join(f"grid{g}/mic_001.mrc {x} {x}\n" for g, x in zip("AABBB", range(100, 600, 100)))
BINNED = (
    "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnMicrographPixelSize #2\n1 4.0\n\n"
    "data_particles\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n_rlnOpticsGroup #4\n"
    + "".join(f"gridA/mic_001.mrc {x} {x} 1\n" for x in (100, 200, 200, 200))
)
POS = (
    "# XMIPP_STAR_1 *\n#\ndata_header\nloop_\n _pickingMicrographState\n _cost\n Supervised 0.0\n"
    "data_particles\nloop_\n _xcoor\n _ycoor\n 200 210\n 300 310\n"
    "data_particles_auto\nloop_\n _xcoor\n _ycoor\n _cost\n _enabled\n 400 410 0.91 1\n"
    " 500 510 0.88 1\n 600 610 0.35 -1\n"
)
TOPAZ = "x_coord\ty_coord\timage_name\tscore\n1\t1\tmic_001_topazpicks\t1\n2\t2\tmic_002_topazpicks\tnan\n"
FILAMENT = (
    "data_global\n\n_cbox_format_version 1.0\n\ndata_cbox_vertices\nloop_\n_VertexX #1\n_VertexY #2\n10 10\n20 20\n\n"
    "data_cbox\nloop_\n_CoordinateX #1\n_CoordinateY #2\n_Width #3\n_Height #4\n_Confidence #5\n"
    "60 60 80 80 0.8\n140 140 80 80 <NA>\n220 220 80 80 0.6\n"
)


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
    folder = tmp_path_factory.mktemp("cases")
    for name in NAMES:
        path = folder / f"{name}.mrc"
        path.parent.mkdir(exist_ok=True)
        with mrcfile.new(path) as mrc:
            mrc.set_data(np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32))
            mrc.voxel_size = 2.0
    return folder


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


@pytest.mark.parametrize(
    ("folders", "name", "text", "picks", "left_out"),
    [
        (GRID_A, "mic_001.pos", POS, {"mic_001": 4}, {"disabled": 1}),
        (GRID_A, "mic_001.cbox", FILAMENT, {"mic_001": 3}, {}),
        (GRID_A, "a.star", f"{HEAD}mic_001.mrc 1 1\n\n{HEAD}mic_002.mrc 2 2\nmic_002.mrc 3 3\n",
         {"mic_001": 1, "mic_002": 2}, {}),
        (BOTH, "a.star", TWO_GRIDS, {"mic_001": 2, "gridB_mic_001": 3}, {}),
        (GRID_A, "a.star", TWO_GRIDS, {"mic_001": 2}, {"unmatched": 3}),
        (["gridB"], "a.star", TWO_GRIDS, {"mic_001": 3}, {"unmatched": 2}),
        (NUMBERED, "a.csv", "micrograph,x,y,score\n0001,1,1,.9\n0001,2,2,.8\n0002,3,3,nan\n",
         {"0001": 2, "0002": 1}, {}),
        (GRID_A, "t.txt", TOPAZ, {"mic_001": 1, "mic_002": 1}, {}),
        (["odd"], "name with blanks.box", "60 60 80 80\n", {"name with blanks": 1}, {}),
    ],
)  # fmt: skip
def test_every_pick_is_on_its_micrograph_or_counted(screen, folders, name, text, picks, left_out):
    rows, summary = screen(folders, name, text)
    assert {stem: int(row["picks"]) for stem, row in rows.items() if row["picks"] != "0"} == picks
    assert summary["left_out"] == left_out and summary["failed"] == 0


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
    screen(GRID_A, "mic_001.box", "100 100 80 80 -1\n500 400 80 80 -2\n", status=2)
    assert "holds filaments" in capsys.readouterr().err
    screen(GRID_A, "other.box", "100 100 80 80\n", status=2)
    assert "none of the 1 coordinates" in capsys.readouterr().err


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
