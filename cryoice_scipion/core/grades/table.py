# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a table of graded micrographs. Imports no torch, so that forms can check it before a run."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Sequence

import pandas as pd

from cryoice_scipion.constants import GRADES
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.images.naming import NameIndex, contradicting_names, stem_of

COLUMNS = ("micrograph", "grade")


class GradeRow(NamedTuple):
    """A row of a table of grades."""

    number: int  # the header is row 1
    name: str
    grade: str


class GradeTable(NamedTuple):
    """A table of grades, as it was read."""

    path: Path
    rows: Sequence[GradeRow]

    @property
    def names(self) -> List[str]:
        """Return the names of micrographs, each once."""
        return list(dict.fromkeys(row.name for row in self.rows))


class MatchedGrades(NamedTuple):
    """Result of matching a table of grades with micrographs."""

    grades: Dict[str, str]  # by the micrograph's stem, without those that the table does not name
    absent: List[str]  # names of the table that belong to none of the micrographs


def read_grades(path: Path) -> GradeTable:
    """Read a table of grades.

    Raises
    ------
    SettingsError
        When the table cannot be read, lacks a column, or has an unknown grade.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise SettingsError(path, f"cannot be read as a table ({error})", "give a CSV file") from None
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise SettingsError(path, f"lacks the column {' and '.join(missing)}", "name the columns in the first line")
    unknown = sorted(set(table["grade"]) - set(GRADES))
    if unknown:
        raise SettingsError(path, f"unknown grade {', '.join(unknown)}", f"the grades are {', '.join(GRADES)}")
    return GradeTable(path, list(map(GradeRow, range(2, len(table) + 2), table["micrograph"], table["grade"])))


def match_grades(table: GradeTable, micrographs: Mapping[str, str]) -> MatchedGrades:
    """Return the grades of micrographs.

    Of several names in the table that match one micrograph, those with its stem count, then those in its folder or
    without a folder.

    Parameters
    ----------
    table : GradeTable
        Result of :func:`read_grades`.
    micrographs : mapping
        The path of each micrograph by its stem.

    Raises
    ------
    CryoIceError
        When a name matches several micrographs equally well, or the rows of a micrograph have several grades.
    """
    index, stems = NameIndex(micrographs.values()), {path: stem for stem, path in micrographs.items()}
    matched: Dict[str, List[GradeRow]] = defaultdict(list)  # by the path of the micrograph
    for row in table.rows:
        path = micrographs.get(row.name) or index.find(row.name)
        if path is not None:
            matched[path].append(row)
    own = {path: _own_rows(path, rows, micrographs) for path, rows in matched.items()}
    for path, rows in own.items():
        if len({row.grade for row in rows}) > 1:
            given = ", ".join(f"{row.grade} in row {row.number} ({row.name})" for row in rows)
            remedy = "keep one of these rows, or write the names with their folders"
            raise SettingsError(table.path, f"has several grades for {path}: {given}", remedy)
    used = {row.name for rows in own.values() for row in rows}
    grades = {stems[path]: rows[0].grade for path, rows in own.items()}
    return MatchedGrades(grades, [name for name in table.names if name not in used])


def _own_rows(path: str, rows: Sequence[GradeRow], micrographs: Mapping[str, str]) -> List[GradeRow]:
    """Return which of the rows that match a micrograph do not belong to another one."""
    closest = [row for row in rows if row.name in micrographs or stem_of(row.name) == stem_of(path)] or rows
    others, _ = contradicting_names(list(dict.fromkeys(row.name for row in closest)), path)
    return [row for row in closest if row.name not in others]
