# SPDX-License-Identifier: GPL-3.0-or-later
"""A screen for tests of windows, and hands for them."""

import atexit
import contextlib
import os
import shutil
import subprocess
import time
import tkinter

import pytest


@contextlib.contextmanager
def screen(size="1600x1000"):
    """Give windows a screen: the one that is there, else one of Xvfb's, which is not seen."""
    if os.environ.get("DISPLAY"):
        yield
        return
    if shutil.which("Xvfb") is None:
        pytest.skip("there is no screen, and Xvfb (a screen that is not seen) is not installed")
    read, write = os.pipe()
    words = ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{size}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(words, pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as stream:
        number = stream.readline().strip()
    os.environ["DISPLAY"] = f":{number}"
    atexit.register(server.kill)  # not before: Tk keeps its connection, and ends the process when that breaks
    yield


def wait_for(window, happened, limit=30):
    """Let a window live until something has happened."""
    end = time.monotonic() + limit
    while not happened():
        assert time.monotonic() < end, "it never happened"
        window.root.update()
        time.sleep(0.01)
    window.root.update()


@contextlib.contextmanager
def main_window():
    """Give windows a parent on a screen, as Scipion's main window is; with it they go."""
    from pyworkflow.gui import Window, gui

    with screen():
        gui.image_cache.clear()  # of an earlier one, with which they are gone
        window = Window("tests")
        yield window
        window.root.master.destroy()
        gui.image_cache.clear()


def drive(root, script, limit=90):
    """Use dialogs while their own loop runs, and return what is to be called when they are closed.

    ``script`` yields conditions that it waits for; when one never comes, or it fails, the dialogs are closed.
    """
    failures, end = [], time.monotonic() + limit

    def step(condition=lambda: True):
        try:
            assert time.monotonic() < end, "what was waited for never came"
            root.after(30, step, next(script) if condition() else condition)
        except StopIteration:
            pass
        except BaseException as error:  # noqa: BLE001 (Tk would only print it)
            failures.append(error)
            for window in root.winfo_children():
                if isinstance(window, tkinter.Toplevel):
                    window.destroy()

    def check():
        if failures:
            raise failures[0]

    root.after(30, step)
    return check
