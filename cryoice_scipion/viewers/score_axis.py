# SPDX-License-Identifier: GPL-3.0-or-later
"""A score of the coordinates: its range, its threshold, and its histogram. This module does not use Tk."""

from __future__ import annotations

import dataclasses
from typing import Any, Tuple

import numpy as np

from cryoice_scipion.core.results.run_sums import BINS

GOODNESS, SCORE = "Goodness", "Picker's score"
WORDS = {GOODNESS: "goodness (1 = clean)", SCORE: "score of the picker"}


@dataclasses.dataclass
class Axis:
    """One score, with its threshold."""

    low: float = 0.0
    high: float = 1.0
    threshold: float = 0.0
    values: Any = dataclasses.field(default_factory=lambda: np.zeros(0))  # ascending

    @property
    def step(self) -> float:
        """Return the length of the range."""
        return self.high - self.low

    def histogram(self) -> Tuple[Any, Any]:
        """Return the number of values in each bin, and how many of them are below the threshold."""
        edges = np.searchsorted(self.values, np.linspace(self.low, self.high, BINS + 1))
        edges[-1] = len(self.values)  # the last bin holds its upper end too
        counts = np.diff(edges)
        return counts, np.clip(np.searchsorted(self.values, self.threshold) - edges[:-1], 0, counts)

    def bins_between(self, one: float, other: float) -> Tuple[float, float]:
        """Return the ends of the bins from one value to another."""
        first, last = sorted(int((value - self.low) / self.step * BINS) for value in (one, other))
        return self.low + self.step * first / BINS, self.low + self.step * min(last + 1, BINS) / BINS

    def is_between(self, values: Any, low: float, high: float) -> Any:
        """Return which values are in a range of bins."""
        return (values >= low) & ((values < high) | (high >= self.high))
