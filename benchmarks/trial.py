# SPDX-License-Identifier: GPL-3.0-or-later
"""Micrographs of noise for benchmarks, and the time and memory that a process needs."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Sequence

import mrcfile
import numpy as np

_UNSET = "PYTHONDONTWRITEBYTECODE"  # an installed package has its bytecode; without it, a start compiles all modules
_INHERITED = {name: value for name, value in os.environ.items() if name != _UNSET}
ONE_THREAD = {**_INHERITED, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Used(NamedTuple):
    """What a process needed."""

    seconds: float  # by the clock
    cpu: float  # s, of all its threads
    peak: float  # MB, largest memory


def write_noise(path: Path, rows: int, columns: int, pixel_size: float, seed: int = 0) -> None:
    """Write a micrograph of white noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32))
        mrc.voxel_size = pixel_size


def run(command: Sequence[str], environment: Dict[str, str] = ONE_THREAD, folder: Optional[Path] = None) -> Used:
    """Run a command on one thread until it ends, with empty input; return what it and its children needed."""
    start = time.perf_counter()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=folder,
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    seconds = time.perf_counter() - start
    return Used(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)
