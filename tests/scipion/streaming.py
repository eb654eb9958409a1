# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams to order: micrographs, plans for the feeder, protocols in processes of their own that can be killed."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
from cryoice_feeding.protocols import CryoIceTestFeeder, CryoIceTestWatcher
from noise import PIXEL_SIZE, write_noise
from pyworkflow.protocol import MODE_RESUME, getProtocolFromDb
from scipion_data import Scipion, point

from cryoice_scipion.core.results.run_folder import JOURNAL
from cryoice_scipion.protocols import CryoIceProtScreen
from cryoice_scipion.protocols.protocol_screen import FOLDER

SHAPE = (192, 256)  # px
LIMIT = 180  # s that anything may take


def micrograph(folder, number):
    """Return the event by which a micrograph, written here, comes."""
    return {"micrograph": str(write_noise(folder / f"mic_{number:03d}.mrc", number, SHAPE)), "id": number}


def coordinates(number, places=range(6), first=None):
    """Return the event by which coordinates of a micrograph come; ids are 100 times its number, plus the place."""
    first = 100 * number if first is None else first
    rng = np.random.default_rng(number)
    x, y = rng.integers(20, SHAPE[1] - 20, 50).tolist(), rng.integers(20, SHAPE[0] - 20, 50).tolist()
    return {"micrograph": number, "coordinates": [[first + k, x[k], y[k]] for k in places]}


def planned(events):
    """Return the ids of the micrographs and of the coordinates that a plan brings."""
    micrographs = [event["id"] for event in events if "id" in event]
    return set(micrographs), {key for event in events for key, _, _ in event.get("coordinates", [])}


def wait_for(happened, limit=LIMIT):
    """Wait until something happened, and return what it was."""
    end = time.monotonic() + limit
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.1)
    return happened()


class Streams(Scipion):
    """A project whose protocols run in processes of their own."""

    def feeder(self, folder, events):
        """Return a feeder with a plan."""
        plan = folder / "plan.json"
        plan.write_text(json.dumps(events))
        return self.newProtocol(CryoIceTestFeeder, plan=str(plan), pixelSize=PIXEL_SIZE)

    def feed(self, folder, events):
        """Launch a feeder and return it when its outputs are there."""
        feeder = self.feeder(folder, events)
        self.proj.launchProtocol(feeder, wait=False)
        wait_for(lambda: self.now(feeder).hasAttribute("outputMicrographs"))
        wait_for(lambda: self.now(feeder).hasAttribute("outputCoordinates"))
        self.proj._updateProtocol(feeder)
        return feeder

    def fed(self, folder, events):
        """Return a feeder that has brought all of a plan and ended."""
        return self.run_here(self.feeder(folder, events))

    def screening(self, feeder, model, **values):
        """Return a screening of what a feeder brings."""
        fixed = {"useGpu": False, "referenceMicrographs": 3, "modelSource": 2}
        protocol = self.newProtocol(CryoIceProtScreen, **{**fixed, "modelFolder": str(model), **values})
        point(protocol.inputCoordinates, (feeder, "outputCoordinates"))
        return protocol

    def watch(self, screening, record):
        """Launch a protocol that reads the screening's outputs while they grow."""
        watcher = self.newProtocol(CryoIceTestWatcher, record=str(record))
        watcher.inputScreening.set(screening)
        self.proj.launchProtocol(watcher, wait=False)
        return watcher

    def now(self, protocol):
        """Return a protocol as it is now."""
        if not os.path.exists(os.path.join(self.proj.path, protocol.getDbPath())):
            return protocol
        return getProtocolFromDb(self.proj.path, protocol.getDbPath(), protocol.getObjId())

    def ended(self, protocol):
        """Wait until a protocol has ended, and return it."""
        wait_for(lambda: self.now(protocol).getStatus() in ("finished", "failed", "aborted"))
        return self.now(protocol)

    def go_on(self, protocol, wait=True):
        """Press Continue."""
        protocol = self.proj.getProtocol(protocol.getObjId())
        self.proj._updateProtocol(protocol)  # as the window does all the time
        protocol.runMode.set(MODE_RESUME)
        self.proj.launchProtocol(protocol, wait=wait)
        return protocol

    def went_on_here(self, protocol):
        """Press Continue, in this process, on the protocol as its database has it; return it when it has ended."""
        protocol = self.now(protocol)
        protocol.runMode.set(MODE_RESUME)
        self.go_on_here(protocol)
        return protocol

    def folder(self, protocol):
        """Return the folder of the screening's files."""
        return Path(self.proj.path) / protocol.getPath(*FOLDER)

    def journal(self, protocol):
        """Return the text of the screening's journal; nothing when there is none yet."""
        path = self.folder(protocol) / JOURNAL
        return path.read_text() if path.is_file() else ""

    def pid(self, protocol):
        """Return the process of a protocol's latest launch; None when it did not say yet."""
        path = Path(self.proj.path) / protocol.getStdoutLog()
        lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
        pids = [int(line.split()[-1]) for line in lines if "PID:" in line]
        return pids[-1] if pids else None


def kill(pid):
    """End a process at once; it may have ended itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    wait_for(lambda: not is_alive(pid), 10)
    return True


def is_alive(pid):
    """Return whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def workers_of(pid):
    """Return the processes of the screening's workers that belong to a protocol's process."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid and b"cryoice_scipion.core" in words and b"worker" in words and b"--check" not in words:
            found.append(int(path.name))
    return found
