# SPDX-License-Identifier: GPL-3.0-or-later
"""With --archive, the files of many micrographs are in a few archives; nothing else differs, also after kills."""

import itertools
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from standin import executor, make_tasks, write_micrograph

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images import archives
from cryoice_scipion.core.records import Pick
from cryoice_scipion.core.results.picture_layers import read_layers
from cryoice_scipion.core.results.run_folder import RunFolder
from cryoice_scipion.core.results.run_reader import read_records
from cryoice_scipion.core.results.stored_maps import StoredMaps
from cryoice_scipion.core.screening import archiving
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun

EACH, NUMBER = 2, 5  # micrographs of an archive and of the run: two archives, and one micrograph that is left


@pytest.fixture(autouse=True)
def few_micrographs_fill_an_archive(monkeypatch):
    monkeypatch.setattr(archiving, "MICROGRAPHS_EACH", EACH)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def screen(folder, tasks, **options):
    with ScreeningRun(
        folder, ScreenConfig(reference=2), [executor()], RunOptions(**{"archive": True, **options})
    ) as run:
        return list(run.process(tasks))


def reopen(folder):
    """Begin and end another session."""
    ScreeningRun(folder, ScreenConfig(reference=2), [executor()], RunOptions(resume=True, archive=True)).close()


def contents(folder):
    """Return the content of every file that may be archived, wherever it is, by name."""
    names = [name for one in read_records(folder) for name in RunFolder(folder).archivable(one.stem)]
    return {name: archives.read_stored(folder / name) for name in names if archives.is_stored(folder / name)}


def single(folder):
    """Return the names of the micrographs with single files."""
    paths = (folder / name for one in read_records(folder) for name in RunFolder(folder).archivable(one.stem))
    return {path.stem for path in paths if path.is_file()}


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    """Return a run without archives, and its tasks."""
    folder = tmp_path_factory.mktemp("plain")
    tasks = make_tasks(folder / "m", NUMBER)
    screen(folder / "run", tasks, archive=False)
    return folder / "run", tasks


@pytest.fixture
def packed_run(plain_run, tmp_path):
    """Return a run in which two archives hold four of five micrographs."""
    shutil.copytree(plain_run[0], tmp_path / "run")
    screen(tmp_path / "run", plain_run[1], resume=True)
    return tmp_path / "run"


def test_archives_hold_the_same_files_and_every_reader_finds_them(plain_run, tmp_path):
    plain, tasks = plain_run
    run = tmp_path / "run"
    screen(run, tasks)
    assert [path.name for path in sorted((run / "archives").iterdir())] == ["00001.zip", "00002.zip"]
    assert len(single(run)) == NUMBER % EACH == 1
    assert contents(run) == contents(plain) and len(contents(run)) == 6 * NUMBER
    assert json.loads((run / "regions.json").read_text()) == json.loads((plain / "regions.json").read_text())
    for record in read_records(run):
        one, other = read_layers(run, record), read_layers(plain, record)
        assert not one.problems
        for name in ("grey", "probability", "bad", "codes"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert (run / record.thumbnail).is_file()
    one, other = StoredMaps.read(run), StoredMaps.read(plain)
    picks = [Pick(1, 170.0, 20.0, 16.0), Pick(2, 32.0, 40.0, 16.0)]
    for key in one.tasks:
        found, expected = (maps.score(key, picks, maps.config).record.scores for maps in (one, other))
        assert found == expected
        np.testing.assert_array_equal(one.picture(key), other.picture(key))
        np.testing.assert_array_equal(one.layers(key).odds, other.layers(key).odds)


def unpack(folder):
    """Unpack the newest archive first, and overwrite nothing, as the how-to says."""
    for path in sorted((folder / "archives").iterdir(), reverse=True):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if not (folder / name).exists()])
    shutil.rmtree(folder / "archives")


def test_any_unzip_gives_the_single_files_back(plain_run, packed_run):
    unpack(packed_run)
    assert contents(packed_run) == contents(plain_run[0])
    assert len(single(packed_run)) == NUMBER


class Killed(BaseException):
    """The end of the process."""


def test_a_kill_at_any_step_loses_nothing_and_the_next_session_ends_the_work(plain_run, tmp_path, monkeypatch):
    plain, _ = plain_run
    done = set()
    for step in itertools.count(1):
        run, left = tmp_path / f"run{step}", itertools.count(1)
        shutil.copytree(plain, run)

        def killed_at(name, function):
            def call(*arguments, **options):
                if next(left) == step:  # noqa: B023 (called in this round only)
                    done.add(name)
                    raise Killed
                return function(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(zipfile.ZipFile, "writestr", killed_at("write", zipfile.ZipFile.writestr))
            patch.setattr(zipfile.ZipFile, "testzip", killed_at("check", zipfile.ZipFile.testzip))
            patch.setattr(
                "cryoice_scipion.core.images.atomic._remove", lambda path: None
            )  # a killed process removes nothing
            patch.setattr(os, "replace", killed_at("rename", os.replace))
            patch.setattr(Path, "unlink", killed_at("remove", Path.unlink))
            try:
                reopen(run)
                break
            except Killed:
                assert contents(run) == contents(plain)
        reopen(run)
        assert contents(run) == contents(plain)
        assert len(single(run)) == 1 and not list((run / "archives").glob(".*"))
    assert done == {"write", "check", "rename", "remove"} and step > 2 * 6 * 4


def test_late_coordinates_are_scored_on_archived_maps_without_mapping_again(plain_run, packed_run):
    plain, tasks = plain_run
    late = [*tasks[0].picks, Pick(900, 170.0, 60.0, 16.0)]
    for task in tasks:
        Path(task.path).touch()  # the micrograph is not needed
    (record,) = screen(packed_run, [type(tasks[0])(1, tasks[0].path, tasks[0].stem, None, late)], resume=True)
    assert [one.kept for one in record.scores][-1]
    kinds = [json.loads(line)["kind"] for line in (packed_run / "journal.jsonl").read_text().splitlines()]
    assert kinds.count("mapped") == NUMBER
    assert contents(packed_run) == contents(plain)
    reopen(packed_run)
    assert len(single(packed_run)) == 1  # copies of archived files are removed
    assert len(list((packed_run / "archives").iterdir())) == 2


def test_a_micrograph_that_was_screened_again_is_archived_anew_and_the_newest_copy_counts(
    plain_run, packed_run, tmp_path
):
    _, tasks = plain_run
    moved = tmp_path / "other"
    shutil.copytree(Path(tasks[0].path).parent, moved)
    tasks = [type(one)(one.id, str(moved / Path(one.path).name), one.stem, None, one.picks) for one in tasks]
    before = contents(packed_run)
    write_micrograph(tasks[0].path, seed=99, bad_columns=128)
    screen(packed_run, tasks, resume=True)
    after = contents(packed_run)
    changed = {name for name in before if before[name] != after[name]}
    assert {Path(name).stem for name in changed} == {tasks[0].stem} and len(changed) > 3
    assert len(list((packed_run / "archives").iterdir())) == 3 and not single(packed_run)
    reopen(packed_run)
    assert contents(packed_run) == after
    unpack(packed_run)
    assert contents(packed_run) == after


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"probability/mic001.mrc") + 1500] ^= 1
    path.write_bytes(bytes(content))


def compress(path):
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            new.writestr(name, content)


@pytest.mark.parametrize("damage", [cut, flip, compress, lambda path: path.write_bytes(b"")])
def test_a_damaged_archive_is_one_clear_sentence_and_the_others_are_read(packed_run, damage):
    archive = packed_run / "archives" / "00001.zip"
    damage(archive)
    record = next(one for one in read_records(packed_run) if one.stem == "mic001")
    (problem,) = read_layers(packed_run, record).problems
    assert problem.startswith(f"{archive}: the archive is damaged (") and "\n" not in problem
    assert len(problem.split(": ")) == 2 and problem.endswith("into another folder")
    other = next(one for one in read_records(packed_run) if one.stem == "mic003")
    assert not read_layers(packed_run, other).problems


def test_maps_of_a_damaged_archive_are_made_again_and_its_copies_are_not_trusted(plain_run, packed_run):
    plain, tasks = plain_run
    cut(packed_run / "archives" / "00001.zip")
    with pytest.raises(ImageError, match="the archive is damaged"):
        StoredMaps.read(packed_run).score(1, [], ScreenConfig(reference=2))
    late = type(tasks[0])(1, tasks[0].path, tasks[0].stem, None, tasks[0].picks[:-1])
    screen(packed_run, [late], resume=True)
    assert archives.read_stored(packed_run / "masks" / "mic001.mrc") == (plain / "masks" / "mic001.mrc").read_bytes()
    (packed_run / "archives" / "00001.zip").unlink()
    screen(packed_run, [late], resume=True)
    assert contents_of(packed_run, "mic001") == contents_of(plain, "mic001")


def regions_of(folder):
    """Return the content of regions.json."""
    return json.loads((folder / "regions.json").read_text())


@pytest.mark.parametrize(
    "damage, words",
    [
        (cut, "2 of the micrographs: {run}/archives/00001.zip: the archive is damaged (it is incomplete); restore"),
        (Path.unlink, "2 of the micrographs: {run}/regions: files are missing or damaged, singly or with their"),
    ],
)
def test_a_run_with_an_archive_that_cannot_be_read_ends_with_all_files_and_a_warning(
    plain_run, packed_run, damage, words, caplog
):
    plain, tasks = plain_run
    damage(packed_run / "archives" / "00001.zip")
    screen(packed_run, tasks, resume=True)
    assert words.format(run=packed_run) in caplog.text
    summary = json.loads((packed_run / "summary.json").read_text())
    assert summary["finished"] and summary["warnings"][-1] in caplog.text
    assert regions_of(packed_run) == regions_of(plain)  # those of the earlier session
    (packed_run / "regions.json").unlink()
    screen(packed_run, tasks, resume=True)
    assert {one["id"] for one in regions_of(packed_run)["images"]} == {3, 4, 5}
    assert {one["image_id"] for one in regions_of(packed_run)["annotations"]} == {3, 4, 5}


def contents_of(folder, stem):
    return {name: content for name, content in contents(folder).items() if Path(name).stem == stem}
