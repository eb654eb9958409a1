# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a run: columns of micrographs.csv, fields of summary.json, classes, reasons for left-out coordinates.

The names come from the code. The build fails if a field of summary.json or a class has no description.
"""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Tuple

from cryoice_scipion import constants
from cryoice_scipion.core.records import Summary
from cryoice_scipion.core.results.micrograph_fields import FIELDS
from site_builder.markdown import code, described, prose, table

_SUMMARY: Dict[str, str] = {
    "records_version": "Version of the record format.",
    "version": "Version of the package.",
    "started": "Start of this session (ISO 8601, with time zone).",
    "updated": "Time of this update (ISO 8601, with time zone).",
    "finished": "`true` when the run is complete.",
    "micrographs": "Number of micrographs with a result.",
    "accepted": "Number of accepted micrographs.",
    "discarded": "Number of discarded micrographs.",
    "failed": "Number of failed micrographs.",
    "backlog": "Number of known micrographs without a result.",
    "mostly_bad": "Number of micrographs with the flag `mostly_bad`.",
    "picks": "Number of coordinates on the micrographs with a result.",
    "kept": "Number of kept coordinates.",
    "rejected": "Number of rejected coordinates.",
    "rejected_share": "Rejected coordinates divided by `picks`.",
    "unmatched_picks": "Number of coordinates that match no micrograph, or several.",
    "input_picks": "Number of coordinates in the input: kept, rejected and left out.",
    "left_out": "Number of coordinates left out, by reason; see [Coordinates left out](#coordinates-left-out).",
    "files_read": "Number of coordinate files that were read. 0 if the coordinates do not come from files.",
    "files_not_read": "Paths of coordinate files that cannot be read.",
    "files_of_other_format": "Paths of files in the coordinate folder that were not used.",
    "adds_up": "`true` if `input_picks` equals kept, rejected and left-out coordinates together.",
    "mean_bad_area": "Mean of `bad_area` over the micrographs that did not fail.",
    "areas": "Mean share of the area, by class.",
    "rejected_by_class": "Number of rejected coordinates, by class.",
    "seconds_per_micrograph": "Mean computing time per micrograph in seconds.",
    "micrographs_per_hour": "Rate of this session.",
    "recent_per_hour": "Rate over the last ten minutes.",
    "reference": "Session reference: contrast, level, offset and the micrographs that it was taken from.",
    "session_logit": "25th percentile over the micrographs of their median log-odds of P(BAD).",
    "session_unusual": "`true` if `session_logit` is above the range of the model.",
    "particle_diameter": "Median particle diameter in Å.",
    "diameter_from": "Origin of the particle diameter: `setting`, `coordinates` or `two thirds of the box size`.",
    "unusual": "Number of micrographs with the flag `unusual`.",
    "grades": "Number of micrographs by grade. Empty without grades.",
    "regions": "Number of regions of bad area by class. Empty without regions.",
    "most_unusual": "The ten micrographs that are the most unlike the session's reference: name, outlier, p-value.",
    "warnings": "What to check before you use the results, one sentence each.",
}
_CLASSES: Dict[str, str] = {
    constants.GOOD: "Clean vitreous ice, with or without particles.",
    "crystalline": "Crystalline ice in the specimen.",
    "contamination": "Frost, ethane and other deposits on the surface.",
    "thick": "Ice too thick for useful images.",
    "support": "Carbon or gold support film.",
    "aggregate": "Aggregated or denatured particles.",
    constants.BORDER: "Smeared or constant border of a motion-corrected micrograph.",
    "vacuum": "Empty area: a hole without ice.",
    constants.BAD: "Bad area of unknown kind. Only models that were trained without classes use it.",
}
_LEFT_OUT: Dict[str, Tuple[str, str]] = {  # description, exit status
    constants.UNMATCHED: ("The micrograph is not in the run.", "0; 2 if all coordinates are unmatched"),
    constants.AMBIGUOUS: ("The name fits several micrographs.", "1"),
    constants.UNREADABLE: ("A value is missing or is not a number. The log names the file and the line.", "1"),
    constants.DISABLED: ("The picker has disabled the coordinate (`.pos`).", "0"),
    constants.LOW_SCORE: ("The score of the picker is below *Minimum score* of *import picks*.", "-"),
    constants.WAITING: ("The micrograph is not screened yet. Only in a run that is not finished.", "—"),
}


def micrograph_columns() -> str:
    """Return the columns of micrographs.csv."""
    rows = [(code(field.column), field.unit, prose(field.meaning)) for field in FIELDS if field.column]
    return table(("Column", "Unit", "Meaning"), rows)


def micrograph_attributes() -> str:
    """Return the attributes of Scipion's micrographs."""
    rows = [(code(field.attribute), field.unit, prose(field.meaning)) for field in FIELDS if field.attribute]
    return table(("Attribute", "Unit", "Meaning"), rows)


def summary_fields() -> str:
    """Return the fields of summary.json."""
    names: List[str] = [field.name for field in dataclasses.fields(Summary)]
    texts = described(names, _SUMMARY, "fields of summary.json")
    return table(("Field", "Meaning"), [(code(name), text) for name, text in zip(names, texts)])


def classes() -> str:
    """Return the classes with their codes in label images and class maps."""
    texts = described(constants.CLASSES, _CLASSES, "classes")
    rows = [(code(name), str(index), text) for index, (name, text) in enumerate(zip(constants.CLASSES, texts))]
    return table(("Class", "Code", "Meaning"), rows)


def left_out() -> str:
    """Return the reasons why coordinates are left out."""
    rows = [(code(name), text, status) for name, (text, status) in _LEFT_OUT.items()]
    return table(("Reason", "Meaning", "Exit status"), rows)
