# SPDX-License-Identifier: GPL-3.0-or-later
"""FIELDS: the values that a run reports for each micrograph, declared once.

micrographs.csv, the report, the viewer, the attributes of Scipion's micrographs and the documentation are made from
this table. To add a value, record it in ``MicrographRecord`` and add its entry here.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, List, Tuple

from cryoice_scipion.constants import ALL_GRADES, CLASSES, FAILED, GOOD_GRADES, GRADES, UNSURE
from cryoice_scipion.core.grades.grade import bad_probability
from cryoice_scipion.core.records import RECORDS_VERSION, MicrographRecord


@dataclasses.dataclass(frozen=True)
class MicrographField:
    """One value of each micrograph."""

    column: str  # in micrographs.csv; empty: not there
    meaning: str
    value: Callable[[MicrographRecord], Any]  # None: not known
    unit: str = ""
    text: Callable[[Any], str] = str  # in micrographs.csv
    label: str = ""  # in viewer and report; empty: not shown there
    shown: Callable[[Any], str] = str  # how it is shown there
    rank: Callable[[Any], Any] = lambda value: value  # what viewer and report sort by
    attribute: str = ""  # of Scipion's micrographs; empty: none
    is_path: bool = False  # relative to the run's folder

    @property
    def is_number(self) -> bool:
        """Return whether it is a number, by its unit."""
        return bool(self.unit)


def percent(share: float) -> str:
    """Return a share as text, in percent."""
    return f"{100 * share:.1f} %"


def _area(name: str) -> MicrographField:
    def value(record: MicrographRecord) -> Any:
        return None if record.status == FAILED else record.areas.get(name, 0.0)

    meaning = f"Area of class {name}, as a share of the whole micrograph."
    return MicrographField(f"area_{name}", meaning, value, "share", "{:.5f}".format)


FIELDS: List[MicrographField] = [
    MicrographField("records_version", "Version of the file format.", lambda record: RECORDS_VERSION),
    MicrographField("id", "Number of the micrograph in the run; in Scipion its object id.", lambda record: record.id),
    MicrographField("stem", "File name without extension; it names every output file.", lambda record: record.stem),
    MicrographField("path", "Path of the micrograph.", lambda record: record.path),
    MicrographField(
        "status", "accepted, discarded or failed.", lambda record: record.status, label="Status",
        attribute="_cryoiceStatus",
    ),
    MicrographField(
        "reason", "Why the micrograph was discarded or failed.", lambda record: record.reason,
        attribute="_cryoiceReason",
    ),
    MicrographField(
        "bad_area", "Bad area, as a share of the area inside the border.", lambda record: record.bad_area, "share",
        "{:.5f}".format, label="Bad area", shown=percent, attribute="_cryoiceBadArea",
    ),
    *(_area(name) for name in CLASSES),
    MicrographField("picks", "Coordinates on the micrograph.", lambda record: len(record.scores)),
    MicrographField("kept", "Coordinates that are kept.", lambda record: record.kept),
    MicrographField("rejected", "Coordinates that are rejected.", lambda record: len(record.scores) - record.kept),
    MicrographField("seconds", "Computing time.", lambda record: record.seconds, "s", "{:.3f}".format),
    MicrographField("pixel_size", "Pixel size that was used.", lambda record: record.pixel_size, "Å/px", "{:g}".format),
    MicrographField("flags", "Observations, separated by semicolons.", lambda record: ";".join(record.flags)),
    MicrographField(
        "outlier",
        "How unlike the session's reference the micrograph is. 1 is typical. Empty: not measured.",
        lambda record: record.outlier, "times the typical distance", "{:.3f}".format, label="Outlier",
        shown="{:.1f}".format, attribute="_cryoiceOutlier",
    ),
    MicrographField(
        "outlier_p",
        "Share of reference micrographs that are at least as unlike. Empty with fewer than 20 reference micrographs.",
        lambda record: record.outlier_p, "share", "{:.4f}".format,
    ),
    MicrographField(
        "grade", f"Grade of the micrograph: {', '.join(GRADES)} or {UNSURE}. Empty: not graded.",
        lambda record: record.grade or None, label="Grade", rank=ALL_GRADES.index, attribute="_cryoiceGrade",
    ),
    MicrographField(
        "grade_confidence", "Probability of the grade; of the likeliest grade if it is unsure.",
        lambda record: record.grade_confidence, "probability", "{:.4f}".format, attribute="_cryoiceGradeConfidence",
    ),
    MicrographField(
        "grade_bad", f"Probability of all grades but {' and '.join(GOOD_GRADES)}.",
        lambda record: bad_probability(record.grade_probabilities) if record.grade else None, "probability",
        "{:.4f}".format,
    ),
    MicrographField(
        "grade_reason", "Why the micrograph has this grade, in one sentence.", lambda record: record.grade_reason,
        attribute="_cryoiceGradeReason",
    ),
    MicrographField("", "Mask: 1 good, 0 bad.", lambda record: record.mask, attribute="_cryoiceMask", is_path=True),
    MicrographField(
        "", "Map of P(BAD).", lambda record: record.probability, attribute="_cryoiceMap", is_path=True
    ),
    MicrographField(
        "", "Outlier map: how unlike the session's reference each cell is; 1 is typical.",
        lambda record: record.outlier_map, attribute="_cryoiceOutlierMap", is_path=True,
    ),
]  # fmt: skip


def columns() -> List[str]:
    """Return the columns of micrographs.csv."""
    return [field.column for field in FIELDS if field.column]


def row_of(record: MicrographRecord) -> Dict[str, str]:
    """Return a micrograph's row of micrographs.csv; a value that is not known is empty."""
    row = {}
    for field in FIELDS:
        if field.column:
            value = field.value(record)
            row[field.column] = "" if value is None else field.text(value)
    return row


def shown_fields() -> List[MicrographField]:
    """Return the fields that viewer and report show."""
    return [field for field in FIELDS if field.label]


def shown_values(record: MicrographRecord) -> Tuple[Tuple[str, str], ...]:
    """Return label and text of each field that viewer and report show and that is known."""
    values = ((field, field.value(record)) for field in shown_fields())
    return tuple((field.label, field.shown(value)) for field, value in values if value not in (None, ""))


def in_words(shown: Tuple[Tuple[str, str], ...]) -> str:
    """Return shown values as text: "accepted, bad area 3.1 %"."""
    (_, status), *others = shown
    return ", ".join([status, *(f"{label[:1].lower()}{label[1:]} {text}" for label, text in others)])
