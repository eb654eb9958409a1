# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe the data sets that a U-Net learns from, and split their micrographs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Collection, Dict, List, Mapping, Optional, Sequence, Set

import numpy as np

from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.errors import SettingsError, counted
from cryoice_scipion.core.training.splits import TEST, TRAIN, VALIDATION, held_out

_DRAWS = 200


@dataclasses.dataclass
class TrainingSet:
    """The micrographs of one data set, and the number of crops of each in an epoch.

    Sets with more than one crop are small ones of real micrographs: all of them are trained on unless they are held
    out, and most of their crops contain bad area.
    """

    name: str
    micrographs: List[Path]
    crops: int = 1

    @property
    def names(self) -> List[str]:
        """Return the micrographs as SET/STEM."""
        return [f"{self.name}/{path.stem}" for path in self.micrographs]


def split_micrographs(
    sets: Sequence[TrainingSet], config: TrainConfig, labels: Optional[Mapping[str, Set[bool]]] = None
) -> Dict[str, str]:
    """Assign each micrograph (SET/STEM) to the training, validation or test set.

    Parameters
    ----------
    sets : sequence of TrainingSet
    config : TrainConfig
    labels : dict, optional
        Whether its labelled cells are bad, by micrograph. The first draw that trains and validates on good and bad
        cells is taken; without such a draw, or without ``labels``, any.

    Raises
    ------
    SettingsError
        When a held-out micrograph does not exist, or nothing is left to train or to validate on.
    """
    names = [name for item in sets for name in item.names]
    stems = [name.split("/")[-1] for name in names]
    whole = {name for name in config.hold_out if "/" in name}  # SET/STEM: sets may have micrographs of one name
    if whole - set(names):
        raise SettingsError("--hold-out", f"no labelled micrograph is called {', '.join(sorted(whole - set(names)))}")
    test_stems = set(held_out(stems, [name for name in config.hold_out if name not in whole]))
    held = {name for name, stem in zip(names, stems) if stem in test_stems or name in whole}
    all_small = all(item.crops > 1 for item in sets)
    free = [name for item in sets if item.crops == 1 or all_small for name in item.names if name not in held]
    number = min(max(1, round(config.validation * len(free))), len(free) - 1)
    if number < 1:
        raise SettingsError(
            "training set", f"{counted(len(free), 'micrograph is', 'micrographs are')} too few", "give at least two"
        )
    rng, chosen = np.random.default_rng(config.seed), set()
    for _ in range(_DRAWS):
        chosen = set(rng.choice(free, number, replace=False).tolist())
        if labels is None or (has_both(labels, chosen) and has_both(labels, set(names) - held - chosen)):
            break
    return {name: TEST if name in held else VALIDATION if name in chosen else TRAIN for name in names}


def has_both(labels: Mapping[str, Set[bool]], names: Collection[str]) -> bool:
    """Return whether good and bad cells are labelled on these micrographs."""
    return len(set().union(*(labels[name] for name in names))) == 2
