# SPDX-License-Identifier: GPL-3.0-or-later
"""Split micrographs into training, validation and test sets; never patches, since neighbours are nearly copies."""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.evaluation.validation_draw import draw_validation
from cryoice_scipion.core.images.naming import matches_name

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_ALIKE = 2.0  # the largest weight, in patches, of all those of one label on one micrograph


def split_micrographs(table: pd.DataFrame, validation: float, hold_out: Sequence[str], seed: int) -> Dict[str, str]:
    """Assign each micrograph to the training, validation or test set.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a patch, with columns micrograph and label.
    validation : float
        Share of the micrographs that are not held out; at least one.
    hold_out : sequence of str
        Micrographs that are only for testing: names, or patterns as in a shell (``*``, ``?``, ``[1-9]``).
    seed : int
        Seed of the draws. Of many draws, the one is taken in which both sets have good and bad patches, and in which
        the validation set has nearest to its share of each.

    Raises
    ------
    SettingsError
        When a held-out micrograph does not exist, or no split has good and bad patches in both sets.
    """
    stems = sorted(table["micrograph"].unique())
    test = held_out(stems, hold_out)
    rest = [stem for stem in stems if stem not in test]
    bad = table["label"] != GOOD
    counts = {stem: np.array([(~rows).sum(), rows.sum()]) for stem, rows in bad.groupby(table["micrograph"])}
    chosen = draw_validation(rest, counts, validation, np.random.default_rng(seed))
    split = dict.fromkeys(rest, TRAIN)
    split.update(dict.fromkeys(chosen, VALIDATION))
    split.update(dict.fromkeys(test, TEST))
    return split


def held_out(stems: Sequence[str], names: Sequence[str]) -> List[str]:
    """Return the micrographs that are held out.

    Parameters
    ----------
    stems : sequence of str
        All micrographs.
    names : sequence of str
        Names or patterns of those to hold out.

    Raises
    ------
    SettingsError
        When a name matches no micrograph.
    """
    absent = [name for name in names if not any(matches_name(stem, name) for stem in stems)]
    if absent:
        raise SettingsError("--hold-out", f"no labelled micrograph is called {', '.join(sorted(absent))}")
    return [stem for stem in stems if any(matches_name(stem, name) for name in names)]


def patch_weights(table: pd.DataFrame) -> NDArray[np.float32]:
    """Return the weight of each patch, shape (n,), for a training from few micrographs.

    Patches of one label on one micrograph resemble each other. A micrograph that is bad throughout has hundreds of
    them, and would dominate the fit. Together they therefore weigh as much as two patches.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a patch, with columns micrograph and label.
    """
    bad = table["label"] != GOOD
    number = bad.groupby([table["micrograph"], bad]).transform("size").to_numpy()
    weights: NDArray[np.float32] = np.minimum(1.0, _ALIKE / number).astype(np.float32)
    return weights


def with_unique_names(tables: Sequence[pd.DataFrame], contents: Sequence[Mapping[str, str]]) -> List[pd.DataFrame]:
    """Return the tables of patch sets with one name for each micrograph, so that it is only in one split.

    If several micrographs have one name, ``_2`` is appended to that of the second one, and so on.

    Parameters
    ----------
    tables : sequence of pandas.DataFrame
        One row a patch, with the column micrograph.
    contents : sequence of mapping
        What tells the file of each micrograph of a table from others, by name. A name of several tables stands for one
        micrograph if these texts are equal.
    """
    seen: Dict[str, List[str]] = {}  # contents by name
    found = []
    for table, own in zip(tables, contents):
        stems, names = table["micrograph"].astype(str), {}  # type: pd.Series[str], Dict[str, str]
        for stem in stems.unique():
            names[stem] = unique_name(stem, own.get(stem, ""), seen)
        found.append(table.assign(micrograph=stems.map(names)))
    return found


def unique_name(stem: str, content: str, seen: Dict[str, List[str]]) -> str:
    """Return the name of a micrograph: its stem, with a number if micrographs of another content have it already.

    Parameters
    ----------
    content : str
        What tells its file from others; empty: not known, so that it counts as another micrograph.
    seen : dict
        The contents of the micrographs so far, by stem; the new one is added.
    """
    known = seen.setdefault(stem, [])
    if not content or content not in known:
        known.append(content)
    number = known.index(content) + 1 if content else len(known)
    return stem if number == 1 else f"{stem}_{number}"
