# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the examples that a grader learns from: the views of micrographs whose grade is known."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import numpy as np
from tqdm import tqdm

from cryoice_scipion.constants import BORDER, CLASSES, GRADES
from cryoice_scipion.core.errors import SettingsError, counted, plural
from cryoice_scipion.core.evaluation.labels import find_labelled, read_label_image
from cryoice_scipion.core.grades.grade import grade_of_areas
from cryoice_scipion.core.grades.resnet import grade_views
from cryoice_scipion.core.grades.table import match_grades, read_grades
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.images.naming import expand_micrographs
from cryoice_scipion.core.records import MicrographTask
from cryoice_scipion.core.results.balance import names_in_short
from cryoice_scipion.core.training.grades.fit import Example
from cryoice_scipion.core.training.trainers import TrainRequest

_TABLE_SOURCE = "graded"
_VERSION = 1  # of the stored views


def examples_of(request: TrainRequest, cache: Path) -> List[Example]:
    """Return the examples of all sources; views are computed once and kept in ``cache``.

    Raises
    ------
    CryoIceError
        When a source cannot be read, or there is none.
    """
    found: List[Example] = []
    for source, tasks in tasks_by_source(request).items():
        for task, grade in tqdm(tasks, desc=f"views of {source}", unit="micrograph", disable=not request.progress):
            picture, power = _views(task, cache)
            found.append(Example(f"{source}/{task.stem}", source, picture, power, GRADES.index(grade)))
    return found


def tasks_by_source(request: TrainRequest) -> Dict[str, List[Tuple[MicrographTask, str]]]:
    """Return the micrographs of each data source with their grades.

    Raises
    ------
    CryoIceError
        When a source cannot be read, or there is none.
    """
    sources = request.sources
    found: Dict[str, List[Tuple[MicrographTask, str]]] = {}
    for folder in sources.simulated:
        found[folder.resolve().name] = [
            (MicrographTask(number, item.path, item.stem, item.pixel_size), _grade_of_labels(Path(item.labels)))
            for number, item in enumerate(find_labelled(folder))
        ]
    if sources.grades:
        tasks = expand_micrographs(sources.micrographs)
        found[_TABLE_SOURCE] = _graded(sources.grades, tasks, request)
    if not found:
        raise SettingsError(
            "graded micrographs", "none given", "give --grades TABLE with --micrographs, or --simulated folders"
        )
    return found


def _graded(path: Path, tasks: Sequence[MicrographTask], request: TrainRequest) -> List[Tuple[MicrographTask, str]]:
    table = read_grades(path)
    grades, absent = match_grades(table, {task.stem: task.path for task in tasks})
    found = [(task, grades[task.stem]) for task in tasks if task.stem in grades]
    if absent:
        of = f"{len(absent)} of {counted(len(table.names), 'micrograph')} {plural(len(absent), 'is', 'are')}"
        request.warn([f"{path}: {of} not among --micrographs: {names_in_short(absent)}"])
    if not found:
        raise SettingsError(path, "names none of the micrographs", "check the names and --micrographs")
    return found


def _grade_of_labels(path: Path) -> str:
    codes, _ = read_label_image(path)
    counts = np.bincount(codes.ravel(), minlength=len(CLASSES))[: len(CLASSES)]
    inside = max(1, counts.sum() - counts[CLASSES.index(BORDER)])
    return grade_of_areas({name: float(count) / inside for name, count in zip(CLASSES, counts)})


def _views(task: MicrographTask, cache: Path) -> Tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Return the views of a micrograph, from the cache if its file has not changed."""
    state = Path(task.path).stat()
    words = f"{_VERSION} {Path(task.path).resolve()} {state.st_size} {state.st_mtime_ns} {task.pixel_size}"
    path = cache / f"{task.stem}_{hashlib.sha256(words.encode()).hexdigest()[:12]}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return stored["picture"].astype(np.float32), stored["power"].astype(np.float32)
    except (OSError, ValueError, KeyError, EOFError):
        pass
    micrograph = load_micrograph(task.path, task.pixel_size)
    picture, power = grade_views(micrograph.image, micrograph.pixel_size, micrograph.border)
    cache.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, picture=picture.astype(np.float16), power=power.astype(np.float16))
    return picture.astype(np.float16).astype(np.float32), power.astype(np.float16).astype(np.float32)
