# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python interface: the same verdicts as the command line, in memory, and the same files when saved."""

import dataclasses
import json
import shutil
import subprocess
import sys

import gemmi
import mrcfile
import numpy as np
import pytest
from noise import write_noise
from random_model import write_random_model
from simple_grader import CLASSES

from cryoice_scipion import core as cryoice
from cryoice_scipion.core.cli import main
from cryoice_scipion.core.errors import CoordinatesError, CryoIceError, ImageError, PixelSizeError, SettingsError
from cryoice_scipion.core.images.writing import read_map
from cryoice_scipion.core.results.run_reader import read_records

XY = np.array([[30.0, 40.0], [100.0, 90.0], [-5.0, 10.0], [200.0, 60.0]])
DIAMETER = 100.0  # Å


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a model, two micrographs and their coordinates."""
    base = tmp_path_factory.mktemp("api")
    write_random_model(base / "model", classes=CLASSES)
    (base / "mics").mkdir()
    head = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnMicrographName\n"
    rows = ""
    for number in range(2):
        write_noise(base / "mics" / f"mic{number}.mrc", number)
        rows += "".join(f"{x} {y} mic{number}.mrc\n" for x, y in XY)
    (base / "picks.star").write_text(head + rows)
    return base


@pytest.fixture(scope="module")
def detector(folder):
    return cryoice.load(folder / "model", device="cpu")


@pytest.fixture(scope="module")
def by_command(folder):
    words = ["screen", folder / "mics", "--coordinates", folder / "picks.star", "--particle-diameter", DIAMETER]
    words += ["--model", folder / "model", "--output", folder / "command", "--device", "cpu", "--margin", 20]
    assert main([str(word) for word in words]) == 0
    return folder / "command"


def pixels(folder, number):
    with mrcfile.open(folder / "mics" / f"mic{number}.mrc") as mrc:
        return mrc.data.copy(), float(mrc.voxel_size.x)


def scores_of(run, stem):
    """Return goodness, class and verdict of a micrograph's coordinates, by what the journal says last."""
    lines = map(json.loads, (run / "journal.jsonl").read_text().splitlines())
    told = [line["record"] for line in lines if line["kind"] == "screened" and line["record"]["stem"] == stem]
    return [(score["goodness"], score["cls"], score["kept"]) for score in told[-1]["scores"]]


@pytest.mark.parametrize("number", [0, 1])
def test_an_array_gets_the_verdict_that_its_file_gets(folder, detector, by_command, number):
    image, pixel_size = pixels(folder, number)
    result = detector.screen(image, pixel_size, XY, DIAMETER, margin=20)
    np.testing.assert_array_equal(result.probability, read_map(by_command / "probability" / f"mic{number}.mrc")[0])
    np.testing.assert_array_equal(result.mask, read_map(by_command / "masks" / f"mic{number}.mrc")[0])
    goodness = [None if np.isnan(value) else value for value in result.goodness]
    told = list(zip(goodness, result.coordinate_classes, result.kept.tolist()))
    assert told == scores_of(by_command, f"mic{number}")
    assert result.coordinate_classes[2] == "outside" and np.isnan(result.goodness[2])
    record = {one.stem: one for one in read_records(by_command)}[f"mic{number}"]
    assert (result.grade, result.record.grade_probabilities) == (record.grade, record.grade_probabilities)
    discarded = detector.screen(image, pixel_size, XY, DIAMETER, reject_grades=[result.grade])
    assert discarded.record.status == "discarded" and not discarded.kept.any()
    assert sum(result.areas.values()) == pytest.approx(1) and 0 <= result.bad_area <= 1
    assert result.mask.shape == result.classes.shape == result.probability.shape
    assert [dataclasses.replace(one, outline=[]) for one in result.regions] == record.regions
    assert all(len(one.outline) >= 3 for one in result.regions)


def test_a_saved_result_has_the_files_of_the_command(folder, detector, by_command, tmp_path):
    image, pixel_size = pixels(folder, 0)
    result = detector.screen(image, pixel_size, XY, DIAMETER, name="mic0", margin=20)
    assert result.save(tmp_path / "out") == tmp_path / "out"

    def files(base):
        return {str(path.relative_to(base)) for path in base.rglob("*") if path.is_file() and "mic1" not in path.name}

    assert files(tmp_path / "out") == files(by_command)
    assert scores_of(tmp_path / "out", "mic0") == scores_of(by_command, "mic0")
    table = gemmi.cif.read(str(tmp_path / "out" / "coordinates" / "rejected.star"))[0]
    kept = gemmi.cif.read(str(tmp_path / "out" / "coordinates" / "kept.star"))[0]
    assert sum(len(block.find_loop("_rlnCoordinateX")) for block in (table, kept)) == len(XY)
    with pytest.raises(SettingsError, match="holds a run already"):
        result.save(tmp_path / "out")


def test_a_name_that_no_output_can_hold_is_written_plainly(folder, detector, tmp_path):
    image, pixel_size = pixels(folder, 0)
    result = detector.screen(image, pixel_size, XY, DIAMETER, name="a\udcff.mrc")
    rejected = gemmi.cif.read(str(result.save(tmp_path / "out") / "coordinates" / "rejected.star"))[0]
    assert set(rejected.find_loop("_rlnMicrographName")) == {"a%FF.mrc"}


def test_a_session_of_files_is_screened_and_continued(folder, detector, by_command, tmp_path):
    options = {"coordinates": folder / "picks.star", "particle_diameter": DIAMETER, "margin": 20}
    results = list(cryoice.screen_files(folder / "mics", detector, tmp_path / "run", **options))
    assert [result.record.stem for result in results] == ["mic0", "mic1"]
    for result in results:
        told = list(zip(result.coordinate_classes, result.kept.tolist()))
        assert told == [(cls, kept) for _, cls, kept in scores_of(by_command, result.record.stem)]
        stored = read_map(by_command / "probability" / f"{result.record.stem}.mrc")[0]
        np.testing.assert_array_equal(result.probability, stored)
    assert list(cryoice.screen_files(folder / "mics", detector, tmp_path / "run", **options)) == []
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["adds_up"] and summary["input_picks"] == 2 * len(XY)


def test_coordinates_that_fit_two_micrographs_are_named_in_the_log(folder, detector, tmp_path, caplog):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(folder / "mics" / "mic0.mrc", tmp_path / name)
    files = [tmp_path / "one" / "mic0.mrc", tmp_path / "two" / "mic0.mrc", folder / "mics" / "mic1.mrc"]
    found = list(cryoice.screen_files(files, detector, coordinates=folder / "picks.star", particle_diameter=DIAMETER))
    assert [len(result.coordinate_classes) for result in found] == [0, 0, len(XY)]
    (line,) = (record.message for record in caplog.records if "fits several" in record.message)
    assert line.startswith("mic0.mrc: ") and "its 4 coordinates are left out" in line


def test_nothing_is_left_behind_without_an_output_and_a_broken_file_is_told(folder, detector, tmp_path):
    (tmp_path / "broken.mrc").write_bytes(b"no image")
    found = list(cryoice.screen_files([folder / "mics" / "mic0.mrc", tmp_path / "broken.mrc"], detector))
    assert {result.record.stem: result.record.status for result in found} == {"mic0": "accepted", "broken": "failed"}
    (broken,) = (result for result in found if result.record.status == "failed")
    assert broken.probability.shape == (0, 0) and "broken.mrc" in broken.record.reason
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.mrc"]


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"image": np.zeros((4, 5, 6))}, ImageError, "shape .4, 5, 6."),
        ({"image": np.zeros((64, 64), complex)}, ImageError, "complex128"),
        ({"image": np.zeros((64, 64))}, ImageError, "all pixels are 0"),
        ({"pixel_size": 0.0}, PixelSizeError, "not between 0.05 and 200"),
        ({"pixel_size": float("nan")}, PixelSizeError, "nan is not between"),
        ({"coordinates": [1, 2, 3]}, SettingsError, "shape .3,."),
        ({"diameter": None}, CoordinatesError, "diameter is not known"),
        ({"threshold": 7}, SettingsError, "threshold must be"),
        ({"treshold": 0.5}, SettingsError, "treshold"),
        ({"model": "other"}, SettingsError, "give it to load"),
    ],
)
def test_what_cannot_be_screened_is_said_in_one_line(folder, detector, change, error, words):
    image, pixel_size = pixels(folder, 0)
    values = {"image": image, "pixel_size": pixel_size, "coordinates": XY, "diameter": DIAMETER, **change}
    with pytest.raises(error, match=words) as caught:
        detector.screen(**values)
    assert isinstance(caught.value, CryoIceError) and "\n" not in str(caught.value)


def test_picks_of_other_micrographs_and_unknown_models_are_refused(folder, detector, tmp_path):
    (tmp_path / "other.star").write_text(
        "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnMicrographName\n1 2 nobody.mrc\n"
    )
    with pytest.raises(CoordinatesError, match="of 1 coordinate, none matches"):
        list(cryoice.screen_files(folder / "mics", detector, coordinates=tmp_path / "other.star", box_size=20))
    with pytest.raises(CryoIceError, match="no such model"):
        cryoice.load("nobody")
    with pytest.raises(AttributeError, match="nothing"):
        cryoice.nothing  # noqa: B018


def test_importing_takes_no_torch():
    code = "import sys; from cryoice_scipion import core; core.screen_files; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
