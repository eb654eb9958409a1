# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write what a user has marked in a screening: good and bad places, accepted and rejected micrographs.

The files are those of the local page (``cryoice serve``), in the folder of the run, so that either continues what the
other began, and closing the window loses nothing. This module does not use Tk.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from cryoice_scipion.constants import ACCEPTED, BAD, GOOD
from cryoice_scipion.core.regions.labels import LabelledBox
from cryoice_scipion.core.results.review_files import (
    LABELS,
    REJECTED,
    VERDICTS,
    Boxes,
    Stamp,
    change_labels,
    change_verdicts,
    read_labels,
    read_verdicts,
    stamp_of,
)


class Place(NamedTuple):
    """The centre of a labelled box."""

    x: float  # px of the micrograph
    y: float
    label: str  # class of a bad place, BAD if it is not known, or GOOD

    @property
    def kind(self) -> str:
        """Return GOOD or BAD."""
        return GOOD if self.label == GOOD else BAD


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
        self._undo: List[Callable[[], object]] = []  # what takes back each change of this session
        self._stamps: Tuple[Stamp, ...] = ()
        self.boxes: Boxes = {}
        self._words: Dict[str, str] = {}
        self.look()

    def look(self) -> bool:
        """Read files that have changed, also by the page or another window; return whether there was one.

        Raises
        ------
        CryoIceError
            When a file is damaged.
        """
        before, self._stamps = self._stamps, tuple(stamp_of(self._folder / name) for name in (LABELS, VERDICTS))
        if self._stamps == before:
            return False
        self.boxes, self._words = read_labels(self._folder), read_verdicts(self._folder)
        return True

    def forget(self) -> None:
        """Forget the changes of this session, so that none can be undone."""
        self._undo.clear()

    @property
    def verdicts(self) -> Dict[str, bool]:
        """Return whether a micrograph is accepted, by its stem; others are as the run decided."""
        return {stem: word == ACCEPTED for stem, word in self._words.items()}

    def of(self, stem: str) -> Tuple[Place, ...]:
        """Return the places on a micrograph."""
        return tuple(map(_place, self.boxes.get(stem, ())))

    def counts(self) -> Dict[str, int]:
        """Return how many places have each label."""
        return Counter(box.label for boxes in self.boxes.values() for box in boxes)

    @property
    def can_undo(self) -> bool:
        """Return whether there is a change of this session to undo."""
        return bool(self._undo)

    def mark(self, stem: str, place: Place, reach: float, side: float) -> None:
        """Add a place with a box of ``side`` px; it replaces those within ``reach`` px, as a second click corrects."""
        is_good = place.label == GOOD
        edges = {"x": place.x - side / 2, "y": place.y - side / 2, "width": side, "height": side}
        box = LabelledBox.make(**edges, **({"good": True} if is_good else {"class": place.label}))
        before = self._set_boxes(stem, lambda boxes: [*_far_from(boxes, place.x, place.y, reach), box])
        self._undo.append(lambda: self._set_boxes(stem, lambda _: before))

    def remove(self, stem: str, x: float, y: float, reach: float) -> bool:
        """Remove the places within ``reach`` px; return whether there were any."""
        boxes = self.boxes.get(stem, [])
        if len(_far_from(boxes, x, y, reach)) == len(boxes):
            return False
        before = self._set_boxes(stem, lambda boxes: _far_from(boxes, x, y, reach))
        self._undo.append(lambda: self._set_boxes(stem, lambda _: before))
        return True

    def decide(self, stems: Sequence[str], accepted: bool) -> None:
        """Accept or reject micrographs; the same decision on all of them again leaves them to the run."""
        word = ACCEPTED if accepted else REJECTED
        again = all(self._words.get(stem) == word for stem in stems)
        before = self._set_verdicts(dict.fromkeys(stems, "" if again else word))
        self._undo.append(lambda: self._set_verdicts(before))

    def undo(self) -> None:
        """Take back the last change."""
        self._undo[-1]()
        self._undo.pop()

    def _set_boxes(
        self, stem: str, change: Callable[[List[LabelledBox]], Sequence[LabelledBox]]
    ) -> Sequence[LabelledBox]:
        before, self.boxes = change_labels(self._folder, stem, change)
        return before

    def _set_verdicts(self, words: Mapping[str, str]) -> Dict[str, str]:
        before, self._words = change_verdicts(self._folder, words)
        return before


def _place(box: LabelledBox) -> Place:
    return Place(box.x + box.width / 2, box.y + box.height / 2, box.label)


def _far_from(boxes: Sequence[LabelledBox], x: float, y: float, reach: float) -> List[LabelledBox]:
    """Return the boxes whose centre is not within ``reach`` px of a position."""

    def is_far(box: LabelledBox) -> bool:
        place = _place(box)
        return math.hypot(place.x - x, place.y - y) > reach

    return list(filter(is_far, boxes))
