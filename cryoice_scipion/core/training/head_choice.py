# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose between two last layers for a model that is fine-tuned, by cross-validation over micrographs."""

from __future__ import annotations

import dataclasses
from typing import Callable, Dict, Mapping, NamedTuple, Tuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.training.metrics import fit_temperature
from cryoice_scipion.core.training.patches.fit import bad_log_odds

COMBINED, NEW = "combined", "new"


class Freedom(NamedTuple):
    """How far a fitted layer may differ from the old one."""

    trust: float  # how much the log-odds of the old layer count in it
    texture: float  # standard deviation of the prior of each weight of the texture, for a feature of the usual spread


#: The new layer keeps some of the old log-odds, because they tell the classes of bad area apart; most labels do not.
#: The combined one trusts the texture less: where the labels are of other kinds of bad area than the rest of the data,
#: it would call more clean area bad (benchmarks/tuned_on_picks.py).
FREEDOM = {COMBINED: Freedom(0.4, 0.3), NEW: Freedom(0.1, 0.5)}
MEANINGS = {
    name: f"{100 * freedom.trust:g} % of the log-odds of the base model, and a layer fitted to the labels"
    for name, freedom in FREEDOM.items()
}
MICROGRAPHS = "micrographs"  # the groups, if there are enough
_ENOUGH = 3  # micrographs; fewer are divided into quarters
_FOLDS = 5

Rows = NDArray[np.int64]
#: Fits a layer to the first rows, and returns its logits (n, classes) on the second ones.
Fit = Callable[[Rows, Rows], torch.Tensor]


@dataclasses.dataclass
class Choice:
    """Which last layer a fine-tuning takes, and why."""

    name: str
    losses: Dict[str, NDArray[np.float64]]  # of each layer, on each group that was left out
    unit: str  # of the groups
    rows: Rows  # of the table: the patches that were left out once
    logits: torch.Tensor  # (n, classes), of these rows: of the taken layer, fitted without their groups

    def __str__(self) -> str:
        """Return the choice with its scores, for the command line and the model card."""
        number = len(self.losses[self.name])
        scores = ", ".join(f"{name} {values.mean():.3f}" for name, values in self.losses.items() if number)
        why = f"cross-validated log loss over {number} {self.unit}: {scores}" if number else "too few labels to compare"
        return f"{self.name} ({MEANINGS[self.name]}); {why}"


def choose(fits: Mapping[str, Fit], table: pd.DataFrame, rows: Rows, weights: NDArray[np.float32]) -> Choice:
    """Return the best last layer for labelled patches.

    Each layer is fitted without some micrographs, and scored on them by the log loss of BAD against GOOD. As in a
    training, a temperature is fitted to all these predictions first. The combined layer is taken unless the new one is
    better by more than one standard error of the paired differences (Breiman et al. 1984), or when there are no scores.
    The old layer is no candidate: with few labels it often scored best, and was the worse one on other micrographs.

    Parameters
    ----------
    fits : dict
        The layers, by name.
    table : pandas.DataFrame
        One row a patch: label, micrograph, x, y.
    rows : numpy.ndarray
        The rows of the table that may be used.
    weights : numpy.ndarray, shape (n,)
        Weight of each row of the table.
    """
    groups, unit = _groups(table.iloc[rows])
    bad, weight = (table["label"] != GOOD).to_numpy()[rows], weights[rows].astype(np.float64)
    names = np.unique(groups)
    folds = [np.isin(groups, names[first::_FOLDS]) for first in range(min(_FOLDS, len(names)))]
    folds = [left for left in folds if bad[~left].any() and not bad[~left].all()]
    if not folds:
        return Choice(COMBINED, {name: np.zeros(0) for name in fits}, unit, rows[:0], torch.zeros(0))
    seen = np.concatenate([np.flatnonzero(left) for left in folds])
    losses: Dict[str, NDArray[np.float64]] = {}
    crossed = {name: torch.cat([fit(rows[~left], rows[left]) for left in folds]) for name, fit in fits.items()}
    for name, logits in crossed.items():

        def odds_at(temperature: float, logits: torch.Tensor = logits) -> NDArray[np.float64]:
            odds: NDArray[np.float64] = bad_log_odds(logits / temperature).double().numpy()
            return odds

        odds = odds_at(fit_temperature(odds_at, bad[seen], weight[seen]))
        each = pd.DataFrame({"loss": np.logaddexp(0.0, np.where(bad[seen], -odds, odds)), "weight": weight[seen]})
        sums = each.assign(loss=each["loss"] * each["weight"]).groupby(groups[seen]).sum()
        losses[name] = (sums["loss"] / sums["weight"]).to_numpy()
    best = _best(losses)
    return Choice(best, losses, unit, rows[seen], crossed[best])


def _best(losses: Mapping[str, NDArray[np.float64]]) -> str:
    """Return the new layer if it is better than the combined one by more than a standard error."""
    gain = losses[COMBINED] - losses[NEW]
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    return NEW if gain.mean() > error else COMBINED


def _groups(table: pd.DataFrame) -> Tuple[NDArray[np.str_], str]:
    """Return the group of each patch: its micrograph; of one or two micrographs, the quarter that it lies in."""
    names = table["micrograph"].astype(str)
    if names.nunique() >= _ENOUGH:
        return names.to_numpy(dtype=str), MICROGRAPHS
    quarters = names
    for axis in ("x", "y"):
        beyond = table[axis] > table.groupby("micrograph")[axis].transform("median")
        quarters = quarters + np.where(beyond, "+", "-")
    return quarters.to_numpy(dtype=str), "quarters of micrographs, as there are fewer than three micrographs"
