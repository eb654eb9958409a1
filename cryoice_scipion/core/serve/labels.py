# SPDX-License-Identifier: GPL-3.0-or-later
"""The good and bad places that a user has marked: one JSON file in the folder of the run."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import pandas as pd

from cryoice_scipion.constants import BAD, BORDER, CLASSES, GOOD
from cryoice_scipion.core.errors import CryoIceError, SettingsError
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, X, Y, write_star
from cryoice_scipion.core.images.atomic import replacing

FILE = "labels.json"
LABEL_CLASSES = [name for name in CLASSES if name not in (GOOD, BORDER)]
_MOST = 2000  # labels of one micrograph
_STEP = 192.0  # Å between the coordinates that stand for a place: three quarters of a patch
_MOST_POINTS = 5  # along one side

Label = Dict[str, Any]  # x, y (left and top edge), width, height in px; class; good


class Labels:
    """The labels of a run, kept in ``labels.json``."""

    def __init__(self, path: Path) -> None:
        """Read the labels of an earlier server.

        Raises
        ------
        CryoIceError
            When the file is damaged.
        """
        self._path, self._lock = path, threading.Lock()
        self.micrographs: Dict[str, List[Label]] = {}
        if path.is_file():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))["micrographs"]
                self.micrographs = {str(name): [_checked(one) for one in labels] for name, labels in found.items()}
            except (OSError, ValueError, KeyError, AttributeError, TypeError, SettingsError):
                raise CryoIceError(path, "is damaged", "correct or remove it") from None

    def replace(self, name: str, labels: Sequence[Any]) -> None:
        """Replace the labels of one micrograph, and write the file.

        Raises
        ------
        SettingsError
            When a label is invalid.
        CryoIceError
            When the folder cannot be written.
        """
        if not isinstance(labels, list) or len(labels) > _MOST:
            raise SettingsError("labels", f"are no list of at most {_MOST}")
        new = [_checked(one) for one in labels]
        with self._lock:
            changed = {**self.micrographs, name: new}
            self.micrographs = {key: value for key, value in sorted(changed.items()) if value}
            with replacing(self._path) as temporary:
                content = {"version": 1, "micrographs": self.micrographs}
                temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def counts(self) -> Dict[str, int]:
        """Return how many good and bad places there are, and on how many micrographs."""
        found = {}
        for kind, wanted in ((GOOD, True), (BAD, False)):
            numbers = [sum(one["good"] is wanted for one in labels) for labels in self.micrographs.values()]
            found[kind], found[f"{kind}_micrographs"] = sum(numbers), sum(number > 0 for number in numbers)
        return found

    def missing(self) -> List[str]:
        """Return what a training still needs, one sentence each."""
        counts, found = self.counts(), []
        for kind in (BAD, GOOD):
            number = counts[f"{kind}_micrographs"]
            if number < 2:
                found.append(f"Mark {kind} places on at least two micrographs (now on {number}).")
        return found

    def write_stars(self, folder: Path, paths: Mapping[str, Tuple[str, float]]) -> List[str]:
        """Write ``good.star`` and ``bad.star`` for a training, and return the paths of their micrographs.

        Parameters
        ----------
        paths : mapping
            Path and pixel size (Å/px) of each micrograph, by its name.
        """
        used = [name for name in self.micrographs if name in paths]
        for kind, wanted in ((GOOD, True), (BAD, False)):
            rows = [
                (x, y, paths[name][0], one["class"])
                for name in used
                for one in self.micrographs[name]
                if one["good"] is wanted
                for x, y in points_in(one, paths[name][1])
            ]
            write_star(folder / f"{kind}.star", pd.DataFrame(rows, columns=[X, Y, MICROGRAPH, "cryoiceClass"]))
        return [paths[name][0] for name in used]


def points_in(label: Label, pixel_size: float) -> List[Tuple[float, float]]:
    """Return the coordinates that stand for a place: its centre, or a grid if it is large."""
    x, y = (_along(label[edge], label[side], pixel_size) for edge, side in (("x", "width"), ("y", "height")))
    return [(across, down) for down in y for across in x]


def _along(start: float, length: float, pixel_size: float) -> List[float]:
    number = min(_MOST_POINTS, max(1, round(length * pixel_size / _STEP)))
    return [start + length * (index + 0.5) / number for index in range(number)]


def _checked(one: Any) -> Label:
    """Return a label with exactly the fields of the format.

    Raises
    ------
    SettingsError
        When it is invalid.
    """
    try:
        numbers = {name: round(float(one[name]), 1) for name in ("x", "y", "width", "height")}
        name, good = str(one["class"]), one["good"]
    except (KeyError, TypeError, ValueError):
        raise SettingsError("label", "has no x, y, width, height, class and good") from None
    if not all(map(math.isfinite, numbers.values())) or min(numbers["width"], numbers["height"]) <= 0:
        raise SettingsError("label", "has no size")
    if not isinstance(good, bool) or name not in ([GOOD] if good else LABEL_CLASSES):
        raise SettingsError("label", f"has the unknown class '{name}'", f"choose {GOOD}, {', '.join(LABEL_CLASSES)}")
    return {**numbers, "class": name, "good": good}
