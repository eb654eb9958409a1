# SPDX-License-Identifier: GPL-3.0-or-later
"""*find regions*: what it writes is what it outputs, and its outputs are labels of a training."""

import csv
import json
from pathlib import Path

import pytest
from random_model import write_random_model
from scipion_data import NAMES, PIXEL_SIZE, Scipion, items, point, write_data

from cryoice_scipion.core.formats.star import read_star
from cryoice_scipion.protocols import CryoIceProtRegions, CryoIceProtScreen, CryoIceProtTrain
from cryoice_scipion.protocols.protocol_regions import FROM_FILE, MARKED

pytestmark = pytest.mark.scipion
STRIPES = {"x": 260, "y": 0, "width": 250, "height": 510, "class": "crystalline"}
CLEAN = {"x": 40, "y": 40, "width": 90, "height": 90, "good": True}


@pytest.fixture(scope="module")
def scipion(tmp_path_factory):
    """A project in which three micrographs were screened."""
    folder = write_data(tmp_path_factory.mktemp("data"))
    project = Scipion.begin("RegionsProject")
    project.micrographs = project.import_micrographs(folder / "full", PIXEL_SIZE, "mic_0[0-2].mrc")
    project.picks = project.import_picks(folder / "all.star", project.micrographs)
    model = write_random_model(folder / "model", level=0.0)
    protocol = project.newProtocol(CryoIceProtScreen, useGpu=False, modelSource=2, modelFolder=str(model))
    point(protocol.inputCoordinates, project.picks)
    project.screening = project.run_here(protocol)
    return project


def search(scipion, **values):
    protocol = scipion.newProtocol(CryoIceProtRegions, **values)
    protocol.inputScreening.set(scipion.screening)
    return protocol


@pytest.fixture
def labels(scipion):
    """Write what is marked in the viewer of the screening."""
    path = Path(scipion.screening.getPath("extra", "screening", "labels.json"))

    def write(boxes):
        path.write_text(json.dumps({"version": 1, "micrographs": {NAMES[0]: boxes}}))
        return path

    yield write
    path.unlink()


def test_regions_like_marked_places_are_outputs_and_labels_of_a_training(scipion, labels):
    labels([STRIPES, CLEAN])
    done = scipion.run_here(search(scipion, search=MARKED))
    with open(done.getFolder() / "regions.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if float(row["confidence"]) >= 0.5]
    assert len({row["micrograph"] for row in rows}) > 1  # also on micrographs without labels
    found = sorted(items(done.outputRegions).values(), key=lambda item: item.getObjId())
    for row, item in zip(rows, found):
        assert item.getMicName() == f"{row['micrograph']}.mrc"
        assert item._cryoiceClass.get() == row["class"] == "crystalline"
        assert item._cryoiceConfidence.get() == pytest.approx(float(row["confidence"]))
        assert item.getX() == pytest.approx(float(row["x"]) + float(row["width"]) / 2, abs=1)
        assert item._cryoiceHeight.get() == pytest.approx(float(row["height"]), abs=1)
    assert len(found) == len(rows)
    (block,) = read_star(done.getFolder() / "bad.star")
    bad = items(done.outputCoordinatesBad).values()
    assert {item._cryoiceLabel.get() for item in bad} == {"crystalline"} and len(bad) == len(block.table)
    assert done.outputRegions.getMicrographs().getFileName() == scipion.micrographs[0].outputMicrographs.getFileName()
    assert f"crystalline {len(rows)}" in done.summary()[0]
    assert "similar to marked places" in done.methods()[0]
    assert (done.getFolder() / "contact_sheet.png").is_file() and (done.getFolder() / "labels.json").is_file()
    training = scipion.newProtocol(CryoIceProtTrain, useGpu=False)
    point(training.goodCoordinates, scipion.picks)
    point(training.badCoordinates, (done, "outputCoordinatesBad"))
    assert training.validate() == []


def test_a_search_that_cannot_work_is_told_before_it_runs(scipion, labels, tmp_path):
    (words,) = search(scipion, search=MARKED).validate()
    assert words.startswith("No place is marked in the screening. Press Analyze Results of the screening")
    labels([CLEAN])
    assert search(scipion, search=MARKED).validate() == [
        "No place is marked as bad. Mark at least one place like those to find."
    ]
    labels([])
    assert "has no labelled box" in search(scipion, search=MARKED).validate()[0]
    (words,) = search(scipion, search=FROM_FILE, labelsFile=str(tmp_path / "none.json")).validate()
    assert words == "Label file: there is no such file. Choose a file labels.json."
    assert search(scipion, top=0).validate() == ["'Regions on the contact sheet' must be 1 or more."]
    assert search(scipion).validate() == []
