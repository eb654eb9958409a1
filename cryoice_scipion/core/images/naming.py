# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of micrographs: recognise the same micrograph under different names, and find the files of a run."""

from __future__ import annotations

import glob
import re
from collections import defaultdict
from pathlib import Path
from typing import Callable, Container, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
import pandas as pd

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.cryosparc_exposures import read_exposures
from cryoice_scipion.core.formats.cryosparc_group import SUFFIXES as CRYOSPARC
from cryoice_scipion.core.formats.star import Block, read_star
from cryoice_scipion.core.images.name_suffixes import without_suffixes
from cryoice_scipion.core.images.reading import SUFFIXES
from cryoice_scipion.core.records import MicrographTask

_EXTENSIONS = (*SUFFIXES, ".eer", ".map")
_UID = re.compile(r"^\d{21}_")  # prefix that cryoSPARC adds to names
_FRAME = re.compile(r"^(\d+)@(.+)$")


def stem_of(name: str) -> str:
    """Return the base name without its extension; frame 3 of a stack called s.mrcs is ``s_3``."""
    frame = _FRAME.match(name)
    base = re.split(r"[/\\]", frame.group(2) if frame else name)[-1]
    for extension in _EXTENSIONS:
        if base.lower().endswith(extension) and len(base) > len(extension):
            base = base[: -len(extension)]
            break
    return f"{base}_{int(frame.group(1))}" if frame else base


def micrograph_key(name: str) -> str:
    """Return the part that all names of one micrograph have in common.

    This is the base name without extension, without suffixes that programs append (``_DW``, ``_aligned_mic``,
    ``_patch_aligned_doseweighted``, ``_autopick`` …), and without the 21 digits that cryoSPARC adds at the front.
    """
    return without_suffixes(_UID.sub("", stem_of(name)) or stem_of(name))


class NameIndex:
    """An index of micrograph names that finds a micrograph by the names that other programs use. It can grow."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Take the first names."""
        self._tables: List[Tuple[Callable[[str], str], Dict[str, List[str]]]] = [
            (key, defaultdict(list)) for key in (_identity, stem_of, micrograph_key)
        ]
        for name in dict.fromkeys(names):
            self.add(name)

    def add(self, name: str) -> None:
        """Add a name that is not in the index yet."""
        for key, table in self._tables:
            table[key(name)].append(name)

    def find(self, name: str) -> Optional[str]:
        """Return the name of the same micrograph in the index, or None.

        Names are compared as a whole first, then by stem, then by :func:`micrograph_key`. Of several equal ones, the
        one with the same folder counts.

        Raises
        ------
        CryoIceError
            When several names match equally well.
        """
        for key, table in self._tables:
            found = table.get(key(name), [])
            if len(found) > 1:
                agreement = [agreeing_folders(name, other) for other in found]
                best = max(agreement)
                found = [other for other, number in zip(found, agreement) if number == best] if best else found
            if len(found) == 1:
                return found[0]
            if found:
                reason = f"fits several micrographs: {', '.join(found[:3])}"
                raise CryoIceError(name, reason, "rename them or leave one out")
        return None


def agreeing_folders(name: str, other: str) -> int:
    """Return how many folders before the file name are the same in both names, counted from the file name."""
    number = 0
    for one, two in zip(_folders(name), _folders(other)):
        if one != two:
            break
        number += 1
    return number


def contradicting_names(names: Sequence[str], path: str) -> Tuple[List[str], List[str]]:
    """Return which of the names that match a micrograph belong to another one, and which are ambiguous.

    Names in several folders stand for several micrographs. The folder that agrees with the micrograph's own counts. If
    no single folder agrees best, all names with folders are ambiguous. Names without a folder match any folder.
    """
    by_folder: Dict[Tuple[str, ...], List[str]] = defaultdict(list)
    for name in names:
        if _folders(name):
            by_folder[_folders(name)].append(name)
    if len(by_folder) < 2:
        return [], []
    agreement = {folder: agreeing_folders(found[0], path) for folder, found in by_folder.items()}
    best = max(agreement.values())
    if not best or list(agreement.values()).count(best) > 1:
        return [], [name for found in by_folder.values() for name in found]
    return [name for folder, found in by_folder.items() if agreement[folder] < best for name in found], []


def match_names(wanted: Sequence[str], available: Sequence[str]) -> Dict[str, Optional[str]]:
    """Return for each wanted name the available name of the same micrograph, or None.

    Raises
    ------
    CryoIceError
        When several available names match equally well; see :class:`NameIndex`.
    """
    index = NameIndex(available)
    return {name: index.find(name) for name in dict.fromkeys(wanted)}


def expand_micrographs(arguments: Sequence[str]) -> List[MicrographTask]:
    """Return the micrographs given by files, patterns, folders, .star, .cs and .csg files, with ids from 1 in order.

    Of a .star file, the column ``_rlnMicrographName`` and the pixel sizes, if any, are used. Of cryoSPARC's exposures,
    ``micrograph_blob/path`` and ``micrograph_blob/psize_A`` are used. A file that is given twice
    counts once. A missing file is included: the screening records it as failed.

    Raises
    ------
    CryoIceError
        When an argument gives no micrograph, or two micrographs would have the same output files.

    The stem of a micrograph is its file name without extension. If two micrographs have the same one, the stem of the
    second begins with its folder.
    """
    found: Dict[str, Optional[float]] = {}
    for argument in arguments:
        for path, pixel_size in _expand(argument):
            found.setdefault(path, pixel_size)
    if not found:
        raise CryoIceError("micrographs", "none were given", "give files, a folder, or a .star file")
    tasks, taken = [], {}  # type: List[MicrographTask], Dict[str, str]
    for number, (path, pixel_size) in enumerate(found.items(), 1):
        stem = free_stem(path, taken)
        if stem in taken:
            reason = f"has the same name as {taken[stem]}, and outputs are named by it"
            raise CryoIceError(path, reason, "rename one, or screen them in two runs")
        taken[stem] = path
        tasks.append(MicrographTask(number, path, stem, pixel_size))
    return tasks


def exposure_lists(arguments: Sequence[str]) -> List[Path]:
    """Return which of the arguments of :func:`expand_micrographs` are files of cryoSPARC."""
    return [path for path in map(Path, arguments) if path.suffix.lower() in CRYOSPARC and not path.is_dir()]


def free_stem(path: str, taken: Container[str]) -> str:
    """Return the stem of a micrograph, with as many of its folders in front as no other micrograph has."""
    stem = stem_of(path)
    for folder in _folders(path):
        if stem not in taken:
            break
        stem = f"{folder}_{stem}"
    return stem


def micrograph_files(folder: Path) -> List[Path]:
    """Return the images in a folder, sorted by name, without hidden files."""
    files = (file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    return sorted(file for file in files if file.is_file())


def resolve_beside(name: str, file: Path) -> str:
    """Return the path of a file that is named in another file.

    The name is relative to the current folder, or to the folder of the other file or a parent of it: paths in RELION
    files start at the project folder.
    """
    frame = _FRAME.match(name)
    if frame and not Path(name).exists():
        return f"{frame.group(1)}@{resolve_beside(frame.group(2), file)}"
    if Path(name).is_absolute() or Path(name).exists():
        return name
    for folder in file.resolve().parents:
        if (folder / name).exists():
            return str(folder / name)
    return name


def _folders(name: str) -> Tuple[str, ...]:
    """Return the folders before a file name, the nearest first."""
    frame = _FRAME.match(name)
    parts = re.split(r"[/\\]", frame.group(2) if frame else name)[:-1]
    return tuple(part for part in reversed(parts) if part not in ("", "."))


def _identity(name: str) -> str:
    return name


def _expand(argument: str) -> List[Tuple[str, Optional[float]]]:
    path = Path(argument)
    if path.is_dir():
        files = [str(file) for file in micrograph_files(path)]
        if not files:
            raise CryoIceError(
                argument, f"there is no image in this folder ({' '.join(SUFFIXES)})", "give another folder"
            )
        return [(file, None) for file in files]
    if path.suffix.lower() in _LISTS:
        return _LISTS[path.suffix.lower()](path)
    if not path.exists() and glob.has_magic(argument):
        files = sorted(glob.glob(argument))
        if not files:
            raise CryoIceError(argument, "no file matches", "check the pattern")
        return [(str(Path(file)), None) for file in files]
    return [(str(path), None)]  # ./a.mrc and a.mrc are one


def _from_star(path: Path) -> List[Tuple[str, Optional[float]]]:
    blocks = read_star(path)
    block = next((block for block in blocks if "rlnMicrographName" in block.table), None)
    if block is None:
        reason = "has no column _rlnMicrographName"
        raise CryoIceError(path, reason, "give RELION's micrographs.star, or the micrographs themselves")
    optics = next((other for other in blocks if other.name == "optics"), None)
    table = pd.DataFrame({"name": block.table["rlnMicrographName"].astype(str), "size": _pixel_sizes(block, optics)})
    table = table.drop_duplicates("name")
    if not len(table):
        raise CryoIceError(path, "lists no micrographs", "give another file")
    sizes = [float(size) if np.isfinite(size) and size > 0 else None for size in table["size"]]
    return [(resolve_beside(name, path), size) for name, size in zip(table["name"], sizes)]


def _pixel_sizes(block: Block, optics: Optional[Block]) -> pd.Series:
    """Return the pixel size of each micrograph in Å/px; NaN if unknown."""
    table = block.table
    if optics is not None and {"rlnOpticsGroup", "rlnMicrographPixelSize"} <= set(optics.table):
        groups = optics.table.drop_duplicates("rlnOpticsGroup").set_index("rlnOpticsGroup")["rlnMicrographPixelSize"]
        if "rlnOpticsGroup" in table:
            return pd.to_numeric(table["rlnOpticsGroup"].map(groups), errors="coerce")
        if len(groups) == 1:
            return pd.Series(float(groups.iloc[0]), index=table.index)
    if "rlnMicrographPixelSize" in table:
        return pd.to_numeric(table["rlnMicrographPixelSize"], errors="coerce")
    if {"rlnDetectorPixelSize", "rlnMagnification"} <= set(table):  # RELION before 3.1: µm on the detector
        detector = pd.to_numeric(table["rlnDetectorPixelSize"], errors="coerce")
        return 1e4 * detector / pd.to_numeric(table["rlnMagnification"], errors="coerce")
    return pd.Series(np.nan, index=table.index)


def _from_cryosparc(path: Path) -> List[Tuple[str, Optional[float]]]:
    exposures = read_exposures(path)
    if not exposures:
        raise CryoIceError(path, "lists no micrographs", "give another file")
    return [(resolve_beside(name, path), size) for name, size in exposures]


#: Readers of files that list micrographs, by suffix. Each returns the path and the pixel size of each micrograph.
_LISTS: Dict[str, Callable[[Path], List[Tuple[str, Optional[float]]]]] = {
    ".star": _from_star,
    **dict.fromkeys(CRYOSPARC, _from_cryosparc),
}
