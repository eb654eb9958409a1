# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills at random moments of a live session: what comes out is what an undisturbed run gives.

CRYOICE_KILLS sets how many (default 3); the closing of an issue runs 20 over 60 micrographs.
"""

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from random_model import write_random_model
from streaming import Streams, coordinates, is_alive, kill, micrograph, wait_for, workers_of
from test_streaming import check_exactly_once, streams, told  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.scipion, pytest.mark.slow]
KILLS = int(os.environ.get("CRYOICE_KILLS", "3"))
NUMBER = max(3 * KILLS, 12)
SEED = int(os.environ.get("CRYOICE_SEED", "1"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_random_model(tmp_path_factory.mktemp("models") / "random")


def plan(folder, gates):
    """Return a stream that brings something every second or two, and waits for each of ``gates`` (files) on the way."""
    events, gates = [], dict(zip(np.linspace(0, NUMBER, len(gates) + 2).astype(int)[1:-1].tolist(), gates))
    for number in range(1, NUMBER + 1):
        events += [micrograph(folder, number), coordinates(number, range(3))]
        late = number - 2  # the other portion comes later
        events += [coordinates(late, range(3, 6))] if late > 0 and late % 2 else []
        events += [{"wait": str(gates[number])}] if number in gates else [{"pause": 2.5 if KILLS > 5 else 1.5}]
    return events


def undisturbed(streams, feeder, model):  # noqa: F811
    streams.proj._updateProtocol(feeder)
    protocol = streams.screening(feeder, model)
    streams.run_here(protocol)
    return told(protocol)


def begin(streams: Streams, model, tmp_path, gates):  # noqa: F811
    events = plan(tmp_path / "mics", gates)
    feeder = streams.feed(tmp_path, events)
    protocol = streams.screening(feeder, model)
    streams.proj.launchProtocol(protocol, wait=False)
    return events, feeder, protocol


def test_killed_again_and_again_the_protocol_gives_the_same(streams, model, tmp_path):  # noqa: F811
    chance = random.Random(SEED)
    events, feeder, protocol = begin(streams, model, tmp_path, [tmp_path / "end"])
    before, seen = None, []
    for _ in range(KILLS):
        pid = wait_for(lambda now=protocol, known=before: (found := streams.pid(now)) != known and found)
        before = pid
        time.sleep(chance.uniform(0, 9))  # from the first moment on
        workers = workers_of(pid)
        assert is_alive(pid)
        assert kill(pid)
        wait_for(lambda gone=workers: not any(map(is_alive, gone)), 10)  # no orphans
        seen.append((len(workers), streams.journal(protocol).count('"kind":"screened"')))
        protocol = streams.go_on(protocol, wait=False)
    (tmp_path / "end").touch()
    done = streams.ended(protocol)
    assert done.isFinished(), done.getErrorMessage()
    print(f"{KILLS} kills; workers that ran and records in the journal at each: {seen}")
    check_exactly_once(done, events)
    assert told(done) == undisturbed(streams, feeder, model)


def test_killed_workers_are_replaced_and_nothing_is_lost(streams, model, tmp_path):  # noqa: F811
    chance = random.Random(SEED + 1)
    gates = [tmp_path / f"killed{number}" for number in range(KILLS)]
    events, feeder, protocol = begin(streams, model, tmp_path, gates)
    log, killed = Path(streams.proj.path) / protocol.getStderrLog(), set()
    for number in range(KILLS):
        (worker,) = wait_for(lambda known=frozenset(killed): set(workers_of(streams.pid(protocol) or -1)) - known)
        if number % 2 == 0:  # the others may be killed while they start: three of those in a row end a run
            wait_for(lambda pid=worker: f"worker {pid} is ready" in log.read_text(errors="replace"))
        time.sleep(chance.uniform(0, 4))
        assert kill(worker)
        killed.add(worker)
        gates[number].touch()  # work for the next one
    done = streams.ended(protocol)
    assert done.isFinished(), done.getErrorMessage()
    print(f"{len(killed)} workers killed")
    check_exactly_once(done, events)
    assert told(done) == undisturbed(streams, feeder, model)
