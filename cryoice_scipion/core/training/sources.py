# SPDX-License-Identifier: GPL-3.0-or-later
"""Where labels come from, as the command line names it, brought to one list of labelled micrographs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.formats.coordinates import PickTable, read_picks
from cryoice_scipion.core.formats.cryoppp import read_cryoppp
from cryoice_scipion.core.images.naming import expand_micrographs
from cryoice_scipion.core.records import MicrographTask
from cryoice_scipion.core.training.points import LabelledMicrograph, from_coordinates, from_label_images


@dataclasses.dataclass
class Sources:
    """What a user points at."""

    good: Optional[Path] = None
    bad: Optional[Path] = None
    micrographs: List[str] = dataclasses.field(default_factory=list)
    clean: List[str] = dataclasses.field(default_factory=list)
    cryoppp: List[Path] = dataclasses.field(default_factory=list)
    simulated: List[Path] = dataclasses.field(default_factory=list)
    per_class: int = 40  # positions drawn per micrograph and class of a simulated data set

    def labelled(self, seed: int) -> List[LabelledMicrograph]:
        """Return the labelled micrographs of all sources.

        Raises
        ------
        SettingsError
            When nothing, or only half of what belongs together, is given, or two micrographs have one name.
        """
        found: List[LabelledMicrograph] = []
        self.messages: List[str] = []
        if self.clean and not (self.good and self.bad and self.micrographs):
            raise SettingsError("--clean", "goes with --good, --bad and --micrographs", "give these too")
        if self.good or self.bad or self.micrographs:
            found += self._from_coordinates()
        for folder in self.cryoppp:
            found += self._from_cryoppp(folder)
        for folder in self.simulated:
            found += from_label_images(folder, self.per_class, seed)
        if not found:
            raise SettingsError(
                "labelled data", "none given", "give --good, --bad and --micrographs, or --cryoppp, or --simulated"
            )
        _make_unique(found)
        return found

    def describe(self) -> Dict[str, str]:
        """Return what the labels are, by topic, for the model card: names of files and folders, no paths."""
        topics = {}
        if self.good and self.bad:
            topics["GOOD coordinates"] = self.good.name
            topics["BAD coordinates"] = f"{self.bad.name}, as the user gave them"
        if self.cryoppp:
            topics["CryoPPP"] = ", ".join(folder.name for folder in self.cryoppp) + " (BAD: its false positives)"
        if self.simulated:
            topics["label images"] = ", ".join(folder.name for folder in self.simulated)
        return topics

    def _from_coordinates(self) -> List[LabelledMicrograph]:
        if not (self.good and self.bad and self.micrographs):
            raise SettingsError("--good, --bad and --micrographs", "belong together", "give all three")
        tasks = expand_micrographs(self.micrographs)
        clean = expand_micrographs(self.clean) if self.clean else []
        return self._join(tasks, read_picks(self.good), read_picks(self.bad), clean)

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


def _make_unique(found: Sequence[LabelledMicrograph]) -> None:
    """Give micrographs of one stem from different sources different names: splits go by name."""
    seen: Dict[str, int] = {}
    for item in found:
        number = seen.get(item.stem, 0)
        seen[item.stem] = number + 1
        if number:
            item.stem = f"{item.stem}_{number + 1}"
