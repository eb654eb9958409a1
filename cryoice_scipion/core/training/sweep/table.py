# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of a sweep, sweep.csv, and its lines for the user. Imports no torch and no Optuna."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Dict, List, Mapping, Sequence

import numpy as np
import pandas as pd

from cryoice_scipion.core.screening.csv_table import write_csv
from cryoice_scipion.core.training.sweep.space import Value

TABLE, IMPORTANCE = "sweep.csv", "importance.png"


@dataclasses.dataclass
class Outcome:
    """A finished trial, as the table lists it."""

    trial: int
    state: str  # complete, pruned or failed
    score: float  # mean over the left-out sources; NaN if not complete
    settings: Dict[str, Value]
    sources: Dict[str, float]
    epochs: int  # reported, over all left-out sources
    seconds: float
    reason: str  # why it failed


@dataclasses.dataclass
class Candidate:
    """One of the best trials with the scores of all seeds."""

    trial: int
    settings: Dict[str, Value]
    scores: List[float]  # the first is that of the trial

    @property
    def mean(self) -> float:
        """Return the mean over the seeds."""
        return float(np.mean(self.scores))

    @property
    def deviation(self) -> float:
        """Return the standard deviation over the seeds; NaN with a single one."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else math.nan

    @property
    def words(self) -> str:
        """Return mean and deviation as text."""
        if len(self.scores) == 1:
            return f"{self.mean:.3f} (one seed)"
        return f"{self.mean:.3f} ± {self.deviation:.3f} over {len(self.scores)} seeds"


def write_table(path: Path, outcomes: Sequence[Outcome], candidates: Sequence[Candidate]) -> None:
    """Write sweep.csv: one row a trial; the best candidate is the winner.

    Parameters
    ----------
    path : Path
    outcomes : sequence of Outcome
    candidates : sequence of Candidate
        The trials that were repeated with other seeds, best first.
    """
    repeated = {item.trial: item for item in candidates}
    rows = []
    for outcome in outcomes:
        row: Dict[str, object] = {"trial": outcome.trial, "state": outcome.state, "score": outcome.score}
        row.update({f"score on {name}": value for name, value in outcome.sources.items()})
        row.update({name: _cell(value) for name, value in outcome.settings.items()})
        row.update(epochs=outcome.epochs, seconds=outcome.seconds)
        found = repeated.get(outcome.trial)
        row["seeds"] = len(found.scores) if found else 1
        row["mean_over_seeds"] = found.mean if found else math.nan
        row["deviation_over_seeds"] = found.deviation if found else math.nan
        row["winner"] = "yes" if found is candidates[0] else ""
        rows.append({**row, "reason": outcome.reason})
    table = pd.DataFrame(rows)
    # Pruned trials have no scores on sources; with them first, these columns would be the last ones.
    front = ["trial", "state", "score", *(name for name in table.columns if name.startswith("score on "))]
    table = table[[*front, *(name for name in table.columns if name not in front)]]
    write_csv(path, table, "%.5g")


def scores_in_words(sources: Mapping[str, float]) -> str:
    """Return the scores on the left-out sources as text."""
    return ", ".join(f"{name} {value:.3f}" for name, value in sources.items())


def settings_in_words(settings: Mapping[str, Value]) -> str:
    """Return settings as text."""
    shown = {name: f"{value:.3g}" if isinstance(value, float) else _cell(value) for name, value in settings.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _cell(value: Value) -> object:
    """Return a value for a table: a list as words."""
    return " ".join(map(str, value)) if isinstance(value, list) else value
