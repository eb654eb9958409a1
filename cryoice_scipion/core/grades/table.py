# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a table of graded micrographs. Imports no torch, so that forms can check it before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

import pandas as pd

from cryoice_scipion.constants import GRADES
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.images.naming import micrograph_key

COLUMNS = ("micrograph", "grade")


def read_grades(path: Path) -> Dict[str, str]:
    """Return the grade of each micrograph of a table, by ``micrograph_key`` of its name.

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
    return {micrograph_key(name): grade for name, grade in zip(table["micrograph"], table["grade"])}
