# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the records that parent and worker exchange, and that journal, csv and json files hold.

The records are plain dataclasses without numpy or torch, so that every room can import them. ``to_json`` and
``from_json`` define the file format. ``RECORDS_VERSION`` is its version, stored at the head of each file.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Dict, List, Optional, Sequence, Type, TypeVar

RECORDS_VERSION = 1
_ATOMS = frozenset((bool, int, float, str, type(None)))

Row = TypeVar("Row")


@dataclasses.dataclass
class Pick:
    """One coordinate: the centre of a particle in px of its micrograph; row 0 is y = 0."""

    id: int
    x: float
    y: float
    diameter: Optional[float] = None  # of the particle, px of the micrograph; None: not in the file
    box_size: Optional[float] = None  # px of the micrograph; None: not in the file
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
    """Numbers of input coordinates, and of those without a micrograph by reason."""

    rows: int = 0  # coordinates in all readable files, including those left out
    left_out: Dict[str, int] = dataclasses.field(default_factory=dict)  # coordinates by reason, see constants.py
    files: int = 0  # number of files that were read; 0: the coordinates are not from files
    not_read: Dict[str, str] = dataclasses.field(default_factory=dict)  # path -> error, of files that cannot be read
    other: List[str] = dataclasses.field(default_factory=list)  # paths of files of another format or content

    @property
    def matched(self) -> int:
        """Return how many coordinates belong to a micrograph of the run."""
        return self.rows - sum(self.left_out.values())


@dataclasses.dataclass
class FileIdentity:
    """Tells whether a file has changed; see images/identity.py."""

    size: int  # bytes
    modified: int  # modification time, ns since 1970
    digest: str  # of parts of the content

    def has_content_of(self, other: FileIdentity) -> bool:
        """Return whether the content is the same; the modification time may differ."""
        return (self.size, self.digest) == (other.size, other.digest)


@dataclasses.dataclass
class MapResult:
    """The result of mapping one micrograph. The map itself is in the file ``raw_path``."""

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
    features_path: str = ""  # features of each cell for the outlier map (.npy); empty: not measured
    features_sampling: float = 0.0  # Å, side of a cell of these
    grade_probabilities: Dict[str, float] = dataclasses.field(default_factory=dict)  # from a trained grader, if any
    input: Optional[FileIdentity] = None  # of the micrograph's file before it was read; None: not known


@dataclasses.dataclass
class OneClass:
    """Statistics of clean micrographs; see detectors/one_class_fit.py. Matrices are stored as their lower triangle."""

    mean: List[float]  # of the features
    between: List[float]  # their covariance between micrographs
    within: List[float]  # their covariance between the cells of a micrograph
    sampling: float  # Å, side of a cell
    unit: float  # typical distance of a clean micrograph
    cell_unit: float  # typical distance of a clean cell
    micrographs: List[int]  # ids of the clean micrographs
    scores: List[float]  # their distances, each from a fit to the others
    fitted: List[int]  # ids of those that the fit uses: without the most unlike ones


@dataclasses.dataclass
class Reference:
    """The session reference (docs/explanation/sessions.md). It is set once and recorded in the journal."""

    session_logit: float  # 25th percentile over micrographs of MapResult.median_logit
    logit_offset: float  # subtracted from the log-odds of BAD of every micrograph
    contrast: str  # "dark" or "bright": the majority of the reference micrographs
    micrographs: List[int] = dataclasses.field(default_factory=list)
    one_class: Optional[OneClass] = None  # None: too few micrographs, or switched off


@dataclasses.dataclass
class PickScore:
    """The score of one coordinate."""

    id: int
    goodness: Optional[float]  # 1 - the largest P(BAD) that counts (see scoring.py); None: could not be scored
    cls: str
    kept: bool


@dataclasses.dataclass
class Region:
    """One region of bad area: a deposit, a crystal, or a part of the film."""

    id: int  # in its micrograph, from 1; the largest first
    cls: str  # its class, or constants.UNCERTAIN
    likeliest: str  # its likeliest class
    confidence: float  # probability that more than half of it is bad area of the likeliest class
    x: float  # box in px of the micrograph: left and top edge, width and height
    y: float
    width: float
    height: float
    area: float  # nm²
    diameter: float  # Å, of a disc of the same area
    outline: List[List[float]] = dataclasses.field(default_factory=list)  # x and y of its corners, px; empty: not kept


@dataclasses.dataclass
class MicrographRecord:
    """The result of screening one micrograph: accepted, discarded or failed."""

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
    median_logit: Optional[float] = (
        None  # median log-odds of BAD; None: all cells are border, or the log-odds are absolute
    )
    particle_diameter: Optional[float] = None  # Å, median over its coordinates; None: no coordinates
    diameter_from: str = ""  # origin of the diameter; see scoring.Diameter
    probability: str = ""  # paths, relative to the run's folder; empty: not written
    mask: str = ""
    full_mask: str = ""
    thumbnail: str = ""
    outlier: Optional[float] = None  # how unlike the session's reference it is; 1 is typical; None: not measured
    outlier_p: Optional[float] = None  # share of reference micrographs that are at least as unlike; None: below 20
    outlier_map: str = ""
    #: Of its mean features from the session's reference, in standard deviations, as inverse hyperbolic sines.
    deviations: List[float] = dataclasses.field(default_factory=list)
    grade: str = ""  # see constants.GRADES; empty: not graded
    grade_confidence: Optional[float] = None  # probability of the grade
    grade_reason: str = ""  # one sentence
    grade_probabilities: Dict[str, float] = dataclasses.field(default_factory=dict)  # of each grade
    regions: List[Region] = dataclasses.field(default_factory=list)  # without outlines
    screened_at: float = dataclasses.field(
        default=0.0, compare=False
    )  # time of the first screening, s since 1970; 0: unknown

    @property
    def kept(self) -> int:
        """Return how many coordinates are kept."""
        return sum(score.kept for score in self.scores)


def number_in_flag(flags: Sequence[str], name: str) -> Optional[float]:
    """Return the number after "=" of the first flag of this name; None without such a flag."""
    return next((float(flag[len(name) + 1 :]) for flag in flags if flag.startswith(f"{name}=")), None)


def to_json(record: Any) -> Dict[str, Any]:
    """Return a record as plain dicts and lists, as ``dataclasses.asdict`` does in several times the time."""
    values = {name: getattr(record, name) for name in _names(type(record))}  # type: ignore[arg-type]
    return {name: value if type(value) in _ATOMS else _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    """Return the value of a field as a copy of plain dicts and lists."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [to_json(one) if dataclasses.is_dataclass(one) else one for one in value]
    return to_json(value) if dataclasses.is_dataclass(value) else value


_NESTED: Dict[str, Dict[str, Any]] = {
    "MicrographTask": {"picks": Pick},
    "MicrographRecord": {"scores": PickScore, "regions": Region},
}
_NESTED_ONE: Dict[str, Dict[str, Any]] = {
    "Reference": {"one_class": OneClass},
    "MapResult": {"input": FileIdentity},
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
    for key, nested in _NESTED_ONE.get(kind.__name__, {}).items():
        values[key] = from_json(nested, values[key]) if values.get(key) else None
    return kind(**values)


@functools.lru_cache(maxsize=None)  # called for each coordinate of a run
def _names(kind: Any) -> Dict[str, None]:
    """Return the names of the fields of a class, in order."""
    return dict.fromkeys(field.name for field in dataclasses.fields(kind))


@dataclasses.dataclass
class Summary:
    """The state of a run, as stored in ``summary.json`` for monitoring programs."""

    records_version: int = RECORDS_VERSION
    version: str = ""  # of the package
    started: str = ""  # start of this session; ISO 8601 with time zone
    updated: str = ""
    finished: bool = False
    micrographs: int = 0  # number of screened ones
    accepted: int = 0
    discarded: int = 0
    failed: int = 0
    backlog: int = 0  # number of known micrographs that are not screened yet
    mostly_bad: int = 0
    picks: int = 0  # coordinates on the screened micrographs
    kept: int = 0
    rejected: int = 0
    rejected_share: Optional[float] = None
    unmatched_picks: int = 0  # coordinates whose micrograph is not in this run, or whose name is ambiguous
    input_picks: int = 0  # all input coordinates: kept, rejected and left out
    left_out: Dict[str, int] = dataclasses.field(default_factory=dict)  # coordinates by reason, see constants.py
    files_read: int = 0  # number of coordinate files; 0: the coordinates are not from files
    files_not_read: List[str] = dataclasses.field(default_factory=list)  # coordinate files that cannot be read
    files_of_other_format: List[str] = dataclasses.field(default_factory=list)  # other files in the same folder
    adds_up: bool = True  # whether input_picks = kept + rejected + all of left_out
    mean_bad_area: Optional[float] = None  # over the micrographs that did not fail
    areas: Dict[str, float] = dataclasses.field(default_factory=dict)  # mean share by class
    rejected_by_class: Dict[str, int] = dataclasses.field(default_factory=dict)
    seconds_per_micrograph: Optional[float] = None  # mean computing time
    micrographs_per_hour: Optional[float] = None  # average of this session
    recent_per_hour: Optional[float] = None  # over the last ten minutes; 0: none
    reference: Optional[Dict[str, Any]] = None
    session_logit: Optional[float] = None  # 25th percentile over all micrographs of their median log-odds of BAD
    session_unusual: bool = False  # whether it is above the range of clean and mixed sessions
    particle_diameter: Optional[float] = None  # Å, median over the micrographs that have coordinates
    diameter_from: str = ""  # origin of the diameter
    unusual: int = 0  # number of micrographs that are unlike the session's reference
    grades: Dict[str, int] = dataclasses.field(default_factory=dict)  # micrographs by grade; empty: not graded
    regions: Dict[str, int] = dataclasses.field(default_factory=dict)  # number of regions of bad area by class
    #: The ten most unlike the reference, most unlike first: micrograph, outlier, p_value (None: reference below 20).
    most_unusual: List[Dict[str, Any]] = dataclasses.field(default_factory=list)
    warnings: List[str] = dataclasses.field(default_factory=list)

    @property
    def awaits_reference(self) -> bool:
        """Return whether nothing is scored yet because the reference micrographs are not complete."""
        return self.reference is None and self.backlog > 0 and not self.finished
