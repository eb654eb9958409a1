# SPDX-License-Identifier: GPL-3.0-or-later
"""CryoPPP folders: expert picks of EMPIAR entries (Dhakal et al. 2023, doi 10.1038/s41597-023-02280-2)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Dict, List, Optional

from cryoice_scipion.core.errors import CoordinatesError, counted, plural
from cryoice_scipion.core.formats.coordinates import PickTable, read_picks
from cryoice_scipion.core.formats.matching import picks_by_micrograph
from cryoice_scipion.core.images.naming import micrograph_files, stem_of
from cryoice_scipion.core.records import MicrographTask

_LAYOUT = "a CryoPPP folder has micrographs/ and ground_truth/particle_coordinates/"


@dataclasses.dataclass
class CryoPPP:
    """One entry of CryoPPP."""

    micrographs: List[Path]
    good: PickTable
    bad: Optional[PickTable] = None  # false positives of pickers; None: the entry has none
    messages: List[str] = dataclasses.field(default_factory=list)  # mismatches of micrographs and coordinates


def read_cryoppp(folder: Path) -> CryoPPP:
    """Read a CryoPPP folder (``ID/micrographs``, ``ID/ground_truth``), or one that holds a single ID folder.

    Raises
    ------
    CoordinatesError
        When the folder has another layout, or a coordinate file is damaged.
    """
    folder = _entry(Path(folder))
    micrographs = _one_of_each_stem(micrograph_files(folder / "micrographs"))
    if not micrographs:
        raise CoordinatesError(folder / "micrographs", "there are no images in this folder", _LAYOUT)
    truth = folder / "ground_truth"
    coordinates = truth / "particle_coordinates"
    if _has_files(coordinates):
        good = read_picks(coordinates)
    else:
        stars = sorted(truth.glob("*_particles_selected.star"))
        if not stars:
            raise CoordinatesError(folder, "there are no true coordinates in ground_truth", _LAYOUT)
        good = read_picks(stars[0])
    false = truth / "false_positives"
    bad = read_picks(false) if _has_files(false) else None
    messages = _compare(micrographs, good, "true coordinates")
    if bad is not None:
        messages += _compare(micrographs, bad, "false positives")
    return CryoPPP(micrographs, good, bad, messages)


def _entry(folder: Path) -> Path:
    if not folder.is_dir():
        raise CoordinatesError(folder, "there is no such folder", "check the path")
    if (folder / "micrographs").is_dir():
        return folder
    inside = [child for child in sorted(folder.iterdir()) if (child / "micrographs").is_dir()]
    if len(inside) == 1:
        return inside[0]
    reason = "holds several CryoPPP entries" if inside else "has no folder micrographs"
    raise CoordinatesError(folder, reason, "give one of them" if inside else _LAYOUT)


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(child.is_file() and not child.name.startswith(".") for child in folder.iterdir())


def _one_of_each_stem(files: List[Path]) -> List[Path]:
    """Return one file for each micrograph: the MRC file if there are also pictures of it."""
    chosen: Dict[str, Path] = {}
    for file in files:
        stem = stem_of(file.name)
        if stem not in chosen or file.suffix.lower() == ".mrc":
            chosen[stem] = file
    return [chosen[stem] for stem in sorted(chosen)]


def _compare(micrographs: List[Path], picks: PickTable, what: str) -> List[str]:
    tasks = [MicrographTask(number, str(file), stem_of(file.name)) for number, file in enumerate(micrographs)]
    matches = picks_by_micrograph(picks.table, tasks)
    unmatched = [*matches.unmatched, *matches.ambiguous]
    without = sum(not rows for rows in matches.rows.values())
    messages = []
    if unmatched:
        names = ", ".join(unmatched[:3])
        others = counted(len(unmatched), "micrograph that is", "micrographs that are")
        messages.append(f"{what} of {others} not in the folder ({names} …)")
    if without:
        of = counted(len(micrographs), "micrograph")
        messages.append(f"{without} of {of} {plural(without, 'has', 'have')} no {what}")
    return messages
