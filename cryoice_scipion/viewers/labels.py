# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user has marked in a screening: good and bad places, and accepted and rejected micrographs. No Tk.

The files are those of the local page (``cryoice serve``), in the folder of the run, so that either continues what the
other began, and closing the window loses nothing.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from cryoice_scipion.constants import ACCEPTED, BAD, GOOD
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.regions.labels import LabelFile, LabelledBox

LABELS, VERDICTS = "labels.json", "review.json"
REJECTED = "rejected"  # the verdict in the file
SIDE = 400.0  # Å, of the box around a place that is clicked, as in the page


class Place(NamedTuple):
    """The centre of a labelled box."""

    x: float  # px of the micrograph
    y: float
    label: str  # GOOD or BAD


Boxes = Dict[str, Tuple[LabelledBox, ...]]  # by the stem of the micrograph
Verdicts = Dict[str, bool]  # whether a micrograph is accepted, by its stem; others are as the run decided


class Labels:
    """The labels of a run, with undo. Each change is written at once."""

    def __init__(self, folder: Path) -> None:
        """Read the labels of an earlier session in the folder of a run, if there are any.

        Raises
        ------
        CryoIceError
            When a file is damaged.
        """
        self._folder = folder
        self.boxes: Boxes = {}
        if (folder / LABELS).is_file():
            stored = LabelFile.load(folder / LABELS).micrographs
            self.boxes = {stem: tuple(boxes) for stem, boxes in stored.items() if boxes}
        self.verdicts = _read_verdicts(folder / VERDICTS)
        self._before: List[Tuple[Boxes, Verdicts]] = []

    def of(self, stem: str) -> Tuple[Place, ...]:
        """Return the places on a micrograph."""
        return tuple(map(_place, self.boxes.get(stem, ())))

    def number(self, label: str) -> int:
        """Return how many places have a label."""
        return sum(place.label == label for stem in self.boxes for place in self.of(stem))

    @property
    def can_undo(self) -> bool:
        """Return whether there is a change of this session to undo."""
        return bool(self._before)

    def mark(self, stem: str, place: Place, reach: float, side: float) -> None:
        """Add a place with a box of ``side`` px; it replaces those within ``reach`` px, as a second click corrects."""
        box = LabelledBox(x=place.x - side / 2, y=place.y - side / 2, width=side, height=side, good=place.label == GOOD)
        self._change({**self.boxes, stem: (*self._others(stem, place.x, place.y, reach), box)}, self.verdicts)

    def remove(self, stem: str, x: float, y: float, reach: float) -> bool:
        """Remove the places within ``reach`` px; return whether there were any."""
        others = self._others(stem, x, y, reach)
        if len(others) == len(self.boxes.get(stem, ())):
            return False
        self._change({**self.boxes, stem: others}, self.verdicts)
        return True

    def decide(self, stem: str, accepted: bool) -> None:
        """Accept or reject a micrograph; the same decision again leaves it to the run."""
        verdicts = {key: value for key, value in self.verdicts.items() if key != stem}
        if self.verdicts.get(stem) != accepted:
            verdicts[stem] = accepted
        self._change(self.boxes, verdicts)

    def undo(self) -> None:
        """Take back the last change."""
        self.boxes, self.verdicts = self._before.pop()
        self._write()

    def _others(self, stem: str, x: float, y: float, reach: float) -> Tuple[LabelledBox, ...]:
        def is_far(box: LabelledBox) -> bool:
            place = _place(box)
            return math.hypot(place.x - x, place.y - y) > reach

        return tuple(filter(is_far, self.boxes.get(stem, ())))

    def _change(self, boxes: Boxes, verdicts: Verdicts) -> None:
        self._before.append((self.boxes, self.verdicts))
        self.boxes, self.verdicts = {stem: found for stem, found in sorted(boxes.items()) if found}, verdicts
        self._write()

    def _write(self) -> None:
        LabelFile(micrographs={stem: list(boxes) for stem, boxes in self.boxes.items()}).save(self._folder / LABELS)
        words = {stem: ACCEPTED if value else REJECTED for stem, value in sorted(self.verdicts.items())}
        with replacing(self._folder / VERDICTS) as temporary:
            Path(temporary).write_text(json.dumps({"version": 1, "micrographs": words}, indent=1) + "\n", "utf-8")


def _place(box: LabelledBox) -> Place:
    return Place(box.x + box.width / 2, box.y + box.height / 2, GOOD if box.good else BAD)


def _read_verdicts(path: Path) -> Verdicts:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["micrographs"]
        return {stem: word == ACCEPTED for stem, word in found.items() if word in (ACCEPTED, REJECTED)}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise CryoIceError(path, "is damaged", "correct or remove it") from None
