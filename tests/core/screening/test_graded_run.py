# SPDX-License-Identifier: GPL-3.0-or-later
"""Grades of a run: recorded, listed, counted, and a reason to discard micrographs.

``test_outlier_run.py`` checks that kills and batches do not change them.
"""

import csv
import dataclasses

import mrcfile
import pytest
import torch
from simple_grader import CLASSES, use_simple_grader
from standin import executor, make_tasks, write_micrograph

from cryoice_scipion.constants import ALL_GRADES, GRADES
from cryoice_scipion.core.config import ModelConfig, ScreenConfig, ViewConfig
from cryoice_scipion.core.detectors.model_folder import write_sums
from cryoice_scipion.core.detectors.network_detector import save_weights
from cryoice_scipion.core.errors import CryoIceError, SettingsError
from cryoice_scipion.core.formats.star import read_star
from cryoice_scipion.core.grades import grading
from cryoice_scipion.core.grades.loading import load_grader
from cryoice_scipion.core.grades.resnet import ResNet
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.reports.html import write_report
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.core.results.stored_maps import StoredMaps
from cryoice_scipion.core.results.threshold_preview import ThresholdPreview
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun

CONFIG = ScreenConfig(reference=5)
EXPECTED = {**dict.fromkeys(range(1, 6), "great"), 6: "empty", 7: "film"}


@pytest.fixture(scope="module", autouse=True)
def grader():
    with pytest.MonkeyPatch.context() as patch:
        use_simple_grader(patch)
        yield


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Seven micrographs; the sixth is brighter than its session, the seventh is film on most of its area."""
    found = make_tasks(tmp_path_factory.mktemp("session"), 7, bad_columns=24)
    with mrcfile.open(found[5].path, mode="r+") as mrc:
        mrc.data[:] += 40
    write_micrograph(found[6].path, seed=6, bad_columns=150)
    return found


def screen(folder, tasks, config=CONFIG, classes=CLASSES, **options):
    with ScreeningRun(folder, config, [executor(classes=classes)], RunOptions(**options)) as run:
        return {record.id: record for record in run.process(tasks)}


@pytest.fixture(scope="module")
def run(tasks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    screen(folder, tasks, write_report=write_report)
    return folder


def listed(folder, name):
    (block,) = [block for block in read_star(folder / "micrographs" / f"{name}.star") if block.name != "optics"]
    return block.table["rlnMicrographName"].tolist() if len(block.table) else []


def lists(folder):
    return sorted(path.stem for path in (folder / "micrographs").iterdir())


def test_grades_are_in_table_lists_and_summary_and_discard_nothing(run, tasks):
    records = {record.id: record for record in read_records(run)}
    assert {key: record.grade for key, record in records.items()} == EXPECTED
    with open(run / "micrographs.csv", newline="") as stream:
        rows = {int(row["id"]): row for row in csv.DictReader(stream)}
    for key, record in records.items():
        assert record.status == "accepted"
        assert rows[key]["grade"] == record.grade and rows[key]["grade_reason"] == record.grade_reason != ""
        assert float(rows[key]["grade_confidence"]) == pytest.approx(record.grade_probabilities[record.grade], abs=1e-4)
        assert (float(rows[key]["grade_bad"]) > 0.5) == (record.grade != "great")
    assert read_summary(run).grades == {"great": 5, "film": 1, "empty": 1}
    for name in ALL_GRADES:
        assert listed(run, name) == [task.path for task in tasks if EXPECTED[task.id] == name]
    assert not any("grade" in line for line in read_summary(run).warnings)


def test_rejected_grades_discard_micrographs_with_their_reason(run, tasks, tmp_path):
    told = screen(tmp_path / "out", tasks, CONFIG.model_copy(update={"reject_grades": ["empty", "film", "unsure"]}))
    before = {record.id: record for record in read_records(run)}
    for key, record in told.items():
        assert record.grade == EXPECTED[key]
        if EXPECTED[key] == "great":
            assert dataclasses.replace(record, seconds=before[key].seconds) == before[key]
        else:
            assert (record.status, record.reason, record.kept) == ("discarded", f"its grade is {record.grade}", 0)
            assert [score.goodness for score in record.scores] == [score.goodness for score in before[key].scores]
    both = CONFIG.model_copy(update={"reject_grades": ["film"], "max_bad_area": 0.5})
    assert screen(tmp_path / "both", tasks, both)[7].reason == "bad area 0.731 is more than 0.5; its grade is film"


def test_new_coordinates_are_judged_by_the_recorded_grade(run, tasks, monkeypatch):
    monkeypatch.setattr(grading, "default_grader", None)  # nothing is graded again
    maps = StoredMaps.read(run)
    strict = maps.config.model_copy(update={"reject_grades": ["film"]})
    for key in EXPECTED:
        loose, told = (maps.score(key, tasks[key - 1].picks, config).record for config in (maps.config, strict))
        assert loose.grade == told.grade == EXPECTED[key] and loose.kept
        assert (told.status, told.kept) == (("discarded", 0) if key == 7 else ("accepted", loose.kept))


def test_the_preview_of_a_threshold_has_the_grade_of_the_run(run, tasks):
    maps = StoredMaps.read(run)
    config = maps.config.model_copy(update={"reject_grades": ["empty"]})
    for record in read_records(run):
        mapped = maps.mapped(record.id)
        preview = ThresholdPreview(run, tasks[record.id - 1], mapped, config, maps.model, maps.reference)
        assert dataclasses.astuple(preview.grade)[:2] == (record.grade, record.grade_confidence)
        assert preview.apply(0.5).reason == ("its grade is empty" if record.grade == "empty" else "")


def test_ignored_classes_the_cost_of_a_miss_and_a_session_that_is_not_measured_count(tasks, tmp_path):
    last = tasks[5:]
    alone = screen(tmp_path / "alone", last, CONFIG.model_copy(update={"outlier": False}))
    assert [alone[key].grade for key in (6, 7)] == ["great", "film"]
    ignored = screen(tmp_path / "ignored", last, CONFIG.model_copy(update={"ignore": ["support"]}))
    assert [ignored[key].grade for key in (6, 7)] == ["great", "great"]
    wary = screen(tmp_path / "wary", last, CONFIG.model_copy(update={"miss_cost": 1e5}))
    assert wary[6].grade not in ("great", "decent") and wary[7].grade == "film"
    assert wary[6].grade_probabilities == alone[6].grade_probabilities
    off = screen(tmp_path / "off", last, CONFIG.model_copy(update={"grade": False}))
    assert [off[key].grade for key in (6, 7)] == ["", ""]
    assert lists(tmp_path / "off") == ["accepted", "discarded", "failed"]


def test_many_bad_grades_are_a_warning(tasks, tmp_path):
    screen(tmp_path / "out", tasks[6:])
    (line,) = (line for line in read_summary(tmp_path / "out").warnings if "grade" in line)
    assert line.startswith("1 of 1 micrograph has a bad grade (1 film)")


def test_a_model_without_these_classes_gives_no_grades_and_rejects_none(tasks, tmp_path):
    told = screen(tmp_path / "out", tasks[:1], classes=("good", "support"))
    assert told[1].grade == "" and read_summary(tmp_path / "out").grades == {}
    assert lists(tmp_path / "out") == ["accepted", "discarded", "failed"]
    reject = CONFIG.model_copy(update={"reject_grades": ["film"]})
    with pytest.raises(SettingsError, match="'variance' gives no grades, because it does not know crystalline"):
        screen(tmp_path / "other", tasks[:1], reject, classes=("good", "support"))
    assert not (tmp_path / "other").exists()
    with pytest.raises(CryoIceError, match="has no grades"):
        StoredMaps.read(tmp_path / "out").score(1, tasks[0].picks, reject)


def write_grader(folder, seed):
    """Write the model folder of an untrained grader."""
    folder.mkdir()
    torch.manual_seed(seed)
    network = ResNet(10, 4)
    config = ModelConfig(
        name="grader", network="resnet", classes=list(GRADES), views=[ViewConfig()], network_options=network.options
    )
    (folder / "model.json").write_text(config.to_text())
    save_weights(network, folder / "weights.safetensors")
    write_sums(folder)
    return folder


def test_a_trained_grader_grades_with_any_model_and_is_bound_to_the_run(tasks, tmp_path):
    first, second = (write_grader(tmp_path / name, seed) for seed, name in enumerate(("first", "second")))
    config, two_classes = CONFIG.model_copy(update={"grader": str(first)}), ("good", "support")
    told = screen(tmp_path / "out", tasks[:3], config, two_classes)
    for task in tasks[:3]:
        loaded = load_micrograph(task.path)
        expected = load_grader(first).probabilities(loaded.image, loaded.pixel_size, loaded.border)
        assert told[task.id].grade_probabilities == pytest.approx(expected, abs=1e-5)
        assert told[task.id].grade in ALL_GRADES and told[task.id].grade_reason.endswith(".")
    first.rename(tmp_path / "moved")
    config = config.model_copy(update={"grader": str(tmp_path / "moved")})
    assert set(screen(tmp_path / "out", tasks[:4], config, two_classes, resume=True)) == {4}
    with pytest.raises(SettingsError, match="grader was"):
        screen(tmp_path / "out", tasks[:4], config.model_copy(update={"grader": str(second)}), resume=True)
    with pytest.raises(CryoIceError, match="maps micrographs and does not grade them"):
        screen(tmp_path / "other", tasks[:1], config.model_copy(update={"grader": "default"}))


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"reject_grades": ["carbon"]}, "unknown grade carbon; the grades are great, decent"),
        ({"reject_grades": ["film"], "grade": False}, "grading is switched off"),
        ({"miss_cost": 0.0}, "miss_cost"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(SettingsError, match=words):
        ScreenConfig.make(**settings)


def test_a_resumed_run_must_have_the_same_grades(run, tasks):
    for settings in ({"grade": False}, {"miss_cost": 5.0}, {"reject_grades": ["film"]}):
        with pytest.raises(SettingsError, match=next(iter(settings))):
            screen(run, tasks, CONFIG.model_copy(update=settings), resume=True)
