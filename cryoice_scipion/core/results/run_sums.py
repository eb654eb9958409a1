# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep running sums over the micrographs of a run, for summary.json and the report.

A record can be removed when a later one replaces it. All sums are of integers. Adding and removing a record therefore
leaves no rounding error, and the order does not matter: a resumed run has the sums of an uninterrupted one.
"""

from __future__ import annotations

import bisect
import sys
from collections import Counter
from typing import Counter as CounterType
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.constants import (
    ACCEPTED,
    COORDINATES_DIFFER,
    COORDINATES_SCALED,
    DISCARDED,
    FAILED,
    GOOD,
    PIXEL_SIZE_DIFFERS,
)
from cryoice_scipion.core.config import ModelConfig
from cryoice_scipion.core.maps.scoring import is_kept
from cryoice_scipion.core.maps.session_baseline import PERCENTILE, is_unusual, session_logit_of
from cryoice_scipion.core.records import MicrographRecord, number_in_flag
from cryoice_scipion.core.results.micrograph_fields import shown_values
from cryoice_scipion.core.results.region_sums import RegionSums

BINS = 50
Sortable = TypeVar("Sortable", float, Tuple[float, int])
_STEPS = 10**9  # shares and seconds are summed as integers in units of 1e-9


class MicrographValues(NamedTuple):
    """The values of one micrograph that are kept in memory; its scores are not, because a run has millions."""

    id: int
    stem: str
    path: str
    status: str
    reason: str  # empty unless the micrograph failed
    bad_area: Optional[float]
    areas: Tuple[Tuple[str, float], ...]  # share of all cells, by bad class
    picks: int
    kept: int
    shown: Tuple[Tuple[str, str], ...]  # label and text of the fields that the report shows
    thumbnail: str
    screened_at: float  # s since 1970; 0: unknown
    outlier: Optional[float]  # 1 is typical of the session's reference
    outlier_p: Optional[float]
    grade: str  # empty: not graded
    grade_confidence: Optional[float]
    grade_reason: str
    deviations: Tuple[float, ...]  # from the session, by feature; empty: not measured
    pixel_size: Optional[float]  # Å/px that was used; None: it failed


class GoodnessHistogram:
    """Histograms of goodness from 0 to 1: one of the coordinates below the threshold, one of the others."""

    STORED = {**dict.fromkeys(("below", "above"), List[int]), **dict.fromkeys(("scored", "unscored"), int)}

    def __init__(self, threshold: Optional[float]) -> None:
        """Set the threshold. None, or a value below 0, rejects nothing."""
        self.threshold = -1.0 if threshold is None else float(threshold)
        self.edges: NDArray[np.float64] = np.linspace(0.0, 1.0, BINS + 1)
        self.below, self.above = [0] * BINS, [0] * BINS
        self.scored = self.unscored = 0

    def add(self, values: Iterable[Optional[float]], sign: int = 1) -> None:
        """Add coordinates, or remove them with ``sign`` -1. None and NaN mean that there is no goodness."""
        everything = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        if not everything.size:
            return
        scored = everything[~np.isnan(everything)]
        below = ~is_kept(scored, self.threshold)
        self.below = _added(self.below, scored[below], sign)
        self.above = _added(self.above, scored[~below], sign)
        self.scored += sign * scored.size
        self.unscored += sign * (everything.size - scored.size)


def _added(counts: List[int], values: NDArray[np.float64], sign: int) -> List[int]:
    found = np.histogram(values, bins=BINS, range=(0, 1))[0]
    return [before + sign * number for before, number in zip(counts, found.tolist())]


class RunSums:
    """Counts, mean areas and the histogram of goodness over the micrographs screened so far."""

    STORED = {  # attributes for a checkpoint, which also has those of `goodness` and `regions`
        **dict.fromkeys(("_median_logits", "_diameters"), List[float]),
        "_outliers": List[Tuple[float, int]],
        "micrographs": Dict[int, MicrographValues],
        "pixel_sizes": Dict[int, Tuple[float, float]],
        **dict.fromkeys(
            ("diameter_origins", "status", "grades", "flags", "noted_sizes", "rejected_by_class", "_areas"),
            CounterType[str],
        ),
        **dict.fromkeys(("picks", "kept", "_bad_area", "_seconds"), int),
    }

    def __init__(self, threshold: Optional[float] = None, model: Optional[ModelConfig] = None) -> None:
        """Start with nothing.

        Parameters
        ----------
        threshold : float, optional
            Threshold on the goodness, for the histogram.
        model : ModelConfig, optional
            Has the baseline that sessions are compared with.
        """
        self._model = model
        self._median_logits: List[float] = []  # of the micrographs, ascending
        self._diameters: List[float] = []  # Å, ascending
        self._outliers: List[Tuple[float, int]] = []  # number and -id of the micrographs, ascending
        self.diameter_origins: CounterType[str] = Counter()
        self.micrographs: Dict[int, MicrographValues] = {}
        self.status: CounterType[str] = Counter()
        self.grades: CounterType[str] = Counter()
        self.flags: CounterType[str] = Counter()  # without "=" and the number after it
        self.noted_sizes: CounterType[str] = Counter()  # flags about the pixel size of coordinates, with the number
        self.pixel_sizes: Dict[int, Tuple[float, float]] = {}  # Å/px, given and in the header, if they differ
        self.rejected_by_class: CounterType[str] = Counter()
        self.goodness = GoodnessHistogram(threshold)
        self.regions = RegionSums()
        self.picks = self.kept = 0
        self._areas: CounterType[str] = Counter()
        self._bad_area = self._seconds = 0

    def add(self, record: MicrographRecord) -> None:
        """Add a record. An earlier record of the same micrograph must be removed first."""
        self.micrographs[record.id] = _values_of(record)
        header = number_in_flag(record.flags, PIXEL_SIZE_DIFFERS)
        if header is not None and record.pixel_size is not None:
            self.pixel_sizes[record.id] = record.pixel_size, header
        self._count(record, 1)

    def remove(self, record: MicrographRecord) -> None:
        """Remove a record that was added and is now replaced."""
        del self.micrographs[record.id]
        self.pixel_sizes.pop(record.id, None)
        self._count(record, -1)

    def drop_thumbnails(self, keys: Iterable[int]) -> None:
        """Clear the thumbnail paths of these micrographs."""
        for key in keys:
            self.micrographs[key] = self.micrographs[key]._replace(thumbnail="")

    def _count(self, record: MicrographRecord, sign: int) -> None:
        kept = record.kept
        _sort_in(self._median_logits, record.median_logit, sign)
        _sort_in(self._diameters, record.particle_diameter, sign)
        _sort_in(self._outliers, None if record.outlier is None else (record.outlier, -record.id), sign)
        _add(self.diameter_origins, {record.diameter_from: 1} if record.diameter_from else {}, sign)
        _add(self.status, {record.status: 1}, sign)
        self.regions.add(record.regions, sign)
        _add(self.grades, {record.grade: 1} if record.grade else {}, sign)
        self.picks += sign * len(record.scores)
        self.kept += sign * kept
        self._bad_area += sign * _steps(record.bad_area or 0.0)
        self._seconds += sign * _steps(record.seconds)
        _add(self._areas, {name: _steps(share) for name, share in record.areas.items()}, sign)
        noted = [flag for flag in record.flags if flag.startswith((COORDINATES_SCALED, COORDINATES_DIFFER))]
        _add(self.noted_sizes, Counter(noted), sign)
        _add(self.flags, Counter(flag.split("=")[0] for flag in record.flags), sign)
        if kept < len(record.scores):
            why = DISCARDED if record.status == DISCARDED else GOOD  # instead of "good"
            causes = (why if one.cls == GOOD else one.cls for one in record.scores if not one.kept)
            _add(self.rejected_by_class, Counter(causes), sign)
        self.goodness.add([one.goodness for one in record.scores], sign)

    @property
    def session_logit(self) -> Optional[float]:
        """Return the baseline of the session over all mapped micrographs; it does not depend on their order."""
        return session_logit_of(_around(self._median_logits, PERCENTILE)) if self._median_logits else None

    @property
    def is_unusual(self) -> bool:
        """Return whether the baseline of the session is unusually high for the model."""
        return (
            self._model is not None and self.session_logit is not None and is_unusual(self.session_logit, self._model)
        )

    @property
    def particle_diameter(self) -> Optional[float]:
        """Return the median particle diameter in Å over the micrographs that have coordinates."""
        return float(np.median(_around(self._diameters, 50))) if self._diameters else None

    @property
    def mapped(self) -> int:
        """Return the number of micrographs that could be read."""
        return self.status[ACCEPTED] + self.status[DISCARDED]

    @property
    def bad_area(self) -> Optional[float]:
        """Return the mean share of bad area; None if no micrograph could be read."""
        return self._mean(self._bad_area)

    @property
    def seconds(self) -> Optional[float]:
        """Return the mean computing time in seconds; None if no micrograph could be read."""
        return self._mean(self._seconds)

    @property
    def areas(self) -> Dict[str, float]:
        """Return the mean share of each class over the readable micrographs."""
        return {name: self._mean(total) or 0.0 for name, total in self._areas.items()} if self.mapped else {}

    @property
    def failed(self) -> List[MicrographValues]:
        """Return the micrographs that failed, by id."""
        return sorted(one for one in self.micrographs.values() if one.status == FAILED)

    def most_unusual(self, number: int) -> List[MicrographValues]:
        """Return the micrographs that are the most unlike the session's reference, most unlike first."""
        return [self.micrographs[-key] for _, key in reversed(self._outliers[-number:])]

    def worst(self) -> Dict[str, Tuple[float, str]]:
        """Return, for each bad class, its largest share on a micrograph, and the stem of that micrograph."""
        found: Dict[str, Tuple[float, str]] = {}
        for key in sorted(self.micrographs):
            one = self.micrographs[key]
            for name, share in one.areas if one.status != FAILED else ():
                if share > found.get(name, (0.0, ""))[0]:
                    found[name] = (share, one.stem)
        return found

    def _mean(self, total: int) -> Optional[float]:
        return total / _STEPS / self.mapped if self.mapped else None


def _values_of(record: MicrographRecord) -> MicrographValues:
    """Return the values that are kept in memory; repeated strings are shared."""
    areas = {name: share for name, share in record.areas.items() if share > 0 and name != GOOD}
    return MicrographValues(
        id=record.id,
        stem=record.stem,
        path=record.path,
        status=sys.intern(record.status),
        reason=record.reason if record.status == FAILED else "",
        bad_area=record.bad_area,
        areas=tuple((sys.intern(name), share) for name, share in areas.items()),
        picks=len(record.scores),
        kept=record.kept,
        shown=shown_values(record),
        thumbnail=record.thumbnail,
        screened_at=record.screened_at,
        outlier=record.outlier,
        outlier_p=record.outlier_p,
        grade=sys.intern(record.grade),
        grade_confidence=record.grade_confidence,
        grade_reason=sys.intern(record.grade_reason),
        deviations=tuple(record.deviations),
        pixel_size=record.pixel_size,
    )


def _sort_in(values: List[Sortable], value: Optional[Sortable], sign: int) -> None:
    """Insert a value into a sorted list, or remove it with ``sign`` -1."""
    if value is None:
        return
    index = bisect.bisect_left(values, value)
    if sign > 0:
        values.insert(index, value)
    else:
        del values[index]


def _around(ordered: List[float], percentile: int) -> List[float]:
    """Return a few values of a sorted list that have the same percentile as all of them.

    Equal numbers of values are left out at both sides, in the ratio of the percentile, so that its position between its
    two neighbours does not change.
    """
    step = 100 // percentile  # of this many values, one is left out below and the others above
    left = max(0, (len(ordered) - 2 * step) // step)
    return ordered[left : len(ordered) - left * (step - 1)]


def _steps(value: float) -> int:
    return round(value * _STEPS)


def _add(counter: CounterType[str], more: Dict[str, int], sign: int) -> None:
    """Add integers to a counter; names with a count of zero are removed."""
    for name, number in more.items():
        counter[name] += sign * number
        if not counter[name]:
            del counter[name]
