# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of the next micrograph is read into the cache of the system while another one is computed."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, List

import pytest

from cryoice_scipion.core.images.reading_ahead import read_ahead
from cryoice_scipion.core.records import MicrographTask
from cryoice_scipion.core.workers import pool
from cryoice_scipion.core.workers.pool import ExecutorPool, Job


class Here:
    device = "cpu"

    def close(self) -> None:
        pass


class Elsewhere(Here):
    same_machine = False


def paths_read_ahead(monkeypatch: pytest.MonkeyPatch, executors: List[Any], reads: bool = True) -> List[str]:
    paths: List[str] = []
    monkeypatch.setattr(pool, "read_ahead", paths.append)
    pool_ = ExecutorPool(executors, logging.getLogger("test"))
    jobs = [Job(MicrographTask(i, f"{i}.mrc", f"{i}"), lambda executor: None, reads) for i in range(4)]
    assert len(list(pool_.run(jobs))) == 4
    pool_.close()
    return paths


def test_the_next_micrograph_is_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths_read_ahead(monkeypatch, [Here()]) == ["1.mrc", "2.mrc", "3.mrc"]


def test_a_micrograph_with_a_stored_map_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths_read_ahead(monkeypatch, [Here()], reads=False) == []


def test_nothing_is_read_ahead_for_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths_read_ahead(monkeypatch, [Elsewhere()]) == []


def test_the_system_is_asked_for_the_whole_file_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux reads no more than some MB at one call."""
    asked: List[Any] = []
    monkeypatch.setattr(
        os, "posix_fadvise", lambda descriptor, *how: asked.append((os.fstat(descriptor).st_ino, *how)), raising=False
    )
    file = tmp_path / "a.mrc"
    file.write_bytes(bytes(300_000))
    read_ahead(str(file))
    inode, piece, advice = file.stat().st_ino, 131_072, os.POSIX_FADV_WILLNEED
    assert asked == [(inode, start, piece, advice) for start in (0, 131_072, 262_144)]


def test_what_cannot_be_read_ahead_does_no_harm(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mrc")
    for path in (tmp_path / "missing.mrc", tmp_path, tmp_path / "pipe.mrc", f"3@{tmp_path}/stack.mrcs"):
        read_ahead(str(path))
