# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn the distance of a cell from clean cells into log-odds; the kinds that learn from clean micrographs share this.

The log-odds are the largest log Bayes factor that the p-value of the distance can mean, minus that of ``FALSE_ALARMS``
(``spots`` describes this). The p-value comes from the distances of clean cells. Above the highest tenth, distances are
taken to follow a power law.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.core.views.spot_statistics import log_bayes_factor

FALSE_ALARMS = 1e-3  # of clean cells, where P(BAD) = 0.5
TAIL = 0.1  # share of clean cells in the tail of the distances
_LARGEST = 20.0  # log-odds


@dataclasses.dataclass
class Tail:
    """The highest tenth of the distances of clean cells: P(distance > d) = 0.1 (d / start) ** -exponent."""

    start: float
    exponent: float

    @classmethod
    def of(cls, distances: NDArray[np.float64]) -> Tail:
        """Estimate the tail from distances of clean cells (Hill 1975)."""
        start = float(np.quantile(distances, 1 - TAIL))
        excess = np.log(distances[distances > start] / start)
        return cls(start, 1.0 / max(float(excess.mean()) if excess.size else 0.0, 1e-6))

    def log_odds(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log-odds of BAD; those of cells below the tail are the lowest."""
        log_p = math.log(TAIL) - self.exponent * np.log(np.maximum(distances / self.start, 1.0))
        floor = float(log_bayes_factor(np.asarray(math.log(FALSE_ALARMS))))
        odds: NDArray[np.float64] = np.minimum(log_bayes_factor(log_p) - floor, _LARGEST)
        return odds
