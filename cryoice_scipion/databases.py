# SPDX-License-Identifier: GPL-3.0-or-later
"""Scipion's sqlite files, opened for a look while others write them."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Iterator, Sequence

_AT_ONCE = 500  # ids in one query: sqlite before 3.32 takes 999


@contextlib.contextmanager
def opened(path: Path, patience: float) -> Iterator[sqlite3.Connection]:
    """Open a database that is there for one look, and close it; ``patience``: s to wait for who writes it.

    Raises
    ------
    sqlite3.DatabaseError
        When the file is busy, gone or damaged.
    """
    # Not read-only: a transaction that a killed writer left half done is rolled back by whoever opens the file next.
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=patience)
    with contextlib.closing(connection):
        yield connection


def in_parts(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield ids in parts that fit into one query."""
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]
