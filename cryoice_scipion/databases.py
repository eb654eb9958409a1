# SPDX-License-Identifier: GPL-3.0-or-later
"""Read Scipion's sqlite files while other processes write them."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Iterator, Sequence

_IDS_PER_QUERY = 500  # sqlite before 3.32 takes 999


@contextlib.contextmanager
def opened(path: Path, timeout: float) -> Iterator[sqlite3.Connection]:
    """Open an existing database, and close it at the end of the context.

    Parameters
    ----------
    timeout : float
        Seconds to wait while another process writes the file.

    Raises
    ------
    sqlite3.DatabaseError
        If the file is busy, missing or damaged.
    """
    # Not read-only: whoever opens the file after a killed writer must roll its unfinished transaction back.
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=timeout)
    with contextlib.closing(connection):
        yield connection


def table_prefix(output: Any) -> str:
    """Return what the names of a set's tables begin with; empty for most sets."""
    prefix = (output.getPrefix() or "").strip()
    return f"{prefix}_" if prefix and not prefix.endswith("_") else prefix


def in_parts(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield ids in groups that fit into one query."""
    for start in range(0, len(keys), _IDS_PER_QUERY):
        yield keys[start : start + _IDS_PER_QUERY]
