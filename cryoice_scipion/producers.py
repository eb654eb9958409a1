# SPDX-License-Identifier: GPL-3.0-or-later
"""Read from the database of a protocol whether it still runs, because its output may then still grow."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Dict, Optional

from pyworkflow.protocol import Protocol
from pyworkflow.protocol.constants import (
    STATUS_ABORTED,
    STATUS_FAILED,
    STATUS_FINISHED,
    STATUS_RUNNING,
)
from pyworkflow.utils import getHostFullName

from cryoice_scipion.databases import opened

CONTINUE_TIMEOUT = 600.0  # s after which a killed protocol that nobody continued counts as ended
_BUSY_TIMEOUT = 10.0  # s to wait while another process writes the database


def name_of_output(pointer: Any) -> str:
    """Return the output that a pointer points to as ``ID.output``, with the id of its protocol; empty: nothing.

    Scipion replaces a pointer to an output by one to its protocol when it launches a workflow; both have one name.
    """
    found = pointer.getObjValue()
    if found is None:
        return ""
    if isinstance(found, Protocol):
        return str(pointer.getUniqueId())
    return f"{found.getObjParentId()}.{found.getLastName()}"


class Producer:
    """The protocol that makes a set: whether it has ended. A killed protocol cannot close its output itself."""

    def __init__(self, pointer: Any) -> None:
        """Take a pointer to an output; if it does not name its protocol, the protocol never counts as ended."""
        protocol = pointer.getObjValue() if pointer is not None else None
        known = isinstance(protocol, Protocol)
        self._path = Path(protocol.getDbPath()) if known else None
        self._key = str(protocol.getObjId()) if known else ""
        self.label = str(protocol) if known else ""
        self._dead_since: Optional[float] = None

    @property
    def ended(self) -> bool:
        """Return whether it has ended, or was killed and nobody continued it for ten minutes."""
        values = self._read()
        if values.get("status") in (STATUS_FINISHED, STATUS_FAILED, STATUS_ABORTED):
            return True
        if not _is_dead(values):
            self._dead_since = None
            return False
        self._dead_since = self._dead_since or time.monotonic()
        return time.monotonic() - self._dead_since >= CONTINUE_TIMEOUT

    @property
    def failed(self) -> bool:
        """Return whether it failed, was stopped or was killed, so that its output may be incomplete."""
        values = self._read()
        return values.get("status") in (STATUS_FAILED, STATUS_ABORTED) or _is_dead(values)

    def _read(self) -> Dict[str, str]:
        """Return its status, process and host from its database; nothing if that cannot be read."""
        names = {f"{self._key}.{name}": name for name in ("status", "_pid", "hostFullName", "_useQueue")}
        if self._path is None or not self._path.is_file():
            return {}
        with contextlib.suppress(sqlite3.DatabaseError), opened(self._path, _BUSY_TIMEOUT) as connection:
            query = f"SELECT name, value FROM Objects WHERE name IN ({','.join('?' * len(names))})"
            return {names[name]: str(value) for name, value in connection.execute(query, list(names))}
        return {}


def _is_dead(values: Dict[str, str]) -> bool:
    """Return whether a protocol is recorded as running on this machine and its process does not exist."""
    pid = values.get("_pid", "")
    if values.get("status") != STATUS_RUNNING or not pid.isdigit() or int(pid) <= 0:
        return False
    if values.get("hostFullName") != getHostFullName() or values.get("_useQueue") == "1":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it exists and belongs to another user
        pass
    return False
