# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice regions``: all regions of a run, and more places like labelled ones."""

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from standin import PIXEL, executor, make_tasks

from cryoice_scipion.core.cli import main
from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.evaluation.labels import COLUMNS
from cryoice_scipion.core.formats.star import read_star
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.maps.bad_area import Cells
from cryoice_scipion.core.regions.layers import CLASSES, layers_of
from cryoice_scipion.core.screening.region_search import search_regions
from cryoice_scipion.core.screening.region_search_files import SPACING
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.training.sources import Sources

NAMES = ("good", "support", "crystalline", "contamination", "thick", "aggregate", "vacuum")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run of three micrographs; the left 64 px are bad."""
    base = tmp_path_factory.mktemp("search")
    with ScreeningRun(base / "run", ScreenConfig(reference=2), [executor(classes=NAMES)]) as screening:
        list(screening.process(make_tasks(base / "mics", 3)))
    return base


def search(run, output, *words):
    assert main(["regions", str(run / "run"), "--output", str(output), "--quiet", *map(str, words)]) == 0
    with open(output / "regions.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def write_labels(path, boxes):
    path.write_text(json.dumps({"version": 1, "micrographs": boxes}))
    return path


STRIP = {"x": 0, "y": 0, "width": 64, "height": 160, "class": "curtain"}
CLEAN = {"x": 150, "y": 20, "width": 40, "height": 40, "good": True}


def test_one_labelled_box_finds_the_same_thing_on_the_other_micrographs(run, tmp_path):
    labels = write_labels(tmp_path / "labels.json", {"mic001": [STRIP, CLEAN]})
    rows = search(run, tmp_path / "out", "--labels", labels)
    assert {row["class"] for row in rows} == {"curtain"}
    first = [next(row for row in rows if row["micrograph"] == name) for name in ("mic001", "mic002", "mic003")]
    for row in first:
        left, top, width, height = (float(row[key]) for key in ("x", "y", "width", "height"))
        assert left < 16 and top < 16 and abs(left + width - 64) <= 16 and abs(height - 160) <= 16
        assert 0 < float(row["expected_iou"]) < 1
    assert {int(row["id"]) for row in first} == {1, 2, 3}
    assert search(run, tmp_path / "again", "--labels", labels) == rows


def test_the_files_agree_and_the_bad_set_lies_in_the_regions(run, tmp_path):
    rows = search(run, tmp_path / "out")
    coco = json.loads((tmp_path / "out" / "regions.json").read_text())
    names = {one["id"]: one["name"] for one in coco["categories"]}
    assert [(one["id"], names[one["category_id"]], one["score"]) for one in coco["annotations"]] == [
        (int(row["id"]), row["class"], float(row["confidence"])) for row in rows
    ]
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.width > sheet.height > 160
    sure = [row for row in rows if float(row["confidence"]) >= 0.5]
    (block,) = read_star(tmp_path / "out" / "bad.star")
    assert len(block.table) >= len(sure) > 0
    for place in block.table.itertuples():
        assert any(
            float(row["x"]) <= place.rlnCoordinateX <= float(row["x"]) + float(row["width"])
            and float(row["y"]) <= place.rlnCoordinateY <= float(row["y"]) + float(row["height"])
            for row in sure
        )
    for _, places in block.table.groupby("rlnMicrographName"):
        at = places[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy(float) * PIXEL
        apart = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1)) + 1e6 * np.eye(len(at))
        assert len(sure) > 3 or apart.min() >= SPACING - 1


@pytest.mark.parametrize(
    "boxes, words",
    [
        ({"other": [STRIP]}, "no labelled micrograph (other) is in this run"),
        ({"mic001": [CLEAN]}, "no box is labelled as bad"),
    ],
)
def test_labels_that_do_not_fit_are_one_line(run, tmp_path, capsys, boxes, words):
    labels = write_labels(tmp_path / "labels.json", boxes)
    assert main(["regions", str(run / "run"), "--output", str(tmp_path / "out"), "--labels", str(labels)]) == 2
    assert words in capsys.readouterr().err


def test_a_folder_without_a_run_is_one_line(tmp_path, capsys):
    assert main(["regions", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "holds no screening" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "p_bad, grade, listed", [(1e-3, "", False), (1e-3, "great", False), (1e-3, "empty", True), (0.9, "", True)]
)
def test_a_whole_micrograph_is_listed_only_if_its_map_or_its_grade_says_that_it_is_bad(p_bad, grade, listed):
    shape, noise = (40, 50), np.random.default_rng(0).normal(0, 1, (40, 50))
    by_class = np.full((len(CLASSES), *shape), p_bad / len(CLASSES), np.float32)
    cells = Cells(by_class.sum(axis=0), by_class, list(CLASSES), np.zeros(shape, bool), 32.0)
    maps = SimpleNamespace(
        tasks={1: SimpleNamespace(stem="mic")}, layers=lambda key: layers_of(cells, Frame((320, 400), 4.0), noise),
        grade=lambda key: grade, config=ScreenConfig(), model=ModelConfig(name="m", views=[{"sampling": 4.0}]),
    )  # fmt: skip
    assert any(one.proposal.area > 0.9 * 40 * 50 for one in search_regions(maps)) == listed


def test_boxes_belong_to_the_micrograph_of_their_folder(run, tmp_path):
    for folder, name in (("Sq1", "mic001"), ("Sq2", "mic002")):
        (tmp_path / folder).mkdir()
        shutil.copy(run / "mics" / f"{name}.mrc", tmp_path / folder / "same.mrc")
    images = [str(tmp_path / folder / "same.mrc") for folder in ("Sq1", "Sq2")]
    by_stem = write_labels(tmp_path / "labels.json", {"same": [STRIP], "Sq2_same": [CLEAN]})
    found = {item.path: set(item.points["label"]) for item in Sources(boxes=by_stem, micrographs=images).labelled(0)}
    assert found == {images[0]: {"bad"}, images[1]: {"good"}}
    by_path = write_labels(tmp_path / "places.json", {images[1]: [STRIP, CLEAN]})
    (only,) = Sources(boxes=by_path, micrographs=images[1:]).labelled(0)
    assert only.path == images[1] and set(only.points["label"]) == {"good", "bad"}


def test_boxes_are_labelled_places_of_a_training(run, tmp_path):
    boxes = {"mic001": [STRIP, CLEAN], "mic002": [{**STRIP, "class": "thick"}], "missing": [STRIP]}
    labels = write_labels(tmp_path / "labels.json", boxes)
    sources = Sources(boxes=labels, micrographs=[str(run / "mics")])
    first, second = sources.labelled(0)
    assert list(first.points) == COLUMNS and first.points["label"].tolist() == ["good"] * 5 + ["bad"] * 5
    assert second.points["label"].tolist() == ["thick"] * 5
    assert first.points.iloc[5][["x", "y"]].tolist() == [32, 80] and first.points["x"].max() == 180
    assert any("belong to other micrographs" in line for line in sources.messages)
    assert sources.describe() == {"labelled boxes": "labels.json"}
