# SPDX-License-Identifier: GPL-3.0-or-later
"""Read all sources of labels into one list of labelled micrographs. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import pandas as pd

from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.evaluation.labels import LabelledMicrograph, double_labels
from cryoice_scipion.core.formats.coordinates import PickTable, read_picks
from cryoice_scipion.core.formats.cryoppp import read_cryoppp
from cryoice_scipion.core.images.identity import content_of
from cryoice_scipion.core.images.naming import expand_micrographs
from cryoice_scipion.core.images.trees import distinct_paths
from cryoice_scipion.core.records import MicrographTask
from cryoice_scipion.core.regions.labels import read_labels
from cryoice_scipion.core.training.points import from_coordinates, from_label_images, places_in_boxes
from cryoice_scipion.core.training.splits import unique_name


@dataclasses.dataclass
class Sources:
    """The files and folders with labels that the user names."""

    good: Optional[Path] = None
    bad: Optional[Path] = None
    micrographs: List[str] = dataclasses.field(default_factory=list)
    clean: List[str] = dataclasses.field(default_factory=list)
    cryoppp: List[Path] = dataclasses.field(default_factory=list)
    simulated: List[Path] = dataclasses.field(default_factory=list)
    boxes: Optional[Path] = None  # file of labelled boxes, of the micrographs
    grades: Optional[Path] = None  # table of the grades of whole micrographs
    per_class: int = 40  # positions drawn per micrograph and class of a simulated data set
    messages: List[str] = dataclasses.field(default_factory=list)  # what was left out, and why

    def __post_init__(self) -> None:
        """Use a folder that is given more than once only once."""
        given = [*self.cryoppp, *self.simulated]
        self.cryoppp, self.simulated = distinct_paths(self.cryoppp), distinct_paths(self.simulated)
        self._repeated = repeated_lines(given, [*self.cryoppp, *self.simulated])

    def labelled(self, seed: int) -> List[LabelledMicrograph]:
        """Return the labelled micrographs of all sources.

        Raises
        ------
        SettingsError
            When no source is given, sources are given without others that they need, or all BAD coordinates of one are
            GOOD ones too.
        """
        found: List[LabelledMicrograph] = []
        self.messages = list(self._repeated)
        given = self.micrographs and ((self.good and self.bad) or self.boxes)
        if self.clean and not given:
            raise SettingsError("--clean", "goes with --good, --bad and --micrographs", "give these too")
        if self.boxes or self.good or self.bad or self.micrographs:
            found += _of_source(self._from_coordinates(), "coordinates")
        for folder in self.cryoppp:
            found += _of_source(self._from_cryoppp(folder), folder.resolve().name)
        for folder in self.simulated:
            found += _of_source(from_label_images(folder, self.per_class, seed), folder.resolve().name)
        if not found:
            raise SettingsError(
                "labelled data", "none given", "give --good, --bad and --micrographs, or --cryoppp, or --simulated"
            )
        _make_unique(found)
        self.messages += double_labels(found)
        return found

    def describe(self) -> Dict[str, str]:
        """Return the origin of the labels by topic, for the model card: names of files and folders, no paths."""
        topics = {}
        if self.good and self.bad:
            topics["GOOD coordinates"] = self.good.name
            topics["BAD coordinates"] = f"{self.bad.name}, as the user gave them"
        if self.boxes:
            topics["labelled boxes"] = self.boxes.name
        if self.cryoppp:
            topics["CryoPPP"] = ", ".join(folder.name for folder in self.cryoppp) + " (BAD: its false positives)"
        if self.simulated:
            topics["label images"] = ", ".join(folder.name for folder in self.simulated)
        return topics

    @property
    def has_positions(self) -> bool:
        """Return whether any source other than label images is given."""
        return any((self.good, self.bad, self.boxes, self.micrographs, self.clean, self.cryoppp))

    def _from_coordinates(self) -> List[LabelledMicrograph]:
        if self.boxes and not self.micrographs:
            raise SettingsError("--boxes", "needs the micrographs that were labelled", "give --micrographs too")
        if not self.boxes and not (self.good and self.bad and self.micrographs):
            raise SettingsError("--good, --bad and --micrographs", "belong together", "give all three")
        if self.good and self.bad and self.good.resolve() == self.bad.resolve():
            raise SettingsError("--good and --bad", f"are the same coordinates ({self.good})", "give two sets")
        tasks = expand_micrographs(self.micrographs)
        clean = expand_micrographs(self.clean) if self.clean else []
        good, bad = ([read_picks(path)] if path else [] for path in (self.good, self.bad))
        if self.boxes:
            in_good, in_bad = places_in_boxes(read_labels(self.boxes), self.boxes, tasks)
            good, bad = [*good, in_good], [*bad, in_bad]
        return self._join(tasks, _one_table(good), _one_table(bad), clean)

    def _from_cryoppp(self, folder: Path) -> List[LabelledMicrograph]:
        data = read_cryoppp(folder)
        self.messages += data.messages
        if data.bad is None:
            raise SettingsError(
                folder, "has no ground_truth/false_positives, which are the BAD examples", "give --bad instead"
            )
        return self._join(expand_micrographs([str(path) for path in data.micrographs]), data.good, data.bad, [])

    def _join(
        self, tasks: Sequence[MicrographTask], good: PickTable, bad: PickTable, clean: Sequence[MicrographTask]
    ) -> List[LabelledMicrograph]:
        found = from_coordinates(tasks, good, bad, clean)
        self.messages += good.warnings + bad.warnings
        return found


def repeated_lines(given: Sequence[Path], used: Sequence[Path]) -> List[str]:
    """Return a line for each folder that is given more than once."""
    return [f"{folder}: is given more than once and used once" for folder in Counter(given) - Counter(used)]


def _of_source(found: List[LabelledMicrograph], source: str) -> List[LabelledMicrograph]:
    for item in found:
        item.source = source
    return found


def _one_table(tables: Sequence[PickTable]) -> PickTable:
    """Return the coordinates of several files as one table."""
    if len(tables) == 1:
        return tables[0]
    joined = pd.concat([one.table for one in tables], ignore_index=True)
    warnings = [line for one in tables for line in one.warnings]
    source, files = " and ".join(str(one.source) for one in tables), tables[0].row_files
    return PickTable(joined, source, warnings=warnings, row_files=files)


def _make_unique(found: Sequence[LabelledMicrograph]) -> None:
    """Give each micrograph a name of its own, because training and validation sets are split by name.

    A micrograph that is in several sources keeps one name, so that it is only in one of these sets.
    """
    numbers, seen = Counter(item.stem for item in found), {}  # type: Counter[str], Dict[str, List[str]]
    for item in found:
        if numbers[item.stem] > 1:
            item.stem = unique_name(item.stem, content_of(item.path), seen)
