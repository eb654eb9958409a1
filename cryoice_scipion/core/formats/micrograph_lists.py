# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a selection of micrographs as a RELION list: a part of the input's list with all its columns, or a new list."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Mapping, Optional

from cryoice_scipion.core.formats.micrograph_star import MicrographStar, write_new_list
from cryoice_scipion.core.images.naming import resolve_beside


class InputList:
    """The list of micrographs that a run was given."""

    def __init__(self, path: Path) -> None:
        """Read the list.

        Raises
        ------
        CryoIceError
            When the file cannot be read, or names no micrographs.
        """
        self.star = MicrographStar.read(path)
        #: Name of each micrograph in the list, by the path that a run has for it.
        self.names: Dict[str, str] = {resolve_beside(name, path): name for name, _ in self.star.listed()}


def write_micrographs(
    path: Path, micrographs: Mapping[str, Optional[float]], given: Optional[InputList] = None
) -> None:
    """Write a list of micrographs.

    Parameters
    ----------
    path : pathlib.Path
        The file; replaced as a whole.
    micrographs : mapping
        The path of each micrograph as the run has it, and its pixel size in Å/px, if known.
    given : InputList, optional
        The list of the run's input. If it has all these micrographs, their rows are written with all columns, and the
        optics table. If not, a new list is written, with pixel sizes as optics groups.

    Raises
    ------
    CryoIceError
        When the folder cannot be written or the disk is full.
    """
    if given is None or not set(micrographs) <= set(given.names):
        write_new_list(path, list(micrographs.items()))
        return
    wanted = {given.names[micrograph] for micrograph in micrographs}
    given.star.write_part(path, wanted.__contains__)
