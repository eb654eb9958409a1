# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates: over the session, and of late."""

import datetime
import pickle

import pytest

from cryoice_scipion.core.results import throughput


class Clock:
    def __init__(self):
        self.now = 5000.0

    def __call__(self):
        return self.now


def test_rates_follow_what_comes():
    clock = Clock()
    session = throughput.Throughput(clock)
    assert session.per_hour is None and session.recent_per_hour is None
    for _ in range(100):  # one in 6 s: 600 an hour, for ten minutes
        clock.now += 6
        session.tick()
    assert session.per_hour == session.recent_per_hour == 600.0
    for _ in range(200):  # then 1200 an hour
        clock.now += 3
        session.tick()
    assert session.per_hour == 900.0
    assert session.recent_per_hour == 1200.0
    clock.now += 601
    assert session.recent_per_hour == 0.0, "nothing comes any more"
    assert 0 < session.per_hour < 900


def test_the_rate_of_late_is_right_however_fast_they_come():
    clock = Clock()
    session = throughput.Throughput(clock)
    for _ in range(5000):
        clock.now += 0.01
        session.tick()
    assert session.recent_per_hour == pytest.approx(360_000, rel=0.01)


def test_the_memory_does_not_grow_with_the_run():
    clock, sizes = Clock(), []
    session = throughput.Throughput(clock)
    for _ in range(2):
        for _ in range(5000):
            clock.now += 0.01
            session.tick()
        sizes.append(len(pickle.dumps(session)))
    assert sizes[1] < 1.1 * sizes[0]


def test_the_session_has_a_beginning_with_a_zone():
    assert datetime.datetime.fromisoformat(throughput.Throughput().started).tzinfo is not None
