# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a table of graded micrographs. Imports no torch, so that forms can check it before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Mapping, Tuple

import pandas as pd

from cryoice_scipion.constants import GRADES
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.images.naming import NameIndex, agreeing_folders, stem_of

COLUMNS = ("micrograph", "grade")


def read_grades(path: Path) -> Dict[str, str]:
    """Return the grade of each micrograph of a table, by its name there.

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
    return dict(zip(table["micrograph"], table["grade"]))


def match_grades(grades: Mapping[str, str], micrographs: Mapping[str, str]) -> Dict[str, str]:
    """Return the grades of micrographs by their stem, without those that the table does not name.

    Of several names in the table that match one micrograph, the one with its stem counts, then the one in its folder,
    then the last one.

    Parameters
    ----------
    grades : mapping
        The grade by name; see :func:`read_grades`.
    micrographs : mapping
        The path of each micrograph by its stem.

    Raises
    ------
    CryoIceError
        When a name matches several micrographs equally well.
    """
    index, stems = NameIndex(micrographs.values()), {path: stem for stem, path in micrographs.items()}
    found: Dict[str, Tuple[Tuple[bool, int], str]] = {}
    for name, grade in grades.items():
        path = micrographs.get(name) or index.find(name)
        if path is not None:
            closeness = name in micrographs or stem_of(name) == stem_of(path), agreeing_folders(name, path)
            if stems[path] not in found or closeness >= found[stems[path]][0]:
                found[stems[path]] = closeness, grade
    return {stem: grade for stem, (_, grade) in found.items()}
