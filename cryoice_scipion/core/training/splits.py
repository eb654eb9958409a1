# SPDX-License-Identifier: GPL-3.0-or-later
"""Splits by micrograph, never by patch: neighbours on one micrograph are nearly copies of each other."""

from __future__ import annotations

import fnmatch
from typing import Dict, List, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.images.naming import micrograph_key

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_TRIES = 200
_ALIKE = 2.0  # independent patches that all those of one label on one micrograph are worth, at most


def split_micrographs(table: pd.DataFrame, validation: float, hold_out: Sequence[str], seed: int) -> Dict[str, str]:
    """Say of each micrograph whether it is for training, validation or testing.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a patch, with columns micrograph and label.
    validation : float
        Share of the micrographs that are not held out; at least one.
    hold_out : sequence of str
        Micrographs that are only for testing: names, or patterns as a shell has them (``*``, ``?``, ``[1-9]``).
    seed : int
        Of the draw. The draw in which both sides have good and bad patches, and in which the validation set has
        about its share of each, wins.

    Raises
    ------
    SettingsError
        When a held-out micrograph is not there, or no split has good and bad patches on both sides.
    """
    stems = sorted(table["micrograph"].unique())
    test = [stem for stem in stems if any(matches_name(stem, name) for name in hold_out)]
    absent = [name for name in hold_out if not any(matches_name(stem, name) for stem in test)]
    if absent:
        raise SettingsError("--hold-out", f"no labelled micrograph is called {', '.join(sorted(absent))}")
    rest = [stem for stem in stems if stem not in test]
    bad = table["label"] != GOOD
    counts = {stem: np.array([(~rows).sum(), rows.sum()]) for stem, rows in bad.groupby(table["micrograph"])}
    chosen = _draw(rest, counts, validation, np.random.default_rng(seed))
    split = dict.fromkeys(rest, TRAIN)
    split.update(dict.fromkeys(chosen, VALIDATION))
    split.update(dict.fromkeys(test, TEST))
    return split


def patch_weights(table: pd.DataFrame) -> NDArray[np.float32]:
    """Return what each patch counts, shape (n,), where a few micrographs are all there is to learn from.

    Patches of one label on one micrograph are much alike, and a micrograph that is bad all over has hundreds of them:
    together they count as two, or all would be fitted to that one micrograph.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a patch, with columns micrograph and label.
    """
    bad = table["label"] != GOOD
    number = bad.groupby([table["micrograph"], bad]).transform("size").to_numpy()
    weights: NDArray[np.float32] = np.minimum(1.0, _ALIKE / number).astype(np.float32)
    return weights


def matches_name(stem: str, name: str) -> bool:
    """Return whether a held-out micrograph's name, or pattern of names, means this micrograph."""
    return fnmatch.fnmatchcase(stem, name) or micrograph_key(stem) == micrograph_key(name)


def _draw(
    stems: List[str],
    counts: Dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]],
    share: float,
    rng: np.random.Generator,
) -> List[str]:
    """Return the validation micrographs of the best of many seeded draws."""
    number = min(max(1, round(share * len(stems))), len(stems) - 1)
    total = sum((counts[stem] for stem in stems), np.zeros(2))
    best: List[str] = []
    score = np.inf
    for _ in range(_TRIES if number > 0 else 0):
        draw = sorted(str(stem) for stem in rng.choice(stems, number, replace=False))
        part = sum((counts[stem] for stem in draw), np.zeros(2))
        if (part > 0).all() and (total - part > 0).all():
            far = float(np.abs(np.log(part / total / share)).sum())
            if far < score:
                best, score = draw, far
    if not best:
        raise SettingsError(
            "training set", "good and bad patches are needed on two micrographs at least, one of them to validate on",
            "label bad areas on more micrographs",
        )  # fmt: skip
    return best
