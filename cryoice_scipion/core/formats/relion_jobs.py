# SPDX-License-Identifier: GPL-3.0-or-later
"""RELION's job folders and its lists of micrographs: which file holds the coordinates, and where each list points."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import List, Optional, Tuple

from cryoice_scipion.core.errors import CoordinatesError, counted
from cryoice_scipion.core.formats.star import read_star
from cryoice_scipion.core.formats.text_files import read_text
from cryoice_scipion.core.images.naming import resolve_beside
from cryoice_scipion.core.images.trees import files_in

_JOB_MARKS = ("job.star", "run.job", "job_pipeline.star")
#: Files of a job that hold its coordinates, the first that is there counts.
_OUTPUTS = (
    "autopick.star", "manualpick.star", "coordinates.star", "coords_suffix_*.star", "particles.star", "run_data.star",
    "run_it[0-9][0-9][0-9]_data.star",
)  # fmt: skip
#: Names of RELION's own files, which never hold coordinates.
_OWN = re.compile(r"job\.star|.*_pipeline\.star|backup_.*|logfile.*|RELION_.*|.*_(optimiser|model|sampling)\.star")
_SUFFIX_FILE = re.compile(r"coords_suffix(_.+)\.star")
_JOB = re.compile(r"^(?:.*/)?[A-Za-z0-9]+/job\d+/(?=.)")
_MICROGRAPH = "rlnMicrographName"


def is_own_file(name: str) -> bool:
    """Return whether a file belongs to RELION's bookkeeping, by its name."""
    return _OWN.fullmatch(name) is not None


def job_output(folder: Path) -> Optional[Path]:
    """Return the file with the coordinates of a RELION job, by the folder of the job; None for any other folder.

    Raises
    ------
    CoordinatesError
        When the job has several files of coordinates of one kind.
    """
    if not any((folder / mark).is_file() for mark in _JOB_MARKS):
        return None
    for pattern in _OUTPUTS:
        found = sorted(file for file in folder.glob(pattern) if file.is_file())
        if len(found) > 1 and "coords_suffix" in pattern:
            names = ", ".join(file.name for file in found)
            raise CoordinatesError(folder, f"is a RELION job with several sets of coordinates ({names})", "give one")
        if found:
            return found[-1]
    return None


def suffix_of_picks(path: Path) -> Optional[str]:
    """Return the suffix ("_autopick") that a file ``coords_suffix_autopick.star`` stands for; None for other files."""
    found = _SUFFIX_FILE.fullmatch(path.name)
    return found.group(1) if found else None


def files_of_suffix(path: Path, suffix: str) -> Tuple[List[Tuple[Path, str]], int]:
    """Return the coordinate files of RELION 3 and the micrograph of each, and how many micrographs have none.

    Parameters
    ----------
    path : pathlib.Path
        The file ``coords_suffix_NAME.star``, whose first line names the STAR file of the micrographs.
    suffix : str
        ``_NAME``, as returned by :func:`suffix_of_picks`.

    Raises
    ------
    CoordinatesError
        When no micrograph has a coordinate file.
    """
    line = next((line.strip() for line in read_text(path).split("\n") if line.strip()), "")
    listing = Path(resolve_beside(line, path)) if line else None
    if listing is not None and os.path.isfile(listing):
        names = _micrographs(listing)
        found = [(file, name) for name in names for file in [_file_of(path.parent, name, suffix)] if file is not None]
        missing = len(names) - len(found)
    else:  # the job's folder was copied without the project: the files below it
        tree = files_in(path.parent, lambda name: name.endswith(f"{suffix}.star") and name != path.name, True)
        found = [(file, file.name[: -len(f"{suffix}.star")]) for file in tree.files]
        missing = 0
    if not found:
        what = f"of the {counted(missing, 'micrograph')} in {listing}" if missing else f"below {path.parent}"
        remedy = "give the folder of the job inside its project, or the coordinate files themselves"
        raise CoordinatesError(path, f"there is no file *{suffix}.star {what}", remedy)
    return found, missing


def _micrographs(listing: Path) -> List[str]:
    tables = [block.table for block in read_star(listing, lenient=True) if _MICROGRAPH in block.table]
    if not tables:
        raise CoordinatesError(listing, f"has no column _{_MICROGRAPH}", "give a list of micrographs")
    return list(dict.fromkeys(tables[0][_MICROGRAPH].astype(str)))


def _file_of(folder: Path, micrograph: str, suffix: str) -> Optional[Path]:
    """Return the coordinate file of a micrograph.

    RELION repeats the path of the micrograph in the folder of the job, without "MotionCorr/job002/".
    """
    base = re.sub(r"\.[^./]*$", "", micrograph)
    short = _JOB.sub("", base)
    for name in dict.fromkeys((short, base.lstrip("/"), base.split("/")[-1])):
        file = folder / f"{name}{suffix}.star"
        if os.path.isfile(file):
            return file
    return None
