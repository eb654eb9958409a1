# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows that travel: between parent and worker, and into journal, csv and json.

Plain dataclasses without numpy or torch, so that every room can import them. ``to_json`` and
``from_json`` are their only file format; ``RECORDS_VERSION`` goes into each file's head.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Dict, FrozenSet, List, Optional, Type, TypeVar

RECORDS_VERSION = 1

Row = TypeVar("Row")


@dataclasses.dataclass
class Pick:
    """One coordinate: a particle's centre, in px of its micrograph, row 0 is y = 0."""

    id: int
    x: float
    y: float
    diameter: Optional[float] = None  # of the particle, px of the micrograph; None: the file does not say it
    box_size: Optional[float] = None  # px of the micrograph; None: the file does not say it
    pixel_size: Optional[float] = None  # Å/px that all these numbers are in; None: that of the micrograph


@dataclasses.dataclass
class MicrographTask:
    """One micrograph to screen, with the coordinates known so far."""

    id: int  # unique in the run; Scipion's object id, or the position on the command line
    path: str
    stem: str  # unique in the run; names every output file
    pixel_size: Optional[float] = None  # Å/px; None: take it from the header
    picks: List[Pick] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class PickCounts:
    """How many coordinates a run was given, and which of them no micrograph gets."""

    rows: int = 0  # coordinates in all files that could be read, those left out included
    left_out: Dict[str, int] = dataclasses.field(default_factory=dict)  # coordinates by reason, see constants.py
    files: int = 0  # that were read; 0: the coordinates are of no file
    not_read: Dict[str, str] = dataclasses.field(default_factory=dict)  # path -> error, of files that cannot be read
    other: List[str] = dataclasses.field(default_factory=list)  # paths of files of another format or content

    @property
    def matched(self) -> int:
        """Return how many coordinates belong to a micrograph of the run."""
        return self.rows - sum(self.left_out.values())


@dataclasses.dataclass
class MapResult:
    """What mapping one micrograph gave. The map itself is in ``raw_path``."""

    shape: List[int]  # rows, columns of the micrograph, px
    pixel_size: float  # Å/px that was used
    sampling: float  # Å, side of a map cell
    median_logit: Optional[float]  # median log-odds of BAD over the valid cells; None: all are border
    skewness: float  # of the band-passed micrograph; < 0: dark objects
    inverted: bool  # whether the contrast was inverted before mapping
    raw_path: str  # log-odds of each class on the grid (.npz)
    base_path: str  # grey picture that thumbnails are drawn on
    flags: List[str] = dataclasses.field(default_factory=list)  # "border", "no_fft", "coarse_pixels"…
    seconds: float = 0.0


@dataclasses.dataclass
class Reference:
    """The data-set reference (docs/explanation/sessions.md): frozen once, then recorded."""

    session_logit: float  # 25th percentile over micrographs of MapResult.median_logit
    logit_offset: float  # what is subtracted from every micrograph's log-odds of BAD
    contrast: str  # "dark" or "bright": the majority of the reference micrographs
    micrographs: List[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class PickScore:
    """The record of one coordinate."""

    id: int
    goodness: Optional[float]  # 1 - the largest P(BAD) that counts (see scoring.py); None: could not be scored
    cls: str
    kept: bool


@dataclasses.dataclass
class MicrographRecord:
    """What the screening says of one micrograph, whatever happened to it."""

    id: int
    stem: str
    path: str
    status: str  # accepted, discarded, failed
    reason: str = ""  # why it was discarded or failed
    bad_area: Optional[float] = None  # share of bad cells among those that are not border
    areas: Dict[str, float] = dataclasses.field(default_factory=dict)  # share of all cells, by class
    scores: List[PickScore] = dataclasses.field(default_factory=list)
    flags: List[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    pixel_size: Optional[float] = None  # Å/px
    shape: Optional[List[int]] = None  # rows, columns, px
    median_logit: Optional[float] = None  # median log-odds of BAD; None: all is border, or the median means nothing
    particle_diameter: Optional[float] = None  # Å, median over its coordinates; None: it has none
    diameter_from: str = ""  # where the diameter comes from
    probability: str = ""  # paths, relative to the run's folder; empty: not written
    mask: str = ""
    full_mask: str = ""
    thumbnail: str = ""
    screened_at: float = dataclasses.field(default=0.0, compare=False)  # when first, s since 1970; 0: not known

    @property
    def kept(self) -> int:
        """Return how many coordinates are kept."""
        return sum(score.kept for score in self.scores)


def to_json(record: Any) -> Dict[str, Any]:
    """Return a record as plain dicts and lists."""
    return dataclasses.asdict(record)


_NESTED: Dict[str, Dict[str, Any]] = {
    "MicrographTask": {"picks": Pick},
    "MicrographRecord": {"scores": PickScore},
}


def from_json(kind: Type[Row], data: Dict[str, Any]) -> Row:
    """Return the record of class ``kind`` that :func:`to_json` wrote; unknown fields are dropped.

    Raises
    ------
    TypeError
        When a field without default is missing.
    """
    names = _names(kind)  # type: ignore[arg-type]
    values = {key: value for key, value in data.items() if key in names}
    for key, nested in _NESTED.get(kind.__name__, {}).items():
        values[key] = [from_json(nested, item) for item in values.get(key, [])]
    return kind(**values)


@functools.lru_cache(maxsize=None)  # asked for once a coordinate, of which there are millions
def _names(kind: Any) -> FrozenSet[str]:
    return frozenset(field.name for field in dataclasses.fields(kind))


@dataclasses.dataclass
class Summary:
    """The state of a run: what ``summary.json`` holds, for a facility's monitor to poll."""

    records_version: int = RECORDS_VERSION
    version: str = ""  # of the package
    started: str = ""  # this session; ISO 8601, with the zone
    updated: str = ""
    finished: bool = False
    micrographs: int = 0  # that are screened
    accepted: int = 0
    discarded: int = 0
    failed: int = 0
    backlog: int = 0  # known, but not screened yet
    mostly_bad: int = 0
    picks: int = 0  # of the screened micrographs
    kept: int = 0
    rejected: int = 0
    rejected_share: Optional[float] = None
    unmatched_picks: int = 0  # of micrographs that are not in this run, or whose name fits several
    input_picks: int = 0  # coordinates given: kept, rejected and left out together
    left_out: Dict[str, int] = dataclasses.field(default_factory=dict)  # coordinates by reason, see constants.py
    files_read: int = 0  # of coordinates; 0: the coordinates are of no file
    files_not_read: List[str] = dataclasses.field(default_factory=list)  # that should hold coordinates
    files_of_other_format: List[str] = dataclasses.field(default_factory=list)  # beside them, not used
    adds_up: bool = True  # whether input_picks = kept + rejected + all of left_out
    mean_bad_area: Optional[float] = None  # over the micrographs that did not fail
    areas: Dict[str, float] = dataclasses.field(default_factory=dict)  # mean share by class
    rejected_by_class: Dict[str, int] = dataclasses.field(default_factory=dict)
    seconds_per_micrograph: Optional[float] = None  # of computing, mean
    micrographs_per_hour: Optional[float] = None  # of this session, as it came
    recent_per_hour: Optional[float] = None  # over the last ten minutes; 0: none came
    reference: Optional[Dict[str, Any]] = None
    session_logit: Optional[float] = None  # 25th percentile over all micrographs of their median log-odds of BAD
    session_unusual: bool = False  # whether that is beyond what clean and mixed sessions reach
    particle_diameter: Optional[float] = None  # Å, median over the micrographs that have coordinates
    diameter_from: str = ""  # where it comes from
    warnings: List[str] = dataclasses.field(default_factory=list)
