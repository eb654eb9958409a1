# SPDX-License-Identifier: GPL-3.0-or-later
"""RELION's lists of micrographs: read names and pixel sizes, and write a part of a list with all its columns."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np
import pandas as pd

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.optics import GROUP, group_pixel_sizes
from cryoice_scipion.core.formats.star import VERSION_COMMENT, Block, read_star, write_blocks

_NAME, _SIZE = "rlnMicrographName", "rlnMicrographPixelSize"


@dataclasses.dataclass
class MicrographStar:
    """A STAR file that lists micrographs."""

    micrographs: Block
    optics: Optional[Block]

    @classmethod
    def read(cls, path: Path) -> MicrographStar:
        """Read a list.

        Raises
        ------
        CryoIceError
            When the file cannot be read, or names no micrographs.
        """
        blocks = read_star(path)
        block = next((block for block in blocks if _NAME in block.table), None)
        if block is None:
            reason = f"has no column _{_NAME}"
            raise CryoIceError(path, reason, "give RELION's micrographs.star, or the micrographs themselves")
        if not len(block.table):
            raise CryoIceError(path, "lists no micrographs", "give another file")
        return cls(block, next((other for other in blocks if other.name == "optics"), None))

    def listed(self) -> List[Tuple[str, Optional[float]]]:
        """Return the name of each micrograph and its pixel size in Å/px, if known; once for each pixel size.

        Raises
        ------
        CryoIceError
            When an optics group has two pixel sizes.
        """
        names = self.micrographs.table[_NAME].astype(str)
        table = pd.DataFrame({"name": names, "size": self._pixel_sizes()}).drop_duplicates()
        sizes = [float(size) if np.isfinite(size) and size > 0 else None for size in table["size"]]
        return list(zip(table["name"], sizes))

    def write_part(self, path: Path, is_wanted: Callable[[str], bool]) -> int:
        """Write the micrographs that are wanted, by their name in the list, with all columns; return their number.

        Raises
        ------
        CryoIceError
            When the folder cannot be written or the disk is full.
        """
        table = self.micrographs.table
        part = table[[is_wanted(str(name)) for name in table[_NAME]]]
        blocks = [(self.micrographs.name, part)]
        if self.optics is not None:
            blocks.insert(0, (self.optics.name, self.optics.table))
        write_blocks(path, blocks, VERSION_COMMENT if self.optics is not None else "")
        return len(part)

    def _pixel_sizes(self) -> pd.Series:
        """Return the pixel size of each micrograph in Å/px; NaN if unknown."""
        table, optics = self.micrographs.table, self.optics
        if optics is not None and {GROUP, _SIZE} <= set(optics.table):
            sizes = group_pixel_sizes(optics)
            if GROUP in table:
                return table[GROUP].map(sizes)
            if len(sizes) == 1:
                return pd.Series(sizes.iloc[0], index=table.index)
        if _SIZE in table:
            return pd.to_numeric(table[_SIZE], errors="coerce")
        # RELION before 3.1: µm on the detector. In a list of particles, that is of the particles, which may be scaled.
        if {"rlnDetectorPixelSize", "rlnMagnification"} <= set(table) and "rlnImageName" not in table:
            detector = pd.to_numeric(table["rlnDetectorPixelSize"], errors="coerce")
            return 1e4 * detector / pd.to_numeric(table["rlnMagnification"], errors="coerce")
        return pd.Series(np.nan, index=table.index)


def write_new_list(path: Path, micrographs: Sequence[Tuple[str, Optional[float]]]) -> None:
    """Write a list of micrographs without an earlier one: names, and pixel sizes in Å/px where all are known.

    Raises
    ------
    CryoIceError
        When the folder cannot be written or the disk is full.
    """
    sizes = [size for _, size in micrographs]
    table = pd.DataFrame({_NAME: [name for name, _ in micrographs]}, dtype=object)
    if not sizes or None in sizes:
        write_blocks(path, [("micrographs", table)], VERSION_COMMENT)
        return
    distinct = list(dict.fromkeys(sizes))
    numbers = list(range(1, len(distinct) + 1))
    names = [f"opticsGroup{number}" for number in numbers]
    optics = pd.DataFrame({"rlnOpticsGroupName": names, GROUP: numbers, _SIZE: distinct})
    table[GROUP] = [distinct.index(size) + 1 for size in sizes]
    write_blocks(path, [("optics", optics), ("micrographs", table)], VERSION_COMMENT)
