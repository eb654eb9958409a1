# SPDX-License-Identifier: GPL-3.0-or-later
"""Picks that another program writes while micrographs come: each is imported once, and keeps its id."""

import pytest
from cryoice_feeding import install
from scipion_data import items, point
from streaming import Streams, kill, micrograph, wait_for

from cryoice_scipion.core.streaming.coordinate_watcher import CoordinateWatcher
from cryoice_scipion.core.streaming.stable_file import SETTLE_SECONDS
from cryoice_scipion.picks_from_files import ImportedPick
from cryoice_scipion.protocols import CryoIceProtImportCoordinates
from cryoice_scipion.protocols.picks_input import ImportedPicks

pytestmark = pytest.mark.scipion
BOX = 30


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Give up soon on files that cannot be read, in protocols that run in this process."""
    monkeypatch.setattr(CoordinateWatcher.__init__, "__defaults__", (SETTLE_SECONDS, 1.0, ""))


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    """A project, with the feeder's plugin installed."""
    install(tmp_path_factory.mktemp("plugin"))
    return Streams.begin("ImportStreamingProject")()


def write_boxes(folder, number, places):
    """Write the picks of a micrograph as a picker does; returns them as they should arrive."""
    folder.mkdir(exist_ok=True)
    lines = [f"{x - BOX // 2}\t{y - BOX // 2}\t{BOX}\t{BOX}\n" for x, y in places]
    (folder / f"mic_{number:03d}_autopick.box").write_text("".join(lines))
    return [(number, x, y) for x, y in places]


def importing(streams, feeder, folder, **values):
    values = {"dataStreaming": True, "timeout": 3, "streamingSleepOnWait": 1, **values}
    protocol = streams.newProtocol(CryoIceProtImportCoordinates, coordinatesPath=str(folder), **values)
    point(protocol.inputMicrographs, (feeder, "outputMicrographs"))
    return protocol


def found(streams, protocol):
    """Return the picks that are in the output, by id."""
    now = streams.now(protocol)
    if not now.hasAttribute("outputCoordinates"):
        return {}
    return {key: (item.getMicId(), item.getX(), item.getY()) for key, item in items(now.outputCoordinates).items()}


def test_picks_are_imported_once_while_they_are_written_whatever_is_killed(streams, tmp_path):
    data, folder, gate = tmp_path / "mics", tmp_path / "picks", tmp_path / "gate"
    feeder = streams.feed(
        tmp_path, [micrograph(data, 1), micrograph(data, 2), {"wait": str(gate)}, micrograph(data, 3)]
    )
    protocol = importing(streams, feeder, folder)
    streams.proj.launchProtocol(protocol, wait=False)
    pid = wait_for(lambda: streams.pid(protocol))
    picks = write_boxes(folder, 1, [(50, 60), (50, 60), (70, 80)])  # the folder was not there; two in one place
    wait_for(lambda: sorted(found(streams, protocol).values()) == sorted(picks))
    earlier = found(streams, protocol)
    assert streams.now(protocol).outputCoordinates.isStreamOpen()
    assert streams.now(protocol).outputCoordinates.getBoxSize() == BOX
    kill(pid)
    picks = write_boxes(folder, 1, [(50, 60), (50, 60), (70, 80), (90, 100)])  # more on the same one
    picks += write_boxes(folder, 2, [(20, 30)])
    picks += write_boxes(folder, 3, [(40, 41), (42, 43)])  # its micrograph comes later
    write_boxes(folder, 7, [(1, 2)])  # its micrograph never comes
    protocol = streams.go_on(protocol, wait=False)
    wait_for(lambda: len(found(streams, protocol)) == 5)
    gate.touch()
    done = streams.ended(protocol)
    assert done.isFinished(), done.getErrorMessage()
    after = found(streams, done)
    assert sorted(after.values()) == sorted(picks)
    assert earlier.items() <= after.items()
    assert done.outputCoordinates.isStreamClosed()
    assert done.outputCoordinates.getSize() == len(picks)
    text = "\n".join(done.summary())
    assert f"{len(picks) + 1} coordinates in 4 files: {len(picks)} imported, 1 left out (1 unmatched)" in text


def test_an_import_that_ended_takes_what_came_since_on_continue(streams, tmp_path):
    feeder = streams.fed(tmp_path, [micrograph(tmp_path / "mics", number) for number in (1, 2)])
    folder = tmp_path / "picks"
    write_boxes(folder, 2, [(20, 30)])
    protocol = importing(streams, feeder, folder, dataStreaming=False)
    streams.proj.launchProtocol(protocol, wait=True)
    before = found(streams, protocol)
    picks = write_boxes(folder, 1, [(20, 30)]) + [(2, 20, 30)]
    done = streams.now(streams.go_on(protocol))
    assert done.isFinished(), done.getErrorMessage()
    assert before.items() <= found(streams, done).items()
    assert sorted(found(streams, done).values()) == sorted(picks)


def test_an_import_in_which_nothing_says_the_size_ends_with_the_remedy(streams, tmp_path):
    feeder = streams.feed(tmp_path, [micrograph(tmp_path / "mics", 1), {"fail": "the disk is gone"}])
    assert streams.ended(feeder).getStatus() == "failed"
    streams.proj._updateProtocol(feeder)
    folder = tmp_path / "picks"
    folder.mkdir()
    (folder / "mic_001.star").write_text("data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n10 20\n")
    with pytest.raises(AssertionError, match="mic_001.star: does not contain the box size; set 'Box size' in the form"):
        streams.run_here(importing(streams, feeder, folder))
    protocol = streams.run_here(importing(streams, feeder, folder, boxSize=24, timeout=0))
    assert protocol.outputCoordinates.getBoxSize() == 24
    assert list(found(streams, protocol).values()) == [(1, 10, 20)]
    assert "failed or was stopped, so micrographs may be missing" in "\n".join(protocol.summary())


@pytest.mark.parametrize("text", ["x,y\n10,20\n", "_rlnCoordinateX #1\n_rlnCoordinateY #2\n10 20\n"])
def test_a_log_that_comes_first_does_not_decide_the_format(streams, tmp_path, text):
    feeder = streams.fed(tmp_path, [micrograph(tmp_path / "mics", 1)])
    folder = tmp_path / "picks"
    folder.mkdir()
    (folder / "a_log.txt").write_text("all went well\n")
    if text.startswith("_"):
        (folder / "mic_001.star").write_text(f"data_\n\nloop_\n{text}")
    else:
        (folder / "mic_001.csv").write_text(text + "1x,5\n")
    protocol = streams.run_here(importing(streams, feeder, folder, boxSize=24, timeout=0))
    assert list(found(streams, protocol).values()) == [(1, 10, 20)]
    told = "\n".join(protocol.summary())
    assert "1 imported" in told and "a_log.txt" in told
    assert ("1 unreadable row" in told) == text.startswith("x")


def test_an_import_of_files_that_cannot_be_read_fails_with_the_first_error(streams, tmp_path):
    feeder = streams.fed(tmp_path, [micrograph(tmp_path / "mics", 1)])
    folder = tmp_path / "picks"
    folder.mkdir()
    (folder / "mic_001.box").write_text("no box\n")
    with pytest.raises(AssertionError, match="no coordinate file could be read.*mic_001.box: line 1"):
        streams.run_here(importing(streams, feeder, folder, boxSize=24, timeout=0))


def test_picks_are_told_by_place_and_number():
    handed = ImportedPicks({5: [11, 1, 2, 12, 1, 2]})
    same, moved = ImportedPick(1, 2), ImportedPick(4, 4)
    assert handed.take(5, [same, same]) == ([], 0)
    assert handed.take(5, [same, same, same, moved]) == ([same, moved], 0)
    assert handed.take(5, [moved]) == ([], 3)
    assert handed.take(6, [moved]) == ([moved], 0)
    assert handed.last == 12
