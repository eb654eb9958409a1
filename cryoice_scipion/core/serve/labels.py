# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the places that a user marks, in the label file in the folder of the run."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Dict, List, Sequence

from cryoice_scipion.constants import BAD, BORDER, CLASSES, GOOD
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.regions.labels import LabelFile

FILE = "labels.json"
LABEL_CLASSES = [name for name in CLASSES if name not in (GOOD, BORDER)]
_MOST = 2000  # labels of one micrograph


class Labels:
    """The labels of a run."""

    def __init__(self, path: Path) -> None:
        """Read the labels of an earlier server.

        Raises
        ------
        SettingsError
            When the file is damaged.
        """
        self.path, self._lock = path, threading.Lock()
        self.file = LabelFile.load(path) if path.is_file() else LabelFile()

    def as_json(self) -> Dict[str, Any]:
        """Return the boxes of each micrograph, by its stem."""
        boxes: Dict[str, Any] = self.file.model_dump(by_alias=True)["micrographs"]
        return boxes

    def replace(self, stem: str, labels: Sequence[Any]) -> None:
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
        new = LabelFile.make(micrographs={stem: labels}).micrographs[stem]
        with self._lock:
            changed = {**self.file.micrographs, stem: new}
            self.file = LabelFile(micrographs={key: boxes for key, boxes in sorted(changed.items()) if boxes})
            self.file.save(self.path)

    def counts(self) -> Dict[str, int]:
        """Return how many good and bad places there are, and on how many micrographs."""
        found = {}
        for kind, wanted in ((GOOD, True), (BAD, False)):
            numbers = [sum(box.good is wanted for box in boxes) for boxes in self.file.micrographs.values()]
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
