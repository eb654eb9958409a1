# SPDX-License-Identifier: GPL-3.0-or-later
"""Coordinate files that users reported, through the import of picks: position, score and counts."""

import os
from pathlib import Path

import pytest
from coordinate_cases import BINNED, CASES, HELIX, NAMES, PIXEL_SIZE, POS, SIDE, write_micrographs
from scipion_data import Scipion, items

from cryoice_scipion.core.streaming.coordinate_watcher import CoordinateWatcher

pytestmark = pytest.mark.scipion
BOX = 80


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Read files at once: nobody is writing them."""
    monkeypatch.setattr(CoordinateWatcher.__init__, "__defaults__", (0.0, 1.0, ""))


@pytest.fixture(scope="module")
def scipion(tmp_path_factory):
    project = Scipion.begin("CasesProject")
    project.data = write_micrographs(tmp_path_factory.mktemp("cases"))
    patterns = {("gridA",): "gridA/*.mrc", ("gridB",): "gridB/*.mrc", ("gridA", "gridB"): "grid?/*.mrc",
                ("numbered",): "numbered/*.mrc", ("odd",): "odd/*.mrc"}  # fmt: skip
    project.sets = {
        folders: project.import_micrographs(project.data, PIXEL_SIZE, pattern) for folders, pattern in patterns.items()
    }
    return project


def imported(scipion, path, folders, **values):
    """Import a file; return x, y and score of the picks by micrograph, and the protocol."""
    micrographs = scipion.sets[tuple(folders)]
    values = {"box": BOX, "timeout": 0, **values}
    protocol, _ = scipion.import_picks(path, micrographs, **values)
    original = {
        key: os.path.realpath(item.getFileName()) for key, item in items(micrographs[0].outputMicrographs).items()
    }
    found = {}
    for item in items(protocol.outputCoordinates).values():
        name = str(Path(original[item.getMicId()]).relative_to(scipion.data).with_suffix(""))
        found.setdefault(name, []).append((item.getX(), item.getY(), item._pickScore.get()))
    return found, protocol


def summary_of(protocol):
    return "\n".join(protocol.summary())


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_pick_is_on_its_micrograph_with_its_score_or_counted(scipion, tmp_path, case, streaming):
    (tmp_path / case.file).write_text(case.text)
    found, protocol = imported(scipion, tmp_path / case.file, case.folders, dataStreaming=streaming)
    assert found == case.picks
    picks, left_out = sum(map(len, case.picks.values())), sum(case.left_out.values())
    assert f"{picks + left_out} coordinate" in summary_of(protocol)
    assert f": {picks} imported" in summary_of(protocol)
    for reason, number in case.left_out.items():
        assert f"{number} {reason}" in summary_of(protocol)


def test_helices_are_refused(scipion, tmp_path):
    (tmp_path / "mic_001.box").write_text(HELIX)
    with pytest.raises(AssertionError, match="holds filaments"):
        imported(scipion, tmp_path / "mic_001.box", ["gridA"])


@pytest.mark.parametrize("streaming", [False, True])
def test_picks_below_the_minimum_score_are_counted_and_those_without_a_score_stay(scipion, tmp_path, streaming):
    (tmp_path / "mic_001.pos").write_text(POS)
    found, protocol = imported(scipion, tmp_path / "mic_001.pos", ["gridA"], dataStreaming=streaming, minScore=0.9)
    assert found == {NAMES[0]: [(200, 210, None), (300, 310, None), (400, 410, 0.91)]}
    assert "5 coordinates in 1 file: 3 imported, 2 left out (1 disabled by the picker, 1 below the score cut-off)" in (
        summary_of(protocol)
    )
    relion = [(i._rlnClassNumber.get(), i._rlnAutopickFigureOfMerit.get(), i._rlnAnglePsi.get())
              for i in items(protocol.outputCoordinates).values()]  # fmt: skip
    assert relion == [(-999, -999, -999)] * 2 + [(-999, 0.91, -999)]


def test_a_minimum_without_scores_is_said(scipion, tmp_path):
    (tmp_path / "a.star").write_text(BINNED)
    _, protocol = imported(scipion, tmp_path / "a.star", ["gridA"], minScore=0.5)
    assert "contain no scores, so the minimum score had no effect" in summary_of(protocol)
    assert "Coordinates on 1 micrograph were scaled from 4 to 2 Å/px" in summary_of(protocol)


@pytest.mark.parametrize("streaming", [False, True])
def test_the_pixel_size_of_the_form_counts_and_y_is_flipped_with_the_height(scipion, tmp_path, streaming):
    (tmp_path / "a.star").write_text(BINNED.replace("100 100 1", "100 30 1"))
    settings = {"coordinatesPixelSize": 6.0, "flipY": True, "dataStreaming": streaming}
    found, protocol = imported(scipion, tmp_path / "a.star", ["gridA"], **settings)
    assert found[NAMES[0]][:2] == [(300, SIDE - 1 - 90, None), (600, SIDE - 1 - 600, None)]
    assert "have 4 Å/px in their file; the 6 Å/px of the form were used" in summary_of(protocol)


def test_class_and_angle_of_relion_are_kept_and_the_box_is_scaled(scipion, tmp_path):
    columns = "_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnClassNumber\n_rlnAnglePsi\n_cryoiceBoxSize\n"
    text = f"data_\nloop_\n{columns}_rlnAutopickFigureOfMerit\nmic_001.mrc 10 20 3 45.5 40 0.7\n"
    (tmp_path / "a.star").write_text(text)
    _, protocol = imported(scipion, tmp_path / "a.star", ["gridA"], box=0, coordinatesPixelSize=4.0)
    (item,) = items(protocol.outputCoordinates).values()
    assert (item.getX(), item.getY(), protocol.outputCoordinates.getBoxSize()) == (20, 40, BOX)
    assert (item._rlnClassNumber.get(), item._rlnAnglePsi.get()) == (3, 45.5)
    assert item._pickScore.get() == item._rlnAutopickFigureOfMerit.get() == 0.7
