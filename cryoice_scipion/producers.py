# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol whose output a set is: whether it still works, as far as its own database tells."""

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

GRACE = 600.0  # s that a protocol which was killed may take to be continued
_PATIENCE = 10.0  # s that we wait for who writes its database


class Producer:
    """Tells a protocol that may bring more from one that will not: one that was killed cannot close its output."""

    def __init__(self, pointer: Any) -> None:
        """Take a pointer to an output; of one that does not name its protocol nothing is known."""
        protocol = pointer.getObjValue() if pointer is not None else None
        known = isinstance(protocol, Protocol)
        self._path = Path(protocol.getDbPath()) if known else None
        self._key = str(protocol.getObjId()) if known else ""
        self.label = str(protocol) if known else ""
        self._dead_since: Optional[float] = None

    @property
    def ended(self) -> bool:
        """Return whether it is known to have ended; of a killed one, when nobody continued it for a while."""
        told = self._told()
        if told.get("status") in (STATUS_FINISHED, STATUS_FAILED, STATUS_ABORTED):
            return True
        if not _is_dead(told):
            self._dead_since = None
            return False
        self._dead_since = self._dead_since or time.monotonic()
        return time.monotonic() - self._dead_since >= GRACE

    @property
    def failed(self) -> bool:
        """Return whether it ended before its time, so that its output may be incomplete."""
        told = self._told()
        return told.get("status") in (STATUS_FAILED, STATUS_ABORTED) or _is_dead(told)

    def _told(self) -> Dict[str, str]:
        """Return what its database says of it now; nothing when it cannot be read."""
        names = {f"{self._key}.{name}": name for name in ("status", "_pid", "hostFullName", "_useQueue")}
        if self._path is None or not self._path.is_file():
            return {}
        with contextlib.suppress(sqlite3.DatabaseError), opened(self._path, _PATIENCE) as connection:
            query = f"SELECT name, value FROM Objects WHERE name IN ({','.join('?' * len(names))})"
            return {names[name]: str(value) for name, value in connection.execute(query, list(names))}
        return {}


def _is_dead(told: Dict[str, str]) -> bool:
    """Return whether a protocol says that it runs, on this machine, and its process is not there."""
    pid = told.get("_pid", "")
    if told.get("status") != STATUS_RUNNING or not pid.isdigit() or int(pid) <= 0:
        return False
    if told.get("hostFullName") != getHostFullName() or told.get("_useQueue") == "1":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is there, and somebody else's
        pass
    return False
