# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a folder of coordinate files: of one format, in the folder itself or else in its subfolders."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Mapping, Optional, Set, Tuple

from cryoice_scipion.core.errors import CoordinatesError, counted, plural
from cryoice_scipion.core.formats.joining import FilesRead, Picks, join, read_each
from cryoice_scipion.core.formats.pick_tables import empty_table
from cryoice_scipion.core.formats.relion_jobs import is_own_file, job_output
from cryoice_scipion.core.formats.table import (
    format_of,
    is_coordinate_file,
    is_unspecific,
    suffix_of,
    suffixes_in_words,
)
from cryoice_scipion.core.images.trees import Tree, files_in, is_output

#: Files of an output folder of cryoice that have the suffix of a coordinate format.
_OUTPUT_TABLES = ("micrographs.csv", "regions.csv", "regions.json", "summary.json")


def may_hold_coordinates(name: str) -> bool:
    """Return whether a file of a folder is read as a coordinate file, by its name."""
    return is_coordinate_file(name) and not is_own_file(name)


def read_folder(folder: Path) -> Picks:
    """Read the files of a folder in one format, which is that of the readable files with coordinates.

    Of a RELION job, its file of coordinates is read. If no file in the folder itself holds coordinates, the files in
    its subfolders are read too.

    Raises
    ------
    CoordinatesError
        When the folder has no coordinate files or several formats, or no file can be read.
    """
    job = job_output(folder)
    if job is not None:
        read = _read_all([job])
        read.refuse_if_nothing(folder)
        picks = join(read, empty_table())
        return picks._replace(notes=[f"{folder}: a RELION job; the coordinates are read from {job.name}", *picks.notes])
    refuse_output(folder)
    tree = files_in(folder, may_hold_coordinates)
    read, other = _read_files(tree.files)
    notes: List[str] = []
    deep = _without_listed(folder, files_in(folder, may_hold_coordinates, recursive=True))
    nested = len(_unlisted(deep.files, _listed(read))) - len(_unlisted(tree.files, _listed(read)))
    if nested and not _formats_in(read):
        tree = deep
        read, other = _read_files(tree.files)
        files, folders = counted(nested, "coordinate file"), counted(tree.folders, "subfolder")
        notes.append(f"{folder}: {files} in {folders} {plural(nested, 'is', 'are')} read")
    elif nested:
        files = counted(nested, "coordinate file in its subfolders is", "coordinate files in its subfolders are")
        notes.append(f"{folder}: {files} not used; give the subfolders to use them")
    if not tree.files:
        raise _nothing_in(folder, tree)
    formats = _formats_in(read)
    if len(formats) > 1:
        counts = ", ".join(f"{number} {suffix}" for suffix, number in sorted(formats.items()))
        reason = f"holds coordinates of several formats ({counts})"
        raise CoordinatesError(folder, reason, "give a folder of one format, or a file")
    read.refuse_if_nothing(folder)
    picks = join(_only(next(iter(formats), ""), read, other), empty_table())
    return picks._replace(notes=[*notes, *picks.notes], warnings=[*tree.notes(), *picks.warnings])


def refuse_output(folder: Path) -> None:
    """Refuse an output folder of cryoice: its tables and lists hold the same coordinates several times.

    Raises
    ------
    CoordinatesError
        When it is such a folder, or that of its coordinates. A folder in which there are also other files is none.
    """
    kept = folder / "coordinates" / "kept.star"
    if is_output(str(folder)) and all(
        file.name in _OUTPUT_TABLES for file in files_in(folder, may_hold_coordinates).files
    ):
        raise CoordinatesError(folder, "is an output folder of cryoice", f"give a file of it, such as {kept}")
    if folder.name == kept.parent.name and is_output(str(folder.absolute().parent)):
        reason = "has the kept and the rejected coordinates of cryoice"
        raise CoordinatesError(folder, reason, f"give one file, such as {folder / kept.name}")


def job_outputs(top: Path) -> Callable[[Path], Optional[Path]]:
    """Return a function for the folders of a tree: the file of coordinates of the RELION job that a folder is in."""
    outputs: Dict[Path, Optional[Path]] = {top: job_output(top)}

    def output_above(folder: Path) -> Optional[Path]:
        if folder not in outputs:
            outputs[folder] = job_output(folder) or output_above(folder.parent)
        return outputs[folder]

    return output_above


def _without_listed(top: Path, tree: Tree) -> Tree:
    """Return the files of a tree; of a RELION job in it, only its file of coordinates, which may list the others."""
    output_above = job_outputs(top)
    return dataclasses.replace(tree, files=[file for file in tree.files if output_above(file.parent) in (None, file)])


def _nothing_in(folder: Path, tree: Tree) -> CoordinatesError:
    reason = "; ".join(["there are no coordinate files in this folder or its subfolders", *tree.notes()])
    return CoordinatesError(folder, reason, f"give {suffixes_in_words()}")


def _read_files(files: List[Path]) -> Tuple[FilesRead, Dict[str, str]]:
    """Read files; those with an unspecific suffix only if no other one holds coordinates. Return the others too.

    A file that another one lists is read only through the list.
    """
    unspecific = [file for file in files if is_unspecific(suffix_of(file))]
    read = _read_all(file for file in files if not is_unspecific(suffix_of(file)))
    own = set(_unlisted([path for path, _ in read.parts], _listed(read)))
    read = read._replace(parts=[(path, part) for path, part in read.parts if path in own])
    if unspecific and not _formats_in(read):
        tried = _read_all(unspecific)
        if _formats_in(tried) or not read.parts:
            return read.and_also(tried), {}
    return read, {str(file): "" for file in _unlisted(unspecific, _listed(read))}


def _listed(read: FilesRead) -> Set[str]:
    """Return the real paths of the files that are read because one of the others lists them."""
    lists = [part.row_files for _, part in read.parts if part.row_files is not None]
    return set().union(*(one.real_paths() for one in lists))


def _unlisted(files: List[Path], listed: Set[str]) -> List[Path]:
    """Return the files that are not among real paths."""
    return [file for file in files if os.path.realpath(file) not in listed] if listed else files


def _read_all(files: Iterable[Path]) -> FilesRead:
    return read_each((file, known.read) for file, known in ((file, format_of(file)) for file in files) if known)


def _formats_in(read: FilesRead) -> Dict[str, int]:
    """Return the formats that hold coordinates, and in how many files."""
    return Counter(suffix_of(path) for path, part in read.parts if len(part.table))


def _only(suffix: str, read: FilesRead, other: Mapping[str, str]) -> FilesRead:
    """Return the files of one format; unreadable files with an unspecific suffix count as no coordinate files."""
    other = {**read.other, **other}
    if not suffix:
        return read._replace(other=dict(other))
    parts = [(path, part) for path, part in read.parts if suffix_of(path) == suffix]
    other.update((str(path), "") for path, _ in read.parts if suffix_of(path) != suffix)
    not_read = dict(read.not_read)
    for name in [name for name in not_read if is_unspecific(suffix_of(Path(name))) and suffix_of(Path(name)) != suffix]:
        other[name] = not_read.pop(name)
    return FilesRead(parts, not_read, dict(other))
