# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how many micrographs an hour a session screens: on average and recently."""

from __future__ import annotations

import datetime
import time
from collections import deque
from typing import Callable, Deque, Optional

RECENT = 600.0  # s
_MOST = 1000  # times that are kept


class Throughput:
    """Count the micrographs of one session in constant memory and time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the session.

        Parameters
        ----------
        clock : callable
            Returns seconds that never decrease.
        """
        self.started = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self._clock, self._count = clock, 0
        self._began = clock()
        self._times: Deque[float] = deque(maxlen=_MOST)

    def tick(self) -> None:
        """Count a micrograph."""
        self._count += 1
        self._times.append(self._clock())

    @property
    def per_hour(self) -> Optional[float]:
        """Return micrographs per hour since the session began; None before the first one."""
        return _rate(self._count, self._clock() - self._began)

    @property
    def recent_per_hour(self) -> Optional[float]:
        """Return micrographs per hour over the last ten minutes; 0 if there were none, None before the first one."""
        if not self._count:
            return None
        now = self._clock()
        since = max(now - RECENT, self._began)
        if len(self._times) == _MOST and self._times[0] > since:  # older times are not kept
            since = self._times[0]
        number = sum(moment > since for moment in self._times)
        return _rate(number, now - since) if number else 0.0


def _rate(number: int, seconds: float) -> Optional[float]:
    return round(3600 * number / seconds, 1) if number and seconds > 0 else None
