# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals that end a command: it closes its files as after Ctrl-C, and ``nohup`` keeps its meaning."""

import os
import signal
import subprocess
import sys

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


#: A command that ends while a thread computes in torch without end, as a second Ctrl-C leaves it.
_STILL_COMPUTING = """
import atexit, threading, time, torch
from cryoice_scipion import constants
from cryoice_scipion.core import cli

def compute():
    image = torch.rand(1, 8, 400, 400)
    while True:
        with torch.no_grad():
            torch.nn.functional.conv2d(image, torch.rand(8, 8, 3, 3))

def main():
    atexit.register(print, "closed")
    threading.Thread(target=compute, name=constants.THREAD_PREFIX + "cpu", daemon=True).start()
    time.sleep(0.5)
    return cli.INTERRUPTED

cli.main = main
raise SystemExit(cli.program())
"""


def test_a_second_ctrl_c_during_a_computation_gives_the_exit_status_of_ctrl_c():
    done = subprocess.run([sys.executable, "-c", _STILL_COMPUTING], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "closed\n", "")
