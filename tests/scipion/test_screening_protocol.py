# SPDX-License-Identifier: GPL-3.0-or-later
"""Train, screen and resume in a real project: what goes in comes out exactly once."""

import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import mrcfile
import pytest
from pwem.emlib.image import ImageHandler
from pyworkflow.protocol import MODE_RESTART, MODE_RESUME, getProtocolFromDb
from random_model import write_random_model
from scipion_data import BOX, BROKEN, EMPTY, NAMES, PIXEL_SIZE, Scipion, items, point, write_data
from simple_grader import CLASSES

from cryoice_scipion.constants import ALL_GRADES, DEFAULT_MODEL, NO_MICROGRAPH
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.images.naming import stem_of
from cryoice_scipion.core.maps.bad_area import probabilities
from cryoice_scipion.core.maps.scoring import particle_diameter, score_picks
from cryoice_scipion.core.records import Pick
from cryoice_scipion.core.results.run_folder import JOURNAL, RunFolder
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.protocols import CryoIceProtImportModel, CryoIceProtScreen, CryoIceProtTrain
from cryoice_scipion.protocols.protocol_screen import FOLDER

pytestmark = pytest.mark.scipion


@pytest.fixture(scope="module")
def scipion(tmp_path_factory):
    """A project with micrographs, picks and a trained model."""
    folder = write_data(tmp_path_factory.mktemp("data"))
    project = Scipion.begin("ScreeningProject")
    project.folder = folder
    project.micrographs = project.import_micrographs(folder / "full", PIXEL_SIZE)
    project.binned = project.import_micrographs(folder / "binned", 2 * PIXEL_SIZE)
    stars = (folder / f"{name}.star" for name in ("good", "bad", "all"))
    good, bad, project.picks = (project.import_picks(star, project.micrographs) for star in stars)
    project.model = project.train(good, bad, holdOut=f"{NAMES[4]}, {NAMES[5]}")
    return project


def new_screening(scipion, **values):
    values = {"useGpu": False, "modelSource": 1, **values}
    protocol = scipion.newProtocol(CryoIceProtScreen, **values)
    point(protocol.inputCoordinates, scipion.picks)
    point(protocol.inputModel, scipion.model)
    return protocol


@pytest.fixture(scope="module")
def screened(scipion):
    return scipion.launchProtocol(new_screening(scipion))


def coordinates_of(protocol):
    return items(protocol.outputCoordinates), items(protocol.outputCoordinatesRejected)


def micrographs_of(protocol):
    return items(protocol.outputMicrographs), items(protocol.outputMicrographsDiscarded)


def input_picks(scipion):
    return items(scipion.picks[0].outputCoordinates)


def check_that_counts_add_up(scipion, protocol, micrographs):
    kept, rejected = coordinates_of(protocol)
    accepted, discarded = micrographs_of(protocol)
    assert not set(kept) & set(rejected)
    assert set(kept) | set(rejected) == set(input_picks(scipion))
    assert not set(accepted) & set(discarded)
    assert set(accepted) | set(discarded) == set(items(micrographs[0].outputMicrographs))


def test_a_model_is_tuned_to_a_few_coordinates_and_screens(scipion):
    """From the shipped one, which is what the form proposes."""
    good, bad = (scipion.import_picks(scipion.folder / f"{name}.star", scipion.micrographs) for name in ("good", "bad"))
    tuned = scipion.train(good, bad, startFrom=0, modelName="tuned", holdOut=f"{NAMES[4]}, {NAMES[5]}")
    model = tuned[0].outputModel
    shipped, ours = (load_config(resolve_model(path)) for path in (DEFAULT_MODEL, model.getPath()))
    assert (ours.network, ours.classes) == (shipped.network, shipped.classes)
    assert model.getMeasuredOn() == "test"
    assert any("Before fine-tuning, on the same micrographs: AUC" in line for line in tuned[0].summary())
    again = scipion.newProtocol(CryoIceProtTrain, useGpu=False, startFrom=1)
    point(again.goodCoordinates, good)
    point(again.badCoordinates, bad)
    assert [line for line in again.validate() if "Model to start from" in line] == [
        "*Model to start from* cannot be EMPTY."
    ]
    point(again.baseModel, tuned)
    assert again._validate() == []
    assert not any("few" in line for line in again._warnings())
    again.startFrom.set(2)
    assert any("Starting from the shipped model gives better results" in line for line in again._warnings())


def test_training_gives_a_model_that_says_how_good_it_is(scipion):
    training, model = scipion.model[0], scipion.model[0].outputModel
    assert 0 < model.getThreshold() < 1
    assert model.getMetric("auc") > 0.6
    assert "threshold ." in str(model)
    assert any("On the 2 held-out micrographs" in line for line in training.summary())
    assert not any("Before fine-tuning" in line for line in training.summary())
    assert (Path(scipion.proj.path) / model.getPath() / "card.md").is_file()


def test_everything_comes_out_exactly_once_with_its_id(scipion, screened):
    check_that_counts_add_up(scipion, screened, scipion.micrographs)
    before = input_picks(scipion)
    for output in coordinates_of(screened):
        for key, item in output.items():
            was = before[key]
            assert (item.getX(), item.getY(), item.getMicId()) == (was.getX(), was.getY(), was.getMicId())


def test_the_threshold_decides_and_bad_places_score_lower(scipion, screened):
    kept, rejected = coordinates_of(screened)
    threshold = scipion.model[0].outputModel.getThreshold()
    assert kept and rejected
    assert all(item._cryoiceGoodness.get() >= threshold for item in kept.values())
    scored = [item for item in rejected.values() if item._cryoiceGoodness.hasValue()]
    assert all(item._cryoiceGoodness.get() < threshold for item in scored)
    everything = [*kept.values(), *scored]
    sides = [[i._cryoiceGoodness.get() for i in everything if (i.getX() < 256) == left] for left in (True, False)]
    assert sum(sides[0]) / len(sides[0]) > sum(sides[1]) / len(sides[1])


def test_the_verdicts_are_those_of_the_core_and_a_margin_keeps_only_some_of_the_same(scipion, screened):
    near = scipion.run_here(new_screening(scipion, margin=60.0, particleDiameter=100.0, maxThumbnails=0))
    assert set(coordinates_of(near)[0]) < set(coordinates_of(screened)[0])
    model = load_config(resolve_model(scipion.model[0].outputModel.getPath()))
    for protocol, config in (
        (screened, ScreenConfig()),
        (near, ScreenConfig(margin=60, particle_diameter=100)),
    ):
        folder = Path(scipion.proj.path) / protocol._getPath(*FOLDER)
        kept, rejected = coordinates_of(protocol)
        for told in read_records(folder):
            if told.status == "failed":
                continue
            own = [item for item in [*kept.values(), *rejected.values()] if item.getMicId() == told.id]
            picks = [Pick(item.getObjId(), item.getX(), item.getY(), None, BOX) for item in own]
            sizes = [particle_diameter(pick, config, PIXEL_SIZE, "").angstrom for pick in picks]
            cells = probabilities(ClassMap.load(folder / RunFolder(folder).raw_map(told.stem)), 0.0)
            scores = score_picks(cells, picks, sizes, Frame(told.shape, PIXEL_SIZE), config, model)
            assert {score.id: score.kept for score in scores} == {
                item.getObjId(): item.getObjId() in kept for item in own
            }
            assert all(score.goodness == item._cryoiceGoodness.get() for score, item in zip(scores, own))
    assert read_summary(folder).particle_diameter == 100


def test_classes_and_margins_of_the_form_are_checked(scipion):
    wrong = new_screening(scipion, classMargins="carbon=50")
    assert any("unknown class carbon" in line for line in wrong._validate())
    wrong = new_screening(scipion, ignoreClasses="ice")
    assert any("unknown class ice" in line for line in wrong._validate())
    assert new_screening(scipion, classMargins="support=50 thick=20", ignoreClasses="aggregate")._validate() == []


def test_a_micrograph_that_fails_is_discarded_with_its_reason_and_its_picks_are_rejected(scipion, screened):
    _, discarded = micrographs_of(screened)
    failed = [item for item in discarded.values() if item._cryoiceStatus.get() == "failed"]
    assert [stem_of(item.getMicName()) for item in failed] == [BROKEN]
    assert BROKEN in failed[0]._cryoiceReason.get()
    assert not failed[0]._cryoiceBadArea.hasValue()
    of_it = [i for i in coordinates_of(screened)[1].values() if i.getMicId() == failed[0].getObjId()]
    assert len(of_it) == 3
    assert not any(item._cryoiceGoodness.hasValue() for item in of_it)


def test_monitors_find_a_picture_of_each_micrograph_that_they_can_convert(scipion, screened):
    """As scipion-em-facilities does; without a picture of ours it takes the micrograph itself."""
    pytest.importorskip("pwem", "3.11.1", reason="older ones convert pictures only with Xmipp, which is not here")
    accepted, discarded = micrographs_of(screened)
    for item in accepted.values():
        picture = Path(scipion.proj.path) / item.thumbnail.getFileName()
        assert picture.parts[-2:] == ("thumbnails", f"{stem_of(item.getFileName())}.jpg")
        ImageHandler().convert(str(picture), str(picture.with_name("converted.jpg")))
        picture.with_name("converted.jpg").unlink()
    failed = [item for item in discarded.values() if item._cryoiceStatus.get() == "failed"]
    assert failed and all(item.thumbnail.getFileName() == item.getFileName() for item in failed)


def test_a_micrograph_without_picks_is_screened(scipion, screened):
    accepted, _ = micrographs_of(screened)
    empty = next(item for item in accepted.values() if EMPTY in item.getMicName())
    assert 0 <= empty._cryoiceBadArea.get() <= 1
    with mrcfile.open(Path(scipion.proj.path) / empty._cryoiceMask.get()) as mrc:
        assert set(mrc.data.ravel()) <= {0, 1}


def test_outputs_point_at_the_input_micrographs(scipion, screened):
    for output in (screened.outputCoordinates, screened.outputCoordinatesRejected):
        assert output.getBoxSize() == BOX
        assert output.getMicrographs().getFileName() == scipion.micrographs[0].outputMicrographs.getFileName()
    assert screened.getBoxScale() == 1


def test_summary_and_methods_say_what_was_done(scipion, screened):
    text = "\n".join(screened.summary() + screened.methods())
    kept, rejected = screened.outputCoordinates.getSize(), screened.outputCoordinatesRejected.getSize()
    assert f"{kept + rejected} coordinates: {kept} kept, {rejected} rejected; threshold" in text
    assert read_summary(Path(scipion.proj.path) / screened._folder()).adds_up
    assert "1 of the discarded micrographs failed" in text


def test_scaled_to_other_micrographs_positions_are_rounded_and_minus_one_keeps_all(scipion):
    protocol = new_screening(scipion, micsSource=1, useOtherScale=1, threshold=-1)
    point(protocol.inputMicrographs, scipion.binned)
    scipion.run_here(protocol)
    check_that_counts_add_up(scipion, protocol, scipion.binned)
    kept, rejected = coordinates_of(protocol)
    before, others = input_picks(scipion), items(scipion.binned[0].outputMicrographs)
    assert protocol.getBoxScale() == 0.5
    assert protocol.outputCoordinates.getBoxSize() == BOX // 2
    assert protocol.outputCoordinates.getMicrographs().getSamplingRate() == 2 * PIXEL_SIZE
    for key, item in kept.items():
        assert abs(item.getX() - before[key].getX() / 2) <= 0.5
        assert isinstance(item.getX(), int)
        assert before[key].getMicName().split(".")[0] in others[item.getMicId()].getMicName()
    # The broken micrograph is not among the others: its picks cannot be screened, and are not lost.
    assert len(rejected) == 3
    assert {item._cryoiceClass.get() for item in rejected.values()} == {NO_MICROGRAPH}


def test_what_is_put_right_after_a_kill_lies_on_the_other_micrographs_too(scipion):
    protocol = new_screening(scipion, micsSource=1, useOtherScale=1, threshold=-1)
    point(protocol.inputMicrographs, scipion.binned)
    scipion.run_here(protocol)
    before = placed(protocol)
    with sqlite3.connect(protocol.outputCoordinates.getFileName()) as connection:
        connection.execute("DELETE FROM Objects WHERE id % 3 = 0")
    scipion.go_on_here(protocol)
    assert protocol.isFinished(), protocol.getErrorMessage()
    assert placed(protocol) == before


def placed(protocol):
    return [
        {key: (item.getX(), item.getY(), item.getMicId(), item.getMicName()) for key, item in output.items()}
        for output in coordinates_of(protocol)
    ]


def test_threshold_one_on_other_micrographs_at_the_coordinates_scale(scipion):
    protocol = new_screening(scipion, micsSource=1, useOtherScale=0, threshold=1.0, saveMicThumbnailWithMask=False)
    point(protocol.inputMicrographs, scipion.binned)
    scipion.run_here(protocol)
    check_that_counts_add_up(scipion, protocol, scipion.binned)
    kept, rejected = coordinates_of(protocol)
    before = input_picks(scipion)
    assert not [item for item in kept.values() if item._cryoiceGoodness.get() < 1]
    assert protocol.outputCoordinates.getSize() == len(kept)  # an empty output is there, and can be read
    assert all(item.getX() == before[key].getX() for key, item in rejected.items())
    assert protocol.outputCoordinates.getMicrographs().getSamplingRate() == PIXEL_SIZE


def test_threshold_zero_with_an_imported_model_and_a_largest_bad_area(scipion):
    folder = Path(scipion.proj.path) / scipion.model[0].outputModel.getPath()
    imported = scipion.run_here(scipion.newProtocol(CryoIceProtImportModel, modelFolder=str(folder)))
    assert str(imported.outputModel) == str(scipion.model[0].outputModel)
    protocol = new_screening(scipion, threshold=0.0, maxBadArea=0.0, saveMasks=True)
    point(protocol.inputModel, (imported, "outputModel"))
    scipion.run_here(protocol)
    check_that_counts_add_up(scipion, protocol, scipion.micrographs)
    kept, rejected = coordinates_of(protocol)
    assert len(rejected) == 3  # those of the broken micrograph; nothing has a goodness below 0, no area is bad
    accepted, _ = micrographs_of(protocol)
    screened = read_records(Path(scipion.proj.path) / protocol.getPath(*FOLDER))
    with mrcfile.open(Path(scipion.proj.path) / protocol.getPath(*FOLDER) / screened[0].full_mask) as mrc:
        assert mrc.data.shape == (512, 512)
    assert len(accepted) == len(NAMES)


def test_micrographs_of_rejected_grades_are_discarded_with_their_reason(scipion, tmp_path):
    refused = new_screening(scipion, rejectGrades="film")._validate()
    assert len(refused) == 1 and "gives no grades, because it does not know crystalline" in refused[0]
    assert any("unknown grade ice" in line for line in new_screening(scipion, rejectGrades="ice")._validate())
    model = str(write_random_model(tmp_path / "model", classes=CLASSES))
    values = {"modelSource": 2, "modelFolder": model, "micsSource": 1, "saveMicThumbnailWithMask": False}
    protocol = new_screening(scipion, **values, threshold=0.0, rejectGrades=" ".join(ALL_GRADES))
    point(protocol.inputMicrographs, scipion.binned)
    scipion.run_here(protocol)
    check_that_counts_add_up(scipion, protocol, scipion.binned)
    accepted, discarded = micrographs_of(protocol)
    assert not accepted and not coordinates_of(protocol)[0]
    for item in discarded.values():
        assert item._cryoiceGrade.get() in ALL_GRADES and item._cryoiceGradeReason.get().endswith(".")
        assert 0 < item._cryoiceGradeConfidence.get() <= 1
        assert item._cryoiceReason.get() == f"its grade is {item._cryoiceGrade}"
    assert any(line.startswith("Grades: ") for line in protocol.summary())


def test_a_killed_run_goes_on_and_gives_the_same(scipion, screened):
    protocol = new_screening(scipion)
    scipion.proj.launchProtocol(protocol, wait=False)
    journal = Path(scipion.proj.path) / protocol.getPath(*FOLDER) / JOURNAL
    wait_for(lambda: journal.is_file() and journal.read_text().count('"mapped"') >= 2)
    stdout = (Path(scipion.proj.path) / protocol.getStdoutLog()).read_text()
    pid = int(next(line for line in stdout.splitlines() if "PID:" in line).split()[-1])
    os.kill(pid, signal.SIGKILL)
    assert journal.read_text().count('"kind":"screened"') < len(NAMES)  # it was in the middle of its work
    protocol = getProtocolFromDb(scipion.proj.path, protocol.getDbPath(), protocol.getObjId())
    protocol.runMode.set(MODE_RESUME)
    scipion.proj.launchProtocol(protocol, wait=True)
    assert protocol.isFinished(), protocol.getErrorMessage()
    undisturbed, resumed = (coordinates_of(p) + micrographs_of(p) for p in (screened, protocol))
    assert [list(output) for output in undisturbed] == [list(output) for output in resumed]
    for before, after in zip(coordinates_of(screened), coordinates_of(protocol)):
        assert [i._cryoiceGoodness.get() for i in before.values()] == [i._cryoiceGoodness.get() for i in after.values()]


def wait_for(happened, limit=120):
    end = time.monotonic() + limit
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def test_a_run_is_not_continued_with_other_settings_and_says_which(scipion):
    protocol = new_screening(scipion, saveMicThumbnailWithMask=False)
    scipion.run_here(protocol)
    protocol.margin.set(25)
    scipion.go_on_here(protocol)
    assert protocol.isFailed()
    assert "margin was 0.0, is 25.0" in protocol.getErrorMessage()
    assert "Restart" in protocol.getErrorMessage()


def test_a_run_is_not_continued_with_other_coordinates(scipion):
    protocol = new_screening(scipion, saveMicThumbnailWithMask=False)
    scipion.run_here(protocol)
    before = placed(protocol)
    others = scipion.import_picks(scipion.folder / "bad.star", scipion.micrographs)
    point(protocol.inputCoordinates, others)
    words = "'Coordinates' was changed after the run had begun. Restore the old value, or choose Restart."
    assert protocol._validate() == [words]
    scipion.proj.launchProtocol(protocol, wait=True)
    ended = getProtocolFromDb(scipion.proj.path, protocol.getDbPath(), protocol.getObjId())
    assert ended.isFailed() and words in ended.getErrorMessage()
    assert placed(protocol) == before
    point(protocol.inputCoordinates, scipion.picks)
    assert protocol._validate() == []
    protocol.micsSource.set(1)
    point(protocol.inputMicrographs, scipion.binned)
    assert protocol._validate() == [words.replace("Coordinates", "Micrographs source")]
    protocol.runMode.set(MODE_RESTART)
    assert protocol._validate() == []


def test_an_altered_model_is_refused_before_anything_runs(scipion, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(Path(scipion.proj.path) / scipion.model[0].outputModel.getPath(), folder)
    with open(folder / "weights.safetensors", "ab") as stream:
        stream.write(b"x")
    protocol = new_screening(scipion, modelSource=2, modelFolder=str(folder))
    (error,) = protocol.validate()
    assert "weights.safetensors was modified or is damaged" in error
