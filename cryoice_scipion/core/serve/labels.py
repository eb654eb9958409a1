# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the places that a user marks, in the label file in the folder of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Sequence

from cryoice_scipion.constants import BAD, GOOD
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.regions.labels import LabelFile, LabelledBox
from cryoice_scipion.core.results.review_files import (
    LABEL_CLASSES,
    LABELS,
    Boxes,
    add_labels,
    change_labels,
    read_labels,
)

_MOST = 2000  # labels of one micrograph
_EDGE = 0.05  # share of a side that the mark of a whole micrograph leaves out


class Labels:
    """The labels of a run."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of the run.

        Raises
        ------
        SettingsError
            When the file of an earlier server is damaged.
        """
        self._folder, self.path = folder, folder / LABELS
        self.read()

    def read(self) -> Boxes:
        """Return the boxes of each micrograph as they are now; the viewer of Scipion may have changed them."""
        return read_labels(self._folder)

    def as_json(self) -> Dict[str, Any]:
        """Return the boxes of each micrograph, by its stem."""
        boxes: Dict[str, Any] = LabelFile(micrographs=self.read()).model_dump(by_alias=True)["micrographs"]
        return boxes

    def replace(self, stem: str, labels: object, shown: object = None) -> None:
        """Replace the labels of one micrograph, and write the file.

        Parameters
        ----------
        labels : list of dict
            The new ones.
        shown : list of dict, optional
            Those that the page showed before. Labels that another page has added since then stay.
            None: all are replaced.

        Raises
        ------
        SettingsError
            When a label is invalid.
        CryoIceError
            When the folder cannot be written.
        """
        new, old = _checked(stem, labels), None if shown is None else _checked(stem, shown)

        def changed(now: List[LabelledBox]) -> List[LabelledBox]:
            if old is None:
                return new
            kept = [one for one in now if one in new or one not in old]
            return [*kept, *(one for one in new if one not in old and one not in now)]

        change_labels(self._folder, stem, changed)

    def mark_whole(self, records: Sequence[MicrographRecord], name: str) -> None:
        """Mark the inside of whole micrographs as one class, or as good.

        Raises
        ------
        SettingsError
            When there is no such class.
        """
        if name not in (GOOD, *LABEL_CLASSES):
            raise SettingsError("class", f"'{name[:40]}' is not known")
        inside, new = 1 - 2 * _EDGE, {}
        for one in records:
            if one.shape:  # None: failed
                height, width = one.shape
                place = {"x": _EDGE * width, "y": _EDGE * height, "width": inside * width, "height": inside * height}
                new[one.stem] = [LabelledBox(**place, cls=name, good=name == GOOD)]
        add_labels(self._folder, new)

    def counts(self) -> Dict[str, int]:
        """Return how many good and bad places there are, and on how many micrographs."""
        found, micrographs = {}, self.read().values()
        for kind, wanted in ((GOOD, True), (BAD, False)):
            numbers = [sum(box.good is wanted for box in boxes) for boxes in micrographs]
            found[kind], found[f"{kind}_micrographs"] = sum(numbers), sum(number > 0 for number in numbers)
        return found

    def missing(self) -> List[str]:
        """Return what a training still needs, one sentence each."""
        counts = self.counts()
        return [
            f"Mark {kind} places on at least two micrographs (now on {counts[f'{kind}_micrographs']})."
            for kind in (BAD, GOOD)
            if counts[f"{kind}_micrographs"] < 2
        ]


def _checked(stem: str, labels: object) -> List[LabelledBox]:
    """Return the labels of a request.

    Raises
    ------
    SettingsError
        When one is invalid, or there are too many.
    """
    if not isinstance(labels, list) or len(labels) > _MOST:
        raise SettingsError("labels", f"must be a list of at most {_MOST} places")
    return LabelFile.make(micrographs={stem: labels}).micrographs[stem]
