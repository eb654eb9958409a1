# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches of nested folders, with several sources of coordinates, equal and long names."""

import logging
import os

import pytest
from standin import write_micrograph
from test_watched_run import BOXES, SETTLE, finish, go_on, make_old, watching, watching_with

from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.core.streaming.coordinate_sources import CoordinateSources
from cryoice_scipion.core.streaming.streaming_coordinates import StreamingCoordinates

HEAD = "data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n"
LONG = "n" * 240


def picks_of(output):
    return {record.stem: len(record.scores) for record in read_records(output)}


def test_nested_micrographs_and_picks_of_two_sources_are_screened_and_resumed(tmp_path, caplog):
    folder, picks, output = tmp_path / "m", tmp_path / "AutoPick", tmp_path / "o"
    for number, name in enumerate(("Sq1/a", "Sq2/a", f"Sq2/{LONG}")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_micrograph(folder / f"{name}.mrc", number)
    (picks / "Sq1").mkdir(parents=True)
    (picks / "job.star").write_text("data_job\n_rlnJobType 5\n")
    (picks / "Sq1" / f"{LONG}_autopick.star").write_text(HEAD + f"{LONG}.mrc 32 20\n")
    star = tmp_path / "more.star"
    star.write_text(f"{HEAD}Sq1/a.mrc 32 20\nSq2/a.mrc 170 40\nSq2/a.mrc 180 50\na.mrc 1 1\n{LONG}.mrc 33 21\n")

    def sources():
        return CoordinateSources([picks, star], StreamingCoordinates(lambda path, table: None),
                                 logging.getLogger("watch"), SETTLE)  # fmt: skip

    with watching_with(folder, output, sources()) as watch:
        go_on(watch)
        finish(watch)
    first = picks_of(output)
    assert sorted(first.values()) == [1, 2, 2] and {"a", "Sq2_a"} < set(first)
    summary = read_summary(output)
    assert (summary.input_picks, summary.left_out, summary.adds_up) == (6, {"ambiguous_name": 1}, True)
    assert "fits several micrographs" in caplog.text and "are in several files and are joined" in caplog.text
    write_micrograph(folder / "Sq2" / "b.mrc", 7)
    with star.open("a") as stream:
        stream.write("b.mrc 32 20\n")
    with watching_with(folder, output, sources(), resume=True) as watch:
        assert "b" in go_on(watch)  # others may be scored again while the second source is still being read
        finish(watch)
    assert picks_of(output) == {**first, "b": 1} and read_summary(output).adds_up
    kept = [read_picks(output / "coordinates" / f"{name}.star").table for name in ("kept", "rejected")]
    assert sum(map(len, kept)) == 7


def test_a_resume_finds_micrographs_and_picks_again_whatever_their_folders_are_called(tmp_path, caplog):
    folder, picks, output, subfolder = tmp_path / "m\n", tmp_path / "c", tmp_path / "o", "Sq\n1"
    for parent in (folder, picks):
        (parent / subfolder).mkdir(parents=True)
    for number, name in enumerate(("a", "b\n")):
        write_micrograph(folder / subfolder / f"{name}.mrc", number)
        (picks / subfolder / f"{name}.box").write_text(BOXES)
    for resume in (False, True):
        if resume:
            (picks / "Late.star").write_text(HEAD + "a.mrc 32 20\n")  # of another format, and the first by name
            write_micrograph(folder / "top.mrc", 3)  # at another depth
            write_micrograph(folder / subfolder / "c.mrc", 3)
            write_micrograph(folder / subfolder / "a.jpg", 3)  # comes before a.mrc
        for parent in (folder, folder / subfolder, picks, picks / subfolder):
            make_old(parent)
        with watching(folder, output, picks, resume=resume) as watch:
            assert sorted(go_on(watch)) == (["c"] if resume else ["a", "b%0A"])
            finish(watch)
    assert picks_of(output) == {"a": 2, "b%0A": 2, "c": 0}
    assert "a.jpg: left out, since" in caplog.text


@pytest.mark.parametrize("late", ["a.mrc", "Sq1/b.mrc"])
def test_files_at_the_other_depth_are_not_screened(tmp_path, late):
    folder, first = tmp_path / "m", "Sq1/a.mrc" if late == "a.mrc" else "a.mrc"
    for name in (first, late):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    write_micrograph(folder / first)
    with watching(folder, tmp_path / "o", reference=0) as watch:
        assert go_on(watch) == ["a"]
        write_micrograph(folder / late)
        assert go_on(watch) == []
        finish(watch)
    assert os.path.basename(read_records(tmp_path / "o")[0].path) == "a.mrc"
