# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals that end a command: it closes its files as after Ctrl-C, and ``nohup`` keeps its meaning."""

import os
import signal
import subprocess
import sys

import pytest

from cryoice_scipion.core.cli.signals import interrupt, on_signals
from cryoice_scipion.core.errors import Terminated


@pytest.fixture(autouse=True)
def _handlers():
    """The tests may run under nohup or in the background of a script, and so ignore signals, as would commands."""
    handlers = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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


#: A library in which an exception is lost, as it is in parts of real imports, and in which the signal comes twice.
_LIBRARY = """
import signal

class Sender:
    def __del__(self):  # in which Python ignores exceptions
        signal.raise_signal({number})

Sender()
print("loading", flush=True)
if {is_second}:
    try:
        signal.raise_signal({number})
    except KeyboardInterrupt:
        print("at once", flush=True)
        raise
print("loaded", flush=True)

def __getattr__(name):
    return object
"""


@pytest.mark.parametrize(
    "number, status, is_second, printed",
    [
        (signal.SIGINT, 130, False, ["loading", "loaded"]),
        (signal.SIGINT, 130, True, ["loading", "at once"]),
        (signal.SIGTERM, 143, False, ["loading", "loaded"]),
    ],
)
@pytest.mark.parametrize("command", ["screen", "train", "sweep", "relion", "simulate"])
def test_a_signal_while_a_library_is_loaded_ends_a_command_when_it_is_loaded(
    command, number, status, is_second, printed, tmp_path
):
    (tmp_path / "pydantic.py").write_text(_LIBRARY.format(number=int(number), is_second=is_second))
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv[1:] = [{command!r}]\n"
        "from cryoice_scipion.core import cli\n"
        "sys.exit(cli.program())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (status, f"cryoice {command}: interrupted\n")
    assert done.stdout.splitlines() == printed


def test_ctrl_c_does_not_end_a_background_command_of_a_shell_script():
    code = (
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from cryoice_scipion.core import cli\n"
        "cli.keep_memory = lambda: signal.raise_signal(signal.SIGINT)\n"
        "sys.argv[1:] = ['info']\n"
        "sys.exit(cli.program())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
