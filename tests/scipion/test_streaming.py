# SPDX-License-Identifier: GPL-3.0-or-later
"""A live session: everything comes out once, while it comes in, whatever is missing, late or broken."""

import json
import os
import sqlite3

import pytest
from cryoice_feeding import install
from noise import write_noise
from random_model import write_random_model
from scipion_data import items
from streaming import SHAPE, Streams, coordinates, is_alive, kill, micrograph, planned, wait_for, workers_of

from cryoice_scipion import producers
from cryoice_scipion import streams as reading
from cryoice_scipion.constants import NO_MICROGRAPH
from cryoice_scipion.core.errors import counted
from cryoice_scipion.core.results.run_reader import read_summary

pytestmark = pytest.mark.scipion
OUTPUTS = ("outputCoordinates", "outputCoordinatesRejected", "outputMicrographs", "outputMicrographsDiscarded")


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    """A project, with the feeder's plugin installed."""
    install(tmp_path_factory.mktemp("plugin"))
    return Streams.begin("StreamingProject")()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_random_model(tmp_path_factory.mktemp("models") / "random")


def outputs_of(protocol):
    return [items(getattr(protocol, name)) for name in OUTPUTS]


def check_exactly_once(protocol, events):
    """Every micrograph is in one of two sets, every coordinate in one of two others, and all are closed."""
    kept, rejected, accepted, discarded = outputs_of(protocol)
    micrographs, picks = planned(events)
    assert not set(kept) & set(rejected)
    assert set(kept) | set(rejected) == picks
    assert not set(accepted) & set(discarded)
    assert set(accepted) | set(discarded) == micrographs
    for name in OUTPUTS:
        assert getattr(protocol, name).isStreamClosed()
        assert getattr(protocol, name).getSize() == len(items(getattr(protocol, name)))


def told(protocol):
    """Return what the outputs say of each item."""
    kept, rejected, accepted, discarded = outputs_of(protocol)
    picks = [
        {
            key: (
                item._cryoiceGoodness.get(),
                item._cryoiceClass.get(),
                item.getX(),
                item.getMicId(),
                item._score.get(),
            )
            for key, item in output.items()
        }
        for output in (kept, rejected)
    ]
    micrographs = [
        {key: (item._cryoiceBadArea.get(), item._cryoiceStatus.get()) for key, item in output.items()}
        for output in (accepted, discarded)
    ]
    return picks, micrographs


class Record:
    """What the watcher saw."""

    def __init__(self, path):
        self.path = path

    def lines(self):
        text = self.path.read_text() if self.path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def seen(self, *names):
        return {key for line in self.lines() if line["output"] in names for key in line["new"]}


def test_a_live_session_comes_out_once_while_it_comes_in(streams, model, tmp_path):
    data, gates = tmp_path / "mics", [tmp_path / f"gate{n}" for n in range(3)]
    growing = data / "mic_010.mrc"
    tenth = micrograph(data, 10)
    whole = growing.read_bytes()
    growing.write_bytes(whole[: len(whole) // 2])  # its protocol lists it before it is written
    broken = micrograph(data, 11)
    os.truncate(broken["micrograph"], 3000)
    os.utime(broken["micrograph"], (0, 0))
    events = [
        *(micrograph(data, n) for n in (1, 2, 3)),
        *(coordinates(n) for n in (1, 2, 3)),
        {"wait": str(gates[0])},
        micrograph(data, 5),  # never gets coordinates
        micrograph(data, 4),
        micrograph(data, 6),
        coordinates(4, range(3)),
        coordinates(9),  # before their micrograph
        {"wait": str(gates[1])},
        coordinates(4, range(3, 6), first=400 - 50),  # in two portions, with smaller ids than others that are there
        coordinates(6),  # long after their micrograph
        {"flush": True},
        tenth,
        {"pause": 1},
        micrograph(data, 9),
        micrograph(data, 8),
        coordinates(8),
        coordinates(99),  # of a micrograph that never comes
        broken,
        coordinates(11),
        coordinates(10),
        {"wait": str(gates[2])},
        micrograph(data, 12),
    ]
    feeder = streams.feed(tmp_path, events)
    screening = streams.screening(feeder, model)
    streams.proj.launchProtocol(screening, wait=False)
    watcher, record = streams.watch(screening, tmp_path / "record.jsonl"), Record(tmp_path / "record.jsonl")

    # Outputs appear while the input is open, and stay open with it.
    wait_for(lambda: record.seen(*OUTPUTS[2:]) == {1, 2, 3})
    wait_for(lambda: record.seen(*OUTPUTS[:2]) == planned(events[:6])[1])
    gates[0].touch()
    wait_for(lambda: record.seen(*OUTPUTS[2:]) == {1, 2, 3, 4, 5, 6})
    wait_for(lambda: {400, 401, 402} <= record.seen(*OUTPUTS[:2]))
    gates[1].touch()

    def seen_meanwhile(*names):  # somebody still writes the tenth, however long this takes
        growing.touch()
        return record.seen(*names)

    wait_for(lambda: {350 + 3, 350 + 4, 350 + 5, 600, 900} <= seen_meanwhile(*OUTPUTS[:2]))
    wait_for(lambda: {8, 9, 11} <= seen_meanwhile(*OUTPUTS[2:]))
    assert 10 not in record.seen(*OUTPUTS[2:])
    growing.write_bytes(whole)
    wait_for(lambda: 10 in record.seen("outputMicrographs"))
    assert not any(line["closed"] for line in record.lines())
    gates[2].touch()

    done = streams.ended(screening)
    assert done.isFinished(), done.getErrorMessage()
    assert streams.ended(watcher).isFinished()
    check_exactly_once(done, events)
    assert not [line for line in record.lines() if line["wrong"] or line["gone"]]
    assert record.seen(*OUTPUTS[:2]) == planned(events)[1]

    kept, rejected, _, discarded = outputs_of(done)
    assert {key for key, item in rejected.items() if item._cryoiceClass.get() == NO_MICROGRAPH} == {
        key for key, _, _ in coordinates(99)["coordinates"]
    }
    assert discarded[11]._cryoiceStatus.get() == "failed"
    assert "mic_011" in discarded[11]._cryoiceReason.get()
    assert kept
    summary = read_summary(streams.folder(done))
    assert (summary.micrographs, summary.failed, summary.backlog, summary.finished) == (11, 1, 0, True)
    assert (summary.kept, summary.unmatched_picks) == (len(kept), 6)

    # All at once gives the same.
    streams.proj._updateProtocol(feeder)
    at_once = streams.screening(feeder, model, referenceMicrographs=3)
    streams.run_here(at_once)
    assert told(at_once) == told(done)


def test_an_input_that_closes_with_nothing_in_it_gives_empty_outputs(streams, model, tmp_path):
    feeder = streams.feed(tmp_path, [{"wait": str(tmp_path / "go")}])
    screening = streams.screening(feeder, model)
    streams.proj.launchProtocol(screening, wait=False)
    (tmp_path / "go").touch()
    done = streams.ended(screening)
    assert done.isFinished(), done.getErrorMessage()
    check_exactly_once(done, [])


def test_what_came_from_a_protocol_that_failed_is_screened_and_the_user_is_told(streams, model, tmp_path):
    data = tmp_path / "mics"
    events = [
        *(micrograph(data, n) for n in (1, 2, 3, 4)),
        coordinates(1),
        coordinates(2),
        {"fail": "the disk is gone"},
    ]
    feeder = streams.feed(tmp_path, events)
    assert streams.ended(feeder).isFailed()
    streams.proj._updateProtocol(feeder)
    screening = streams.screening(feeder, model)
    streams.proj.launchProtocol(screening, wait=True)
    done = streams.now(screening)
    assert done.isFinished(), done.getErrorMessage()
    check_exactly_once(done, events[:-1])
    assert (
        "failed or was stopped, so input may be missing"
        in (streams.folder(done).parents[1] / "logs" / "run.stdout").read_text()
    )


def test_what_came_from_a_protocol_that_was_killed_is_screened_when_nobody_continues_it(
    streams, model, tmp_path, monkeypatch, caplog
):
    data = tmp_path / "mics"
    events = [*(micrograph(data, n) for n in (1, 2, 3, 4)), coordinates(1), {"wait": str(tmp_path / "never")}]
    feeder = streams.feed(tmp_path, events)
    wait_for(lambda: streams.now(feeder).outputCoordinates.getSize() == 6)
    assert kill(streams.pid(feeder))
    streams.proj._updateProtocol(feeder)
    monkeypatch.setattr(producers, "CONTINUE_TIMEOUT", 3.0)
    screening = streams.screening(feeder, model)
    streams.run_here(screening)
    check_exactly_once(screening, events)
    assert producers.Producer(screening.inputCoordinates).failed


def test_an_output_that_somebody_has_locked_is_not_taken_for_damaged(streams, model, tmp_path, monkeypatch):
    events = [*(micrograph(tmp_path / "mics", n) for n in (1, 2, 3)), coordinates(1)]
    feeder = streams.fed(tmp_path, events)
    screening = streams.screening(feeder, model)
    streams.run_here(screening)
    path = screening.outputMicrographs.getFileName()
    node = os.stat(path).st_ino
    monkeypatch.setattr(reading, "_BUSY_TIMEOUT", 0.5)
    with sqlite3.connect(path) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        streams.go_on_here(screening)
        assert screening.isFailed()
        assert "close all programs that have this set" in screening.getErrorMessage()
        writer.rollback()
    screening.run()
    assert screening.isFinished(), screening.getErrorMessage()
    assert os.stat(path).st_ino == node
    check_exactly_once(screening, events)


def test_a_batch_of_one_at_a_time_gives_the_same(streams, model, tmp_path):
    data = tmp_path / "mics"
    events = [*(micrograph(data, n) for n in range(1, 6)), *(coordinates(n) for n in range(1, 6))]
    feeder = streams.fed(tmp_path, events)
    found = []
    for size in (1, -1):
        screening = streams.screening(feeder, model, streamingBatchSize=size)
        streams.run_here(screening)
        check_exactly_once(screening, events)
        found.append(told(screening))
    assert found[0] == found[1]


def test_the_outputs_are_made_anew_when_they_are_damaged_or_gone(streams, model, tmp_path):
    data = tmp_path / "mics"
    events = [*(micrograph(data, n) for n in range(1, 6)), *(coordinates(n) for n in range(1, 6))]
    feeder = streams.fed(tmp_path, events)
    screening = streams.screening(feeder, model)
    streams.run_here(screening)
    before = told(screening)
    folder = streams.folder(screening).parents[1]
    (folder / "coordinates.sqlite").write_bytes(b"power cut" * 1000)
    (folder / "micrographs.sqlite").unlink()
    done = streams.went_on_here(screening)
    assert done.isFinished(), done.getErrorMessage()
    check_exactly_once(done, events)
    assert told(done) == before


def test_coordinates_that_were_moved_or_deleted_in_the_input_are_so_in_the_outputs(streams, model, tmp_path):
    data = tmp_path / "mics"
    events = [*(micrograph(data, n) for n in range(1, 6)), *(coordinates(n) for n in range(1, 6))]
    feeder = streams.fed(tmp_path, events)
    screening = streams.screening(feeder, model, threshold=-1)
    streams.run_here(screening)
    with sqlite3.connect(feeder.outputCoordinates.getFileName()) as connection:
        columns = dict(connection.execute("SELECT label_property, column_name FROM Classes"))
        connection.execute(f"UPDATE Objects SET {columns['_x']} = {columns['_x']} + 7 WHERE id IN (201, 304)")
        connection.execute("DELETE FROM Objects WHERE id IN (102, 302)")
    done = streams.went_on_here(screening)
    assert done.isFinished(), done.getErrorMessage()
    kept, rejected = outputs_of(done)[:2]
    given = items(feeder.outputCoordinates)
    assert len(given) == 28
    assert {key: item.getPosition() for key, item in {**kept, **rejected}.items()} == {
        key: item.getPosition() for key, item in given.items()
    }
    summary = read_summary(streams.folder(done))
    assert (summary.kept, summary.rejected) == (len(kept), len(rejected)) == (28, 0)


def test_micrographs_that_failed_are_tried_again_on_continue(streams, model, tmp_path):
    data = tmp_path / "mics"
    events = [*(micrograph(data, n) for n in range(1, 6)), *(coordinates(n) for n in range(1, 6))]
    path = data / "mic_004.mrc"
    path.write_bytes(path.read_bytes()[:2000])
    os.utime(path, (0, 0))
    feeder = streams.fed(tmp_path, events)
    screening = streams.screening(feeder, model)
    streams.run_here(screening)
    check_exactly_once(screening, events)
    assert list(outputs_of(screening)[3]) == [4]
    write_noise(path, 4, SHAPE)
    done = streams.went_on_here(screening)
    assert done.isFinished(), done.getErrorMessage()
    check_exactly_once(done, events)
    assert not outputs_of(done)[3]
    assert all(item._cryoiceGoodness.hasValue() for output in outputs_of(done)[:2] for item in output.values())


@pytest.mark.parametrize("broken", [(1,), (1, 2, 3)])
def test_empty_files_from_the_first_one_on_lose_nothing(streams, model, tmp_path, broken):
    """pwem opens the first file of a set; and a run without any micrograph that can be read has not succeeded."""
    data = tmp_path / "mics"
    events = [*(micrograph(data, n) for n in range(1, 4)), *(coordinates(n) for n in range(1, 4))]
    feeder = streams.fed(tmp_path, events)
    for number in broken:
        (data / f"mic_{number:03d}.mrc").write_bytes(b"")
        os.utime(data / f"mic_{number:03d}.mrc", (0, 0))
    screening = streams.screening(feeder, model)
    streams.run_here(screening, "failed" if len(broken) == 3 else "finished")
    check_exactly_once(screening, events)
    assert sorted(outputs_of(screening)[3]) == list(broken)
    words = f"{counted(3 - len(broken), 'micrograph was', 'micrographs were')} screened for ice"
    assert screening._methods()[0].startswith(words)
    assert f"; 0 were discarded. {len(broken)} more could not be screened. Of 18 coordinates" in screening._methods()[0]
    for number in broken:
        write_noise(data / f"mic_{number:03d}.mrc", number, SHAPE)
    done = streams.now(streams.go_on(screening))
    assert done.isFinished(), done.getErrorMessage()
    check_exactly_once(done, events)
    assert not outputs_of(done)[3]


def test_aborted_it_leaves_no_worker_and_goes_on_where_it_was(streams, model, tmp_path):
    data, gate = tmp_path / "mics", tmp_path / "gate"
    events = [*(micrograph(data, n) for n in range(1, 5)), *(coordinates(n) for n in range(1, 5)), {"wait": str(gate)}]
    events += [micrograph(data, 5), coordinates(5)]
    feeder = streams.feed(tmp_path, events)
    screening = streams.screening(feeder, model)
    streams.proj.launchProtocol(screening, wait=False)
    wait_for(lambda: streams.journal(screening).count('"kind":"screened"') >= 4)
    pid = streams.pid(screening)
    (worker,) = workers_of(pid)
    streams.proj._updateProtocol(screening)
    streams.proj.stopProtocol(screening)
    wait_for(lambda: not is_alive(pid) and not is_alive(worker))
    screened = streams.journal(screening).count('"kind":"screened"')
    streams.go_on(screening, wait=False)
    gate.touch()
    wait_for(lambda: streams.pid(screening) != pid)
    done = streams.ended(screening)
    assert done.isFinished(), done.getErrorMessage()
    check_exactly_once(done, events)
    # Only what was not done is done: one micrograph, perhaps a second time when its coordinates come.
    assert streams.journal(screening).count('"kind":"screened"') <= screened + 2
