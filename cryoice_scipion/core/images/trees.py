# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the files of a folder and of its subfolders, and name what cannot be followed or read."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Set, Tuple, TypeVar

from cryoice_scipion.core.errors import counted

#: A folder with all files of one of these groups is the output of a screening or filtering. Its files are no input.
_OUTPUT_MARKS = (("journal.jsonl",), ("micrographs.csv", "summary.json"))
_SHOWN = 3  # names in a line


_AnyPath = TypeVar("_AnyPath", str, Path)


@dataclasses.dataclass
class Tree:
    """The files that were found, and everything that was not."""

    files: List[Path] = dataclasses.field(default_factory=list)  # sorted by path
    folders: int = 0  # subfolders that hold at least one of the files
    dead_links: List[str] = dataclasses.field(default_factory=list)
    unreadable: List[str] = dataclasses.field(default_factory=list)  # folders

    def notes(self) -> List[str]:
        """Return one line for all dead links, and one for all folders that cannot be read."""
        lines = []
        for names, one, several in (
            (self.dead_links, "link points to a missing file and is", "links point to missing files and are"),
            (self.unreadable, "subfolder cannot be read and is", "subfolders cannot be read and are"),
        ):
            if names:
                more = ", ..." if len(names) > _SHOWN else ""
                lines.append(f"{counted(len(names), one, several)} left out: {', '.join(names[:_SHOWN])}{more}")
        return lines


def files_in(folder: Path, is_wanted: Callable[[str], bool], recursive: bool = False) -> Tree:
    """Return the files of a folder that are wanted, by name, without hidden ones.

    Parameters
    ----------
    is_wanted : callable
        Returns whether a file counts, by its name.
    recursive : bool
        Whether subfolders are searched. Hidden subfolders and outputs of screenings are not. A folder that several
        links lead to is searched once.
    """
    found, seen = Tree(), set()  # type: Tree, Set[Tuple[int, int]]
    waiting = [(folder, True)]
    while waiting:
        current, is_top = waiting.pop()
        inside, subfolders = _look_into(current, is_wanted, is_top, seen, found)
        found.files += inside
        found.folders += bool(inside) and not is_top
        if recursive:
            waiting += [(subfolder, False) for subfolder in subfolders]
    found.files.sort()
    return found


def distinct_paths(paths: Iterable[_AnyPath]) -> List[_AnyPath]:
    """Return the first path that leads to each file or folder, in order."""
    found: Dict[str, _AnyPath] = {}
    for path in paths:
        found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, by its name."""
    return name.startswith(".")


def is_output(folder: str) -> bool:
    """Return whether a folder is the output of a screening or filtering."""
    return any(all(os.path.exists(os.path.join(folder, mark)) for mark in marks) for marks in _OUTPUT_MARKS)


def _look_into(
    folder: Path, is_wanted: Callable[[str], bool], is_top: bool, seen: Set[Tuple[int, int]], found: Tree
) -> Tuple[List[Path], List[Path]]:
    """Return the wanted files of one folder and its subfolders; nothing if it was seen before or is an output."""
    files: List[Path] = []
    subfolders: List[Path] = []
    try:
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen or (not is_top and is_output(str(folder))):
            return files, subfolders
        seen.add((state.st_dev, state.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if _is_folder(entry):
                    subfolders.append(folder / entry.name)
                elif is_wanted(entry.name):
                    is_there = os.path.isfile(entry.path)
                    files += [folder / entry.name] if is_there else []
                    found.dead_links += [entry.path] if entry.is_symlink() and not is_there else []
    except OSError as error:
        if is_top:
            raise
        found.unreadable.append(f"{folder} ({error.strerror or error})")
    return files, subfolders


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


class TreeListing:
    """List one folder after the other of a tree, as :func:`files_in` searches it, for a walk that begins at the top."""

    def __init__(self, top: Path, is_wanted: Callable[[str], bool]) -> None:
        """Take the top folder, and a function that returns whether a file counts, by its name."""
        self._top, self._is_wanted = str(top), is_wanted
        self._seen: Set[Tuple[int, int]] = set()

    def __call__(self, folder: Optional[str]) -> Iterator[os.DirEntry[str]]:
        """Yield subfolders and wanted files; none if the folder was listed in this walk, or is an output."""
        name = self._top if folder is None else folder
        if name == self._top:
            self._seen.clear()
        state = os.stat(name)
        if (state.st_dev, state.st_ino) in self._seen or (name != self._top and is_output(name)):
            return iter(())
        self._seen.add((state.st_dev, state.st_ino))
        with os.scandir(name) as entries:
            visible = [entry for entry in entries if not is_hidden(entry.name)]
        return iter([entry for entry in visible if self._is_wanted(entry.name) or _is_folder(entry)])
