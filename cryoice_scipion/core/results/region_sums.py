# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the regions of bad area of a run, for report and summary."""

from __future__ import annotations

from collections import Counter
from typing import Counter as CounterType
from typing import Dict, Iterable, Tuple

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.core.records import Region

_DIAMETER_STEP = 10.0  # Å


class RegionSums:
    """Counts of regions of bad area by class and diameter."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._sizes: CounterType[Tuple[str, int]] = Counter()  # class, diameter in units of _DIAMETER_STEP
        self.likeliest: CounterType[str] = Counter()  # by likeliest class: uncertain regions count, too

    def add(self, regions: Iterable[Region], sign: int) -> None:
        """Add regions, or remove them with ``sign`` -1."""
        for one in regions:
            self.likeliest[one.likeliest] += sign
            key = one.cls, round(one.diameter / _DIAMETER_STEP)
            self._sizes[key] += sign
            if not self._sizes[key]:
                del self._sizes[key]

    @property
    def counts(self) -> Dict[str, int]:
        """Return the number of regions of each class, the most frequent first."""
        total: CounterType[str] = Counter()
        for (name, _), number in sorted(self._sizes.items()):
            total[name] += number
        return dict(total.most_common())

    def diameters(self, name: str) -> NDArray[np.float64]:
        """Return the diameters of the regions of a class in Å, ascending, to the nearest 10 Å."""
        found = sorted((size, number) for (cls, size), number in self._sizes.items() if cls == name)
        return np.repeat([_DIAMETER_STEP * size for size, _ in found], [number for _, number in found])
