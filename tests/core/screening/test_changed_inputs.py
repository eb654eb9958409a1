# SPDX-License-Identifier: GPL-3.0-or-later
"""A micrograph whose file changed after it was screened is screened again; one that was only touched is not."""

import dataclasses
import json
import os
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
import tifffile
from standin import PIXEL, executor, make_tasks, write_micrograph

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, PickTable, X, Y
from cryoice_scipion.core.images import identity
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.core.screening import checkpoint
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.screening.state import RunState

FLAG = "file_changed"


@pytest.fixture
def screen(tmp_path):
    """Return a function that screens tasks, and returns the records that are new."""

    def run(tasks, folder="o", closed=True):
        config = ScreenConfig(reference=len(tasks), outlier=False, regions=False)
        options = RunOptions((tmp_path / folder).exists(), True)
        with ScreeningRun(tmp_path / folder, config, [executor()], options) as screening:
            return list(screening.process(tasks, closed))

    return run


def results(folder):
    """Return all records without the times, and without the flag of a changed file."""
    found = read_records(folder)
    return [dataclasses.replace(one, seconds=0.0, flags=[flag for flag in one.flags if flag != FLAG]) for one in found]


def lines(folder, kind):
    found = map(json.loads, (folder / "journal.jsonl").read_text().splitlines())
    return [line for line in found if line["kind"] == kind]


def test_a_micrograph_that_changed_is_screened_again_and_counted_once(tmp_path, screen, caplog):
    tasks = make_tasks(tmp_path / "m", 3)
    whole = Path(tasks[1].path).read_bytes()
    write_micrograph(tasks[1].path, seed=1, bad_columns=120)
    before = {one.id: one for one in screen(tasks)}
    Path(tasks[1].path).write_bytes(whole)
    (again,) = screen(tasks)
    assert (again.id, FLAG in again.flags, FLAG in before[2].flags) == (2, True, False)
    assert again.bad_area != before[2].bad_area
    assert "mic002.mrc: has changed since it was screened; it is screened again" in caplog.text
    summary = read_summary(tmp_path / "o")
    assert (summary.micrographs, summary.picks, summary.kept) == (
        3,
        18,
        sum(one.kept for one in results(tmp_path / "o")),
    )
    assert any(
        "1 micrograph changed after it was screened, and was screened again" in warning for warning in summary.warnings
    )
    assert len((tmp_path / "o" / "micrographs.csv").read_text().splitlines()) == 4
    assert screen(tasks) == []
    tasks[1].picks.pop()
    assert FLAG in screen(tasks)[0].flags  # scored on the stored map
    screen(tasks, "undisturbed")
    assert results(tmp_path / "o")[1].areas == results(tmp_path / "undisturbed")[1].areas
    assert results(tmp_path / "o")[1].scores == results(tmp_path / "undisturbed")[1].scores


def test_a_micrograph_that_changed_and_cannot_be_read_leaves_no_coordinates_and_no_regions(tmp_path):
    tasks, config = make_tasks(tmp_path / "m", 2), ScreenConfig(reference=0, particle_diameter=30, box_files=True)
    rows = [(pick.x, pick.y, task.path) for task in tasks for pick in task.picks]
    for number, pick in enumerate(pick for task in tasks for pick in task.picks):
        pick.id = number
    table = PickTable(pd.DataFrame(rows, columns=[X, Y, MICROGRAPH]), "coordinates")
    with ScreeningRun(tmp_path / "o", config, [executor()], RunOptions(picks=table)) as run:
        list(run.process(tasks))
        assert len(json.loads((tmp_path / "o" / "regions.json").read_text())["images"]) == 2
        Path(tasks[0].path).write_bytes(b"nothing")
        list(run.process(tasks))
    names = {path.name for path in (tmp_path / "o" / "coordinates" / "per_micrograph").iterdir()}
    assert names == {"mic002_cryoice.star", "mic002.box"} and read_summary(tmp_path / "o").failed == 1
    coco = json.loads((tmp_path / "o" / "regions.json").read_text())
    assert [one["file_name"] for one in coco["images"]] == [tasks[1].path]
    assert {one["image_id"] for one in coco["annotations"]} == {2}


def change(task):
    write_micrograph(task.path, seed=7, bad_columns=150)


def test_a_kill_between_the_new_map_and_the_new_result_leaves_no_earlier_result(tmp_path, screen, monkeypatch):
    tasks = make_tasks(tmp_path / "m", 2)
    before = {one.id: one.bad_area for one in screen(tasks)}
    change(tasks[0])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunState, "add_record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        screen(tasks)
    assert [line["id"] for line in lines(tmp_path / "o", "mapped")][2:] == [1]
    config = ScreenConfig(reference=2, outlier=False, regions=False)
    with ScreeningRun(tmp_path / "o", config, [executor()], RunOptions(True)) as run:
        assert [run.has_changed(task.id, task.path) for task in tasks] == [True, False]  # for a watch
    (again,) = screen(tasks)
    assert (again.id, FLAG in again.flags, again.bad_area != before[1]) == (1, True, True)
    assert len(lines(tmp_path / "o", "mapped")) == 3
    assert screen(tasks) == []


def test_a_checkpoint_of_a_stopped_run_keeps_what_is_to_be_screened_again(tmp_path, screen, monkeypatch):
    monkeypatch.setattr(checkpoint, "SMALLEST", 0)
    tasks = make_tasks(tmp_path / "m", 2)
    screen(tasks)
    change(tasks[0])
    config = ScreenConfig(reference=2, outlier=False, regions=False)
    with ScreeningRun(tmp_path / "o", config, [executor()], RunOptions(True)) as run:
        run.stop()
        assert list(run.process(tasks)) == []
        assert run.backlog == 1
    assert [(one.id, FLAG in one.flags) for one in screen(tasks)] == [(1, True)]


def test_a_run_that_goes_on_after_an_interrupt_uses_no_earlier_map(tmp_path, screen):
    tasks = make_tasks(tmp_path / "m", 3)
    before = {one.id: one.bad_area for one in screen(tasks)}
    for task in tasks:
        change(task)
    config = ScreenConfig(reference=3, outlier=False, regions=False)
    with ScreeningRun(tmp_path / "o", config, [executor()], RunOptions(True)) as run:
        records = run.process(tasks)
        first = next(records)
        records.close()
        found = {one.id: one for one in [first, *run.process([])]}
    assert sorted(found) == [1, 2, 3]
    assert all(FLAG in one.flags and one.bad_area != before[one.id] for one in found.values())


def test_touched_files_are_read_once_and_unchanged_ones_never(tmp_path, screen, monkeypatch):
    tasks = make_tasks(tmp_path / "m", 2)
    screen(tasks)
    os.utime(tasks[0].path)
    assert screen(tasks) == []
    assert [line["id"] for line in lines(tmp_path / "o", "touched")] == [1]
    monkeypatch.setattr(identity, "identify", lambda path: pytest.fail("a file was read"))
    assert screen(tasks) == []


def write_stack(path, seeds, pixel_size=PIXEL, **kind):
    """Write a stack of micrographs, and return tasks of its frames; the first seeds have the same numbers of them."""
    tasks = make_tasks(path.parent / "single", len(seeds))
    for task, seed in zip(tasks, seeds):
        write_micrograph(task.path, seed=seed, bad_columns=40 + seed)
    pixels = np.stack([mrcfile.read(task.path) for task in tasks])
    if path.suffix == ".tif":
        resolution = (1e8 / pixel_size, 1e8 / pixel_size)
        tifffile.imwrite(
            path, pixels, photometric="minisblack", resolution=resolution, resolutionunit="CENTIMETER", **kind
        )
    else:
        with mrcfile.new(str(path), overwrite=True, compression="gzip" if path.suffix == ".gz" else None) as mrc:
            mrc.set_data(pixels)
            mrc.set_image_stack()
            mrc.voxel_size = pixel_size
    return [dataclasses.replace(task, path=f"{task.id}@{path}") for task in tasks]


@pytest.mark.parametrize(
    "name, kind", [("s.mrcs", {}), ("s.tif", {}), ("s.tif", {"rowsperstrip": 50}), ("s.tif", {"compression": "zlib"})]
)
def test_of_a_stack_only_the_frames_that_changed_are_screened_again(tmp_path, screen, name, kind):
    path = tmp_path / name
    tasks = write_stack(path, [1, 2, 3], **kind)
    screen(tasks)
    os.utime(path)
    assert screen(tasks) == []
    assert [line["id"] for line in lines(tmp_path / "o", "touched")] == [1, 2, 3]
    assert write_stack(path, [1, 2, 3, 4], **kind)[:3] == tasks  # it has grown
    assert screen(tasks) == []
    write_stack(path, [1, 7, 3, 4], **kind)
    assert [(one.id, FLAG in one.flags) for one in screen(tasks)] == [(2, True)]
    assert screen(tasks) == []
    write_stack(path, [1, 7, 3, 4], PIXEL + 1, **kind)
    assert [one.id for one in screen(tasks)] == [1, 2, 3]


def test_the_frames_of_a_compressed_stack_are_screened_again_when_the_file_changes(tmp_path, screen):
    path = tmp_path / "s.mrcs.gz"
    tasks = write_stack(path, [1, 2])
    screen(tasks)
    os.utime(path)
    assert screen(tasks) == []
    write_stack(path, [1, 7])
    assert [(one.id, FLAG in one.flags) for one in screen(tasks)] == [(1, True), (2, True)]
    assert screen(tasks) == []
    assert len({identity.content_of(task.path) for task in tasks}) == 2  # a training must not join them


def test_a_changed_micrograph_that_cannot_be_read_any_more_fails(tmp_path, screen):
    tasks = make_tasks(tmp_path / "m", 2)
    screen(tasks)
    whole = Path(tasks[0].path).read_bytes()
    Path(tasks[0].path).write_bytes(whole[:3000])
    (failed,) = screen(tasks)
    assert (failed.status, failed.kept, "truncated" in failed.reason or "MRC" in failed.reason) == ("failed", 0, True)
    Path(tasks[0].path).write_bytes(whole)
    assert [one.status for one in screen(tasks)] == ["accepted"]
    assert read_summary(tmp_path / "o").accepted == 2


def test_a_file_that_is_gone_keeps_its_results(tmp_path, screen):
    tasks = make_tasks(tmp_path / "m", 2)
    screen(tasks)
    Path(tasks[0].path).unlink()
    assert screen(tasks) == []


def test_the_reference_is_made_from_what_the_files_are_now(tmp_path, screen):
    tasks = make_tasks(tmp_path / "m", 3)
    config, options = ScreenConfig(reference=5, outlier=False, regions=False), RunOptions()
    with ScreeningRun(tmp_path / "o", config, [executor()], options) as run:
        assert list(run.process(tasks, closed=False)) == []
        write_micrograph(tasks[0].path, seed=7, bad_columns=150)
        assert list(run.process(tasks, closed=False)) == []
        assert len(list(run.process([], closed=True))) == 3
    assert [line["id"] for line in lines(tmp_path / "o", "mapped")] == [1, 2, 3, 1]
    assert not any(FLAG in one.flags for one in read_records(tmp_path / "o"))


@pytest.mark.parametrize("size", [0, 10, 1 << 16, 5 << 16])
def test_an_identity_tells_size_and_parts_of_the_content(tmp_path, size):
    path = tmp_path / "f"
    path.write_bytes(bytes(size))
    first = identity.identify(str(path))
    assert first.size == size
    assert identity.identify(str(path)) == first
    for at in {0, size // 2, max(0, size - 1)} if size else ():
        path.write_bytes(bytes(at) + b"x" + bytes(size - at - 1))
        assert identity.identify(str(path)).digest != first.digest
    assert identity.identify(str(tmp_path)) is None
    assert identity.identify(f"3@{path}") is None


@pytest.mark.parametrize("name", ["s.mrcs", "s.tif"])
def test_a_frame_that_a_stack_does_not_have_has_no_identity(tmp_path, name):
    path = tmp_path / name
    write_stack(path, [1, 2])
    assert [identity.identify(f"{frame}@{path}") is None for frame in (0, 1, 2, 3)] == [True, False, False, True]
    path.write_bytes(path.read_bytes()[:100])
    assert identity.identify(f"1@{path}") is None
