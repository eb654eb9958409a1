# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of micrographs: recognise the same micrograph under different names, and find the files of a run."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Callable, Container, Dict, Iterable, List, Optional, Sequence, Tuple

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.cryosparc_group import SUFFIXES as CRYOSPARC
from cryoice_scipion.core.images.grid import is_same_pixel_size
from cryoice_scipion.core.images.micrograph_folders import images_in
from cryoice_scipion.core.images.name_parts import (
    agreeing_folders,
    folders_of,
    is_in_job,
    same_uid,
    uid_of,
    without_uid,
)
from cryoice_scipion.core.images.name_suffixes import stems_of_picks, without_suffixes
from cryoice_scipion.core.images.reading import is_image_name, split_frame
from cryoice_scipion.core.images.stems import FRAME, output_stem, plain_path, stem_of
from cryoice_scipion.core.images.trees import distinct_paths, files_in
from cryoice_scipion.core.records import MicrographTask

__all__ = [
    "NameIndex", "agreeing_folders", "contradicting_names", "expand_micrographs", "exposure_lists", "folders_of",
    "free_stem", "is_in_job", "match_names", "matches_name", "micrograph_files", "micrograph_key", "output_stem",
    "resolve_beside", "star_lists", "stem_of",
]  # fmt: skip


def micrograph_key(name: str) -> str:
    """Return the part that all names of one micrograph have in common.

    This is the base name without extension, without suffixes that programs append (``_DW``, ``_aligned_mic``,
    ``_patch_aligned_doseweighted``, ``_autopick`` …), and without the 21 digits that each import by cryoSPARC adds in
    front.
    """
    return without_suffixes(without_uid(name))


def matches_name(stem: str, name: str) -> bool:
    """Return whether the name of a held-out micrograph, or a pattern of names, matches this micrograph."""
    return fnmatch.fnmatchcase(stem, name) or micrograph_key(stem) == micrograph_key(name)


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
        one with the same cryoSPARC uid counts, then the one with the same folder, then the one with the longest stem
        that is the name without suffixes of pickers: ``X_DW_autopick`` belongs to ``X_DW.mrc`` and not to ``X.mrc``.

        Raises
        ------
        CryoIceError
            When several names match equally well.
        """
        for key, table in self._tables:
            found = table.get(key(name), [])
            if len(found) > 1:
                agreement = [(same_uid(name, other), agreeing_folders(name, other)) for other in found]
                best = max(agreement)
                found = [other for other, one in zip(found, agreement) if one == best] if best > (0, 0) else found
                found = _with_longest_stem(name, found)
            if len(found) == 1:
                return found[0]
            if found:
                reason = f"fits several micrographs: {', '.join(found[:3])}"
                raise CryoIceError(name, reason, "rename them or leave one out")
        return None


def _with_longest_stem(name: str, found: List[str]) -> List[str]:
    """Return those of several names whose stem is the name without suffixes of pickers, as few as possible."""
    for stem in stems_of_picks(without_uid(name)):
        equal = [other for other in found if without_uid(other) == stem]
        if equal:
            return equal
    return found


def contradicting_names(names: Sequence[str], path: str) -> Tuple[List[str], List[str]]:
    """Return which of the names that match a micrograph belong to another one, and which are ambiguous.

    Names with several cryoSPARC uids, or in several folders, stand for several micrographs. The uid of the micrograph
    counts, then the folder that agrees with its own. If no single one agrees best, all names with uids, or with
    folders, are ambiguous. Names without a uid or a folder match any.

    Folders of cryoSPARC's jobs do not tell where a micrograph comes from, so they are compared only with each other.
    """
    others, doubtful = _contradicting_uids(names, path)
    left = [name for name in names if name not in others and name not in doubtful]
    for group in ([name for name in left if is_in_job(name)], [name for name in left if not is_in_job(name)]):
        elsewhere, ambiguous = _contradicting_folders(group, path)
        others, doubtful = others + elsewhere, doubtful + ambiguous
    return others, doubtful


def _contradicting_folders(names: Sequence[str], path: str) -> Tuple[List[str], List[str]]:
    """Return which names are in the folder of another micrograph, and which are ambiguous."""
    by_folder: Dict[Tuple[str, ...], List[str]] = defaultdict(list)
    for name in names:
        if folders_of(name):
            by_folder[folders_of(name)].append(name)
    if len(by_folder) < 2:
        return [], []
    agreement = {folder: agreeing_folders(found[0], path) for folder, found in by_folder.items()}
    best = max(agreement.values())
    if not best or list(agreement.values()).count(best) > 1:
        return [], [name for found in by_folder.values() for name in found]
    return [name for folder, found in by_folder.items() if agreement[folder] < best for name in found], []


def _contradicting_uids(names: Sequence[str], path: str) -> Tuple[List[str], List[str]]:
    """Return which names have the uid of another micrograph, and which have ambiguous ones."""
    uids = {name: uid_of(name) for name in names}
    if len(set(uids.values()) - {""}) < 2:
        return [], []
    own = uid_of(path)
    if own in uids.values() and own:
        return [name for name, uid in uids.items() if uid not in ("", own)], []
    return [], [name for name, uid in uids.items() if uid]


def match_names(wanted: Sequence[str], available: Sequence[str]) -> Dict[str, Optional[str]]:
    """Return for each wanted name the available name of the same micrograph, or None.

    Raises
    ------
    CryoIceError
        When several available names match equally well; see :class:`NameIndex`.
    """
    index = NameIndex(available)
    return {name: index.find(name) for name in dict.fromkeys(wanted)}


def expand_micrographs(arguments: Sequence[str], notes: Optional[List[str]] = None) -> List[MicrographTask]:
    """Return the micrographs given by files, patterns, folders, .star, .cs and .csg files, with ids from 1 in order.

    Of a .star file, the column ``_rlnMicrographName`` and the pixel sizes, if any, are used. Of cryoSPARC's exposures,
    ``micrograph_blob/path`` and ``micrograph_blob/psize_A`` are used. Of a folder without images, its subfolders are
    used. A file that is given twice, by any path but through a link, counts once. A missing image file is included: the
    screening records it as failed.

    Parameters
    ----------
    notes : list of str, optional
        Gets a line for what was left out, such as dead links, and for subfolders.

    Raises
    ------
    CryoIceError
        When an argument gives no micrograph, two micrographs would have the same output files, or a micrograph is given
        with two pixel sizes.

    The stem of a micrograph is its file name without extension. If two micrographs have the same one, the stem of the
    second begins with its folder. Long stems are shortened; see :func:`output_stem`.
    """
    notes = [] if notes is None else notes
    found: Dict[str, Optional[float]] = {}
    given = [(plain_path(path), size) for argument in arguments for path, size in _expand(argument, notes)]
    names, paths = Counter(os.path.basename(path) for path in dict(given)), {}  # type: Counter[str], Dict[str, str]
    for path, pixel_size in given:
        repeated = names[os.path.basename(path)] > 1
        _add(found, paths.setdefault(_location(path), path) if repeated else path, pixel_size)
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


def _location(path: str) -> str:
    """Return a text that is the same for all paths of a file, unless they go through different links."""
    frame, file = split_frame(path)
    return "\n".join((str(frame), os.path.abspath(file), os.path.realpath(file)))


def _add(found: Dict[str, Optional[float]], path: str, pixel_size: Optional[float]) -> None:
    """Add a micrograph and its pixel size in Å/px, if known; one that is found already gets the size that it lacks."""
    earlier = found.get(path)
    if earlier and pixel_size and not is_same_pixel_size(pixel_size, earlier):
        reason = f"is given with {earlier:g} Å/px and with {pixel_size:g} Å/px"
        raise CryoIceError(path, reason, "correct the lists of micrographs")
    found[path] = earlier or pixel_size


def exposure_lists(arguments: Sequence[str]) -> List[Path]:
    """Return which of the arguments of :func:`expand_micrographs` are files of cryoSPARC, each once."""
    lists = [path for path in map(Path, arguments) if path.suffix.lower() in CRYOSPARC and not path.is_dir()]
    return distinct_paths(lists)


def star_lists(arguments: Sequence[str]) -> List[Path]:
    """Return which of the arguments of :func:`expand_micrographs` are .star files, each once."""
    return distinct_paths(Path(name) for name in arguments if name.lower().endswith(".star"))


def free_stem(path: str, taken: Container[str]) -> str:
    """Return the stem of a micrograph's outputs, with as many of its folders in front as no other micrograph has."""
    stem = stem_of(path)
    for folder in folders_of(path):
        if output_stem(stem) not in taken:
            break
        stem = f"{folder}_{stem}"
    return output_stem(stem)


def micrograph_files(folder: Path) -> List[Path]:
    """Return the images in a folder, sorted by name, without hidden files."""
    return files_in(folder, is_image_name).files


def resolve_beside(name: str, file: Path) -> str:
    """Return the path of a file that is named in another file.

    The name is relative to the current folder, or to the folder of the other file or a parent of it: paths in RELION
    files start at the project folder.
    """
    if os.path.isabs(name) or os.path.exists(name):  # not Path.exists, which fails for names that are too long
        return name
    for folder in file.resolve().parents:
        if os.path.exists(folder / name):  # also 12@a.mrc, which may be the name of a file
            return str(folder / name)
    frame = FRAME.match(name)
    return f"{frame.group(1)}@{resolve_beside(frame.group(2), file)}" if frame else name


def _identity(name: str) -> str:
    return name


def _expand(argument: str, notes: List[str]) -> List[Tuple[str, Optional[float]]]:
    path = Path(argument)
    if path.is_dir():
        return [(str(file), None) for file in images_in(path, notes)]
    if path.suffix.lower() in _LISTS:
        return _LISTS[path.suffix.lower()](path)
    if not path.exists() and glob.has_magic(argument):
        files = sorted(glob.glob(argument))
        if not files:
            raise CryoIceError(argument, "no file matches", "check the pattern")
        return [(str(Path(file)), None) for file in files]
    if not path.exists() and not is_image_name(path.name):
        raise CryoIceError(argument, "there is no such file or folder", "check the path")
    return [(str(path), None)]  # ./a.mrc and a.mrc are one


def _from_star(path: Path) -> List[Tuple[str, Optional[float]]]:
    from cryoice_scipion.core.formats.micrograph_star import MicrographStar  # loads pandas

    return [(resolve_beside(name, path), size) for name, size in MicrographStar.read(path).listed()]


def _from_cryosparc(path: Path) -> List[Tuple[str, Optional[float]]]:
    from cryoice_scipion.core.formats.cryosparc_exposures import read_exposures

    exposures = read_exposures(path)
    if not exposures:
        raise CryoIceError(path, "lists no micrographs", "give another file")
    return [(resolve_beside(name, path), size) for name, size in exposures]


#: Readers of files that list micrographs, by suffix. Each returns the path and the pixel size of each micrograph.
_LISTS: Dict[str, Callable[[Path], List[Tuple[str, Optional[float]]]]] = {
    ".star": _from_star,
    **dict.fromkeys(CRYOSPARC, _from_cryosparc),
}
