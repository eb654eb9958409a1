# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and change what users have marked in a run: places in ``labels.json``, verdicts in ``review.json``.

The local page and the Scipion viewer may have the same run open. Each change therefore reads the file again, replaces
the changed micrographs only, and writes the file atomically. Micrographs are named by their stem.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from cryoice_scipion.constants import ACCEPTED, BORDER, CLASSES, GOOD
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.json_files import read_json
from cryoice_scipion.core.regions.labels import LabelFile, LabelledBox

LABELS, VERDICTS = "labels.json", "review.json"  # in the folder of the run
REJECTED = "rejected"
LABEL_CLASSES = tuple(name for name in CLASSES if name not in (GOOD, BORDER))  # that a user can give a bad place
SIDE = 400.0  # Å, of the box around a place that is clicked

Boxes = Dict[str, List[LabelledBox]]
Stamp = Optional[Tuple[int, int, int]]  # number, size and time of a file; None: there is none
_CHANGING = threading.Lock()


def stamp_of(path: Path) -> Stamp:
    """Return what changes with a file: its number, size and time; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def read_labels(folder: Path) -> Boxes:
    """Return the labelled boxes of each micrograph that has any.

    Raises
    ------
    SettingsError
        When the file is damaged.
    """
    path = folder / LABELS
    found = LabelFile.load(path).micrographs if path.is_file() else {}
    return {stem: boxes for stem, boxes in found.items() if boxes}


def change_labels(
    folder: Path, stem: str, change: Callable[[List[LabelledBox]], Sequence[LabelledBox]]
) -> Tuple[List[LabelledBox], Boxes]:
    """Change the boxes of one micrograph; return its boxes before the change, and all boxes after it.

    Parameters
    ----------
    change : callable
        Returns the new boxes of the micrograph from the present ones.

    Raises
    ------
    CryoIceError
        When the file is damaged, or cannot be written.
    """
    with _alone(folder):
        boxes = read_labels(folder)
        before = boxes.get(stem, [])
        return before, _write_labels(folder, {**boxes, stem: list(change(before))})


def add_labels(folder: Path, new: Mapping[str, Sequence[LabelledBox]]) -> None:
    """Add boxes to micrographs; each replaces an earlier label of the same box.

    Raises
    ------
    CryoIceError
        When the file is damaged, or cannot be written.
    """
    with _alone(folder):
        boxes = read_labels(folder)
        for stem, added in new.items():
            edges = {one.edges for one in added}
            boxes[stem] = [*(one for one in boxes.get(stem, []) if one.edges not in edges), *added]
        _write_labels(folder, boxes)


def _write_labels(folder: Path, boxes: Boxes) -> Boxes:
    written = {stem: boxes[stem] for stem in sorted(boxes) if boxes[stem]}
    LabelFile(micrographs=written).save(folder / LABELS)
    return written


def read_verdicts(folder: Path) -> Dict[str, str]:
    """Return ACCEPTED or REJECTED for each micrograph that a user has decided on.

    Raises
    ------
    CryoIceError
        When the file is damaged.
    """
    path = folder / VERDICTS
    if not path.is_file():
        return {}
    try:
        found = read_json(path)["micrographs"]
        return {str(stem): str(word) for stem, word in found.items() if word in (ACCEPTED, REJECTED)}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise CryoIceError(path, "is damaged", "correct or remove it") from None


def change_verdicts(folder: Path, new: Mapping[str, str]) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Set verdicts on micrographs, "" for none; return theirs before the change, and all verdicts after it.

    Raises
    ------
    CryoIceError
        When the file is damaged, or cannot be written.
    """
    with _alone(folder):
        verdicts = read_verdicts(folder)
        before = {stem: verdicts.get(stem, "") for stem in new}
        verdicts = {stem: word for stem, word in sorted({**verdicts, **new}.items()) if word}
        with replacing(folder / VERDICTS) as temporary:
            content = {"version": 1, "micrographs": verdicts}
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return before, verdicts


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let no other thread or process change the files meanwhile."""
    with _CHANGING, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # some network file systems cannot lock a folder
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
