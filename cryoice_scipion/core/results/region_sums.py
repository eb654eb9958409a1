# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the regions of bad area of a run, for report and summary."""

from __future__ import annotations

from collections import Counter
from typing import Counter as CounterType
from typing import Dict, Iterable

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.core.records import Region

_DIAMETER_STEP = 10.0  # Å


class RegionSums:
    """Counts of regions of bad area by class and diameter."""

    STORED = {"_sizes": Dict[str, CounterType[int]], "likeliest": CounterType[str]}  # for a checkpoint

    def __init__(self) -> None:
        """Start with nothing."""
        self._sizes: Dict[str, CounterType[int]] = {}  # by class: diameters in units of _DIAMETER_STEP
        self.likeliest: CounterType[str] = Counter()  # by likeliest class: uncertain regions count, too

    def add(self, regions: Iterable[Region], sign: int) -> None:
        """Add regions, or remove them with ``sign`` -1."""
        for one in regions:
            self.likeliest[one.likeliest] += sign
            sizes, size = self._sizes.setdefault(one.cls, Counter()), round(one.diameter / _DIAMETER_STEP)
            sizes[size] += sign
            if not sizes[size]:
                del sizes[size]

    @property
    def counts(self) -> Dict[str, int]:
        """Return the number of regions of each class, the most frequent first."""
        total = {name: sum(sizes.values()) for name, sizes in sorted(self._sizes.items()) if sizes}
        return dict(Counter(total).most_common())

    def diameters(self, name: str) -> NDArray[np.float64]:
        """Return the diameters of the regions of a class in Å, ascending, to the nearest 10 Å."""
        found = sorted((self._sizes.get(name) or {}).items())
        return np.repeat([_DIAMETER_STEP * size for size, _ in found], [number for _, number in found])
