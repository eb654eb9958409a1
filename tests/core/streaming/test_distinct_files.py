# SPDX-License-Identifier: GPL-3.0-or-later
"""Watched sources that have the same coordinate files: each file counts once, whichever source comes and goes."""

import contextlib
import logging
import time

import pytest

from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.formats.score_cutoff import drop_below
from cryoice_scipion.core.streaming.coordinate_sources import CoordinateSources
from cryoice_scipion.core.streaming.streaming_coordinates import StreamingCoordinates

SETTLE = 0.05
HEAD = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n"
LIST = "data_\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n"
NAMES = ("m1", "m2", "m3")


@contextlib.contextmanager
def watching(*paths, check=lambda path, table: None):
    """Yield a function that polls until nothing changes, and returns the number of coordinates by micrograph."""
    picks = StreamingCoordinates(check)
    sources = CoordinateSources(paths, picks, logging.getLogger("watch"), SETTLE)
    numbers = {}
    sources.begin(numbers, lambda name: numbers.setdefault(name, len(numbers)))
    for name in NAMES:
        picks.add_micrograph(name, f"{name}.mrc")

    for watcher in sources._watchers:
        watcher._retry_policy.seconds = 0.3

    def rest():
        end, busy = time.monotonic() + 10, time.monotonic()
        while time.monotonic() < end and time.monotonic() < busy + 0.5:
            busy = time.monotonic() if sources.poll() or sources.is_pending else busy
            time.sleep(0.02)
        return [len(picks.of(name)) for name in NAMES]

    rest.sources = sources
    try:
        yield rest
    finally:
        sources.release()


@pytest.fixture
def job(tmp_path):
    """Return a folder with two coordinate files, beside a list of them; one row cannot be read."""
    folder = tmp_path / "picks"
    folder.mkdir()
    (folder / "m1_pick.star").write_text(HEAD + "1 2\n3 4\n")
    (folder / "m2_pick.star").write_text(HEAD + "5 6\nx 6\n")
    write_list(tmp_path / "a.star", folder, "m1", "m2")
    return folder


def write_list(path, folder, *names):
    path.write_text(LIST + "".join(f"Movies/{name}.mrc {folder / name}_pick.star\n" for name in names))
    return path


def as_in_batch(sources, *paths):
    """Return whether the counts are those of files that are read at once."""
    counts, batch = sources.counts(), read_picks(paths).counts(sources.picks.count_unmatched())
    return (counts.rows, counts.files, counts.left_out, counts.not_read, counts.other) == (
        batch.rows, batch.files, batch.left_out, batch.not_read, batch.other,
    )  # fmt: skip


@pytest.mark.parametrize("list_first", [True, False])
def test_a_list_and_the_folder_of_its_files_count_once_and_changes_arrive(tmp_path, job, list_first, caplog):
    caplog.set_level(logging.INFO)
    listing = tmp_path / "a.star"
    given = [listing, job] if list_first else [job, listing]
    with watching(*given) as rest:
        assert rest() == [2, 1, 0] and as_in_batch(rest.sources, *given)
        (job / "m1_pick.star").write_text(HEAD + "1 2\n3 4\n7 8\n")  # only the folder is watched for it
        (job / "m3_pick.star").write_text(HEAD + "9 9\n")
        assert rest() == [3, 1, 1] and as_in_batch(rest.sources, *given)
        write_list(listing, job, "m1")  # the other file counts on its own
        assert rest() == [3, 1, 1] and as_in_batch(rest.sources, *given)
        write_list(listing, job, *NAMES)
        assert rest() == [3, 1, 1] and as_in_batch(rest.sources, *given)
        rest.sources.close()
    said = caplog.text
    assert "3 coordinate files are given more than once and used once, such as " in said and "are joined" not in said
    assert said.count("1 unreadable row") == 1


def test_a_listed_file_that_comes_to_another_folder_late_is_used(tmp_path, job):
    listing = write_list(tmp_path / "a.star", job, *NAMES)
    with watching(listing, job) as rest:  # the list is given up before the file comes
        assert rest() == [2, 1, 0] and list(rest.sources.counts().not_read) == [str(job / "m3_pick.star")]
        (job / "m3_pick.star").write_text(HEAD + "9 9\n")
        assert rest() == [2, 1, 1] and as_in_batch(rest.sources, listing, job)


def test_of_two_lists_the_other_takes_over_when_one_is_gone(tmp_path, job):
    lists = tmp_path / "lists"
    lists.mkdir()
    first, second = (write_list(lists / f"{name}.star", job, "m1", "m2") for name in "ab")
    with watching(lists) as rest:
        assert rest() == [2, 1, 0] and as_in_batch(rest.sources, lists)
        before = {pick.id for name in NAMES for pick in rest.sources.picks.of(name)}
        first.unlink()
        assert rest() == [2, 1, 0] and as_in_batch(rest.sources, lists)
        assert before.isdisjoint(pick.id for name in NAMES for pick in rest.sources.picks.of(name))
        write_list(first, job, "m2")
        assert rest() == [2, 1, 0] and as_in_batch(rest.sources, lists)
        second.unlink()
        assert rest() == [0, 1, 0] and as_in_batch(rest.sources, lists)


def test_one_file_by_several_paths_counts_once_also_below_a_minimum_score(tmp_path, job):
    path, link = tmp_path / "p.star", tmp_path / "link.star"
    link.symlink_to(path.name)
    given = [path, link, path, tmp_path / "picks" / ".." / "p.star"]
    scored = "data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnAutopickFigureOfMerit\n"
    path.write_text(scored + "m1 1 2 0.1\nm1 2 2 0.9\nm2 1 1 0.9\n")
    with watching(*given, check=lambda _, table: drop_below(table, 0.5)) as rest:
        assert rest() == [1, 1, 0]
        counts = rest.sources.counts()
        assert (counts.rows, counts.files, counts.left_out) == (3, 1, {"low_score": 1})
        path.write_text(scored + "m1 1 2 0.1\nm2 1 1 0.1\nm3 1 1 0.9\n")
        assert rest() == [0, 0, 1] and rest.sources.counts().left_out == {"low_score": 2}
        path.write_text("words\n")
        assert rest() == [0, 0, 1]  # the earlier coordinates stay
        assert list(rest.sources.counts().not_read) == [str(path)]
