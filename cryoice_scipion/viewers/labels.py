# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user has marked in a screening: good and bad places, and accepted and rejected micrographs. No Tk.

The labels are in one file of the run, so that closing the window loses nothing.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

from cryoice_scipion.constants import ACCEPTED, BAD, DISCARDED, GOOD
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.images.atomic import replacing

VERSION = 1


class Place(NamedTuple):
    """A place that the user has marked."""

    x: float  # px of the micrograph
    y: float
    label: str  # GOOD or BAD


Places = Dict[str, Tuple[Place, ...]]  # by the stem of the micrograph
Verdicts = Dict[str, bool]  # whether a micrograph is accepted, by its stem; others are as the run decided


class Labels:
    """The labels of a run, with undo. Each change is written at once."""

    def __init__(self, path: Path) -> None:
        """Read the labels of an earlier session, if there are any.

        Raises
        ------
        CryoIceError
            When the file is damaged.
        """
        self._path = path
        self.places: Places = {}
        self.verdicts: Verdicts = {}
        self._before: List[Tuple[Places, Verdicts]] = []
        if path.is_file():
            try:
                self._take(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise CryoIceError(path, f"cannot be read ({error})", "move it away to start without labels") from None

    def of(self, stem: str) -> Tuple[Place, ...]:
        """Return the places on a micrograph."""
        return self.places.get(stem, ())

    def number(self, label: str) -> int:
        """Return how many places have a label."""
        return sum(place.label == label for places in self.places.values() for place in places)

    @property
    def can_undo(self) -> bool:
        """Return whether there is a change of this session to undo."""
        return bool(self._before)

    def mark(self, stem: str, place: Place, reach: float) -> None:
        """Add a place; it replaces those within ``reach`` px, so that a second click corrects the first."""
        self._change({**self.places, stem: (*self._others(stem, place.x, place.y, reach), place)}, self.verdicts)

    def remove(self, stem: str, x: float, y: float, reach: float) -> bool:
        """Remove the places within ``reach`` px; return whether there were any."""
        others = self._others(stem, x, y, reach)
        if len(others) == len(self.of(stem)):
            return False
        self._change({**self.places, stem: others}, self.verdicts)
        return True

    def decide(self, stem: str, accepted: bool) -> None:
        """Accept or reject a micrograph; the same decision again leaves it to the run."""
        verdicts = {key: value for key, value in self.verdicts.items() if key != stem}
        if self.verdicts.get(stem) != accepted:
            verdicts[stem] = accepted
        self._change(self.places, verdicts)

    def undo(self) -> None:
        """Take back the last change."""
        self.places, self.verdicts = self._before.pop()
        self._write()

    def _others(self, stem: str, x: float, y: float, reach: float) -> Tuple[Place, ...]:
        return tuple(place for place in self.of(stem) if math.hypot(place.x - x, place.y - y) > reach)

    def _change(self, places: Places, verdicts: Verdicts) -> None:
        self._before.append((self.places, self.verdicts))
        self.places, self.verdicts = {stem: found for stem, found in places.items() if found}, verdicts
        self._write()

    def _take(self, stored: Dict[str, Any]) -> None:
        for stem, found in stored["places"].items():
            self.places[stem] = tuple(Place(float(one["x"]), float(one["y"]), _label(one["label"])) for one in found)
        self.verdicts = {stem: word == ACCEPTED for stem, word in stored["micrographs"].items()}

    def _write(self) -> None:
        stored = {
            "version": VERSION,
            "places": {stem: [place._asdict() for place in found] for stem, found in self.places.items()},
            "micrographs": {stem: ACCEPTED if value else DISCARDED for stem, value in self.verdicts.items()},
        }
        with replacing(self._path) as temporary:
            Path(temporary).write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def _label(word: str) -> str:
    if word not in (GOOD, BAD):
        raise ValueError(f"{word!r} is no label")
    return word
