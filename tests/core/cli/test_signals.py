# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals that end a command: it closes its files as after Ctrl-C, and ``nohup`` keeps its meaning."""

import os
import signal

import pytest

from cryoice_scipion.core.cli.running import interrupt, on_signals
from cryoice_scipion.core.errors import Terminated


@pytest.fixture(autouse=True)
def _handler():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_a_closed_terminal_end_a_command_in_order(number):
    with pytest.raises(Terminated), on_signals(interrupt, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)


def test_under_nohup_a_closed_terminal_ends_nothing():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with on_signals(interrupt, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
