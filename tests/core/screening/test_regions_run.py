# SPDX-License-Identifier: GPL-3.0-or-later
"""Regions of a run: their files, sums and section in the report, also after an interruption."""

import csv
import json

import numpy as np
import pytest
from standin import executor, make_tasks

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.images.writing import read_map
from cryoice_scipion.core.reports.html import write_report
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.core.results.stored_maps import StoredMaps
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun

CONFIG = ScreenConfig(reference=2, region_maps=True)


def screen(folder, tasks, resume=False, config=CONFIG):
    with ScreeningRun(folder, config, [executor()], RunOptions(resume, write_report=write_report)) as run:
        list(run.process(tasks))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return make_tasks(tmp_path_factory.mktemp("session"), 4)


@pytest.fixture(scope="module")
def run(tasks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    screen(folder, tasks)
    return folder


def rows(folder):
    with open(folder / "regions.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_region_is_in_table_coco_map_record_and_summary(run, tasks):
    found, coco = rows(run), json.loads((run / "regions.json").read_text())
    records = {record.stem: record for record in read_records(run)}
    assert [one["file_name"] for one in coco["images"]] == [task.path for task in tasks]
    assert [one["id"] for one in coco["annotations"]] == list(range(1, len(found) + 1))
    names = {one["id"]: one["name"] for one in coco["categories"]}
    for row, entry in zip(found, coco["annotations"]):
        record = records[row["micrograph"]]
        region = record.regions[int(row["id"]) - 1]
        assert entry["image_id"] == record.id and names[entry["category_id"]] == row["class"] == region.cls
        assert entry["bbox"] == [float(row[key]) for key in ("x", "y", "width", "height")]
        assert entry["area"] == pytest.approx(100 * float(row["area_nm2"]) / record.pixel_size**2, rel=1e-3)
        assert len(entry["segmentation"][0]) >= 6 and not region.outline
        cells, sampling = read_map(run / "regions" / "maps" / f"{record.stem}.mrc")
        assert (cells == region.id).sum() * sampling**2 / 100 == pytest.approx(region.area, abs=0.1)
    assert {row["micrograph"] for row in found} == set(records)
    assert sum(read_summary(run).regions.values()) == len(found)


def test_an_interrupted_run_gives_the_same_files(run, tasks, tmp_path):
    screen(tmp_path / "out", tasks[:3])
    with open(tmp_path / "out" / "regions.csv", "a") as stream:
        stream.write("mic003,torn")
    (tmp_path / "out" / "regions.json").unlink()
    screen(tmp_path / "out", tasks, resume=True)
    for name in ("regions.csv", "regions.json"):
        assert (tmp_path / "out" / name).read_bytes() == (run / name).read_bytes()


def test_the_report_says_how_many_regions_a_micrograph_has_and_how_large_they_are(run):
    page = (run / "report.html").read_text()
    found = rows(run)
    names = [row["class"] for row in found]
    most = max(sorted(set(names)), key=names.count)
    size = np.median([round(float(row["diameter_A"]) / 10) * 10 for row in found if row["class"] == most])
    likely = [row["likeliest"] for row in found]
    assert set(names) - {"uncertain"}
    for name in set(names) - {"uncertain"}:
        cells = (
            f'<td class="number">{names.count(name) / 4:.1f}</td><td class="number">{likely.count(name) / 4:.1f}</td>'
        )
        assert cells in page
    assert f"{names.count(most) / 4:.1f}" in page and f"{size:,.0f}\u00a0Å" in page


def test_regions_can_be_switched_off_and_new_coordinates_need_none(run, tasks, tmp_path):
    screen(tmp_path / "out", tasks[:1], config=ScreenConfig(regions=False))
    assert not list((tmp_path / "out").glob("regions*")) and read_summary(tmp_path / "out").regions == {}
    maps = StoredMaps.read(run)
    assert maps.score(1, tasks[0].picks, maps.config).regions == []
