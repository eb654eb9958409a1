# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write labelled boxes. One file serves the search for similar regions, fine-tuning and the local page.

    {"version": 1, "micrographs": {"mic001": [{"x": 10, "y": 20, "width": 80, "height": 60, "class": "frost"}]}}

``x`` and ``y`` are the left and the top edge in px; row 0 is y = 0. A box with ``"good": true`` says that the place is
good: it has no class. Micrographs are named by their stem (the file name without extension), as in micrographs.csv.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterator, List, Tuple

from pydantic import ConfigDict, Field, model_validator

from cryoice_scipion.constants import BAD, GOOD, LARGEST_POSITION
from cryoice_scipion.core.config import Settings
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.images.atomic import replacing

VERSION = 1


class LabelledBox(Settings):
    """A place that a user has labelled."""

    model_config = ConfigDict(populate_by_name=True)

    x: float = Field(ge=-LARGEST_POSITION, le=LARGEST_POSITION)
    y: float = Field(ge=-LARGEST_POSITION, le=LARGEST_POSITION)
    width: float = Field(gt=0, le=LARGEST_POSITION)
    height: float = Field(gt=0, le=LARGEST_POSITION)
    cls: str = Field(BAD, alias="class", min_length=1, max_length=40)
    good: bool = False

    @model_validator(mode="after")
    def _good_places_have_no_class(self) -> LabelledBox:
        if self.good and self.cls not in (BAD, GOOD):
            raise ValueError(f"a good place has no class, but the class is {self.cls}")
        if not self.good and self.cls == GOOD:
            raise ValueError('the class good needs "good": true')
        return self

    @property
    def edges(self) -> Tuple[float, float, float, float]:
        """Return left and top edge, width and height in px."""
        return self.x, self.y, self.width, self.height

    @property
    def label(self) -> str:
        """Return the class, "good" for a good place."""
        return GOOD if self.good else self.cls


class LabelFile(Settings):
    """The labelled boxes of micrographs."""

    version: int = Field(VERSION, ge=1, le=VERSION)
    micrographs: Dict[str, List[LabelledBox]] = Field(default_factory=dict)

    def boxes(self) -> Iterator[Tuple[str, LabelledBox]]:
        """Yield the stem of a micrograph with each of its boxes, sorted by stem."""
        for stem in sorted(self.micrographs):
            for box in self.micrographs[stem]:
                yield stem, box

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        with replacing(path) as temporary:
            temporary.write_text(self.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")


def read_labels(path: Path) -> LabelFile:
    """Read a file of labelled boxes.

    Raises
    ------
    SettingsError
        When the file is missing or invalid, or has no box.
    """
    found = LabelFile.load(path)
    if not any(found.micrographs.values()):
        raise SettingsError(path, "has no labelled box", "label at least one place")
    return found
