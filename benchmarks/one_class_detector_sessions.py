# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulate the sessions for one_class_detectors.py: clean micrographs, and ones that are bad throughout or in places.

Each session has clean micrographs to fit to, further clean ones, and bad ones with label images. The sessions "tuning"
are for choices; the sessions "test" are for the tables only.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import mrcfile
import numpy as np
from one_class_sessions import EDGE_TO_EDGE, LOCAL, UNSEEN, simulate_one
from tqdm import tqdm

TUNING, TEST = "tuning", "test"
SESSIONS = {TUNING: 4, TEST: 8}
FITTED, CLEAN = "fitted", "clean"
#: Micrographs of a session by kind.
NUMBERS: Dict[str, int] = {
    FITTED: 12,
    CLEAN: 6,
    **dict.fromkeys(EDGE_TO_EDGE, 2),
    **dict.fromkeys(UNSEEN, 5),
    **dict.fromkeys(LOCAL, 3),
}


def session_folders(build: Path, group: str) -> List[Path]:
    """Return the folders of the sessions of a group; each has a folder for each kind."""
    return [build / f"{group}_{number:02d}" for number in range(SESSIONS[group])]


def micrographs(session: Path, kind: str) -> List[Path]:
    """Return the micrographs of one kind; the label image of each is in the folder labels beside it."""
    return [session / kind.replace(" ", "_") / "micrographs" / f"m{index}.mrc" for index in range(NUMBERS[kind])]


def labels_of(micrograph: Path) -> Path:
    """Return the label image of a micrograph."""
    return micrograph.parents[1] / "labels" / micrograph.name


def prepare(build: Path, workers: int) -> None:
    """Simulate all micrographs that are not in the build folder yet."""
    missing = [one for one in _all(build) if not one[0].is_file()]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = pool.map(_make, missing, chunksize=4)
        list(tqdm(jobs, total=len(missing), desc="simulated", unit="micrograph"))


def _all(build: Path) -> Iterator[Tuple[Path, List[int], List[int], str]]:
    """Yield the path, the seeds and the kind of each micrograph."""
    for place, group in enumerate(SESSIONS):
        for number, session in enumerate(session_folders(build, group)):
            for index, kind in enumerate(NUMBERS):
                for own, path in enumerate(micrographs(session, kind)):
                    yield path, [24, place, number], [index, own], kind


def _make(job: Tuple[Path, List[int], List[int], str]) -> None:
    path, session_seed, own_seed, kind = job
    image, labels, pixel_size = simulate_one(session_seed, own_seed, kind, False)
    for target, pixels in ((labels_of(path), labels.astype(np.int8)), (path, image)):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(".part")
        with mrcfile.new(temporary, overwrite=True) as mrc:
            mrc.set_data(pixels)
            mrc.voxel_size = pixel_size
        temporary.replace(target)
