# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell whether another process of a sweep is alive, on this machine or on another one with the same file system."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from pathlib import Path
from typing import Any, Dict, List

from cryoice_scipion.core.json_files import read_json

_BEAT = 10.0  # s between two signs of life
_DEAD = 120.0  # s without a sign of life after which a process of another machine is taken for dead


class Worker:
    """Show the other processes of a sweep that this one is alive, by a file with its process number.

    A worker of the same machine is dead when its process is gone. One of another machine is dead when it has not
    touched its file for two minutes.
    """

    def __init__(self, folder: Path) -> None:
        """Choose a name; the file is made by ``with``."""
        self.folder = folder
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    @property
    def _path(self) -> Path:
        return self.folder / self.name

    def __enter__(self) -> Worker:
        """Make the file, and keep it fresh."""
        self.folder.mkdir(parents=True, exist_ok=True)
        about = {"machine": _machine(), "pid": os.getpid(), "started": _started(os.getpid())}
        self._path.write_text(json.dumps(about), encoding="utf-8")
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        """Delete the file."""
        self._end.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _beat(self) -> None:
        while not self._end.wait(_BEAT):
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def sees(self, name: str) -> bool:
        """Return whether the worker of this name is alive."""
        path = self.folder / name
        try:
            about: Dict[str, Any] = read_json(path)
            if about["machine"] == _machine():
                return _started(int(about["pid"])) == str(about["started"])
            os.utime(self._path)  # both times are those of the file server: clocks need not agree
            return self._path.stat().st_mtime - path.stat().st_mtime < _DEAD
        except (OSError, ValueError, KeyError):
            return False

    def others(self) -> List[str]:
        """Return the other workers that are alive."""
        names = sorted(path.name for path in self.folder.iterdir())
        return [name for name in names if name != self.name and self.sees(name)]


def _machine() -> str:
    """Return what processes that see each other's process numbers share: the boot, and the container."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _started(pid: int) -> str:
    """Return when a process was started, as the kernel counts it; empty when there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
