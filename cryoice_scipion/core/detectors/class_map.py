# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a detector on one micrograph: logits of each class on a coarse grid. Imports no torch."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import List

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.errors import ImageError, MapError, counted, one_line
from cryoice_scipion.core.images.archives import read_stored
from cryoice_scipion.core.images.atomic import replacing

Grid = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclasses.dataclass
class ClassMap:
    """Calibrated class logits over a micrograph.

    Cell (i, j) covers rows [i·s, (i+1)·s) and columns [j·s, (j+1)·s) in Å, s = ``sampling``; shapes are rounded up.
    """

    logits: Grid  # (classes, rows, columns), float32, already divided by the temperature
    border: Mask  # (rows, columns): more than half of the cell is border
    classes: List[str]  # one of them is "good"
    sampling: float  # Å, side of a cell
    skewness: float  # of the band-passed micrograph as it was recorded; < 0: dark objects
    flags: List[str] = dataclasses.field(default_factory=list)

    @property
    def log_odds(self) -> Grid:
        """Return the log-odds of BAD, shape (rows, columns), float32: logsumexp of all bad classes minus good."""
        good = self.classes.index(GOOD)
        odds: Grid = logsumexp(np.delete(self.logits, good, axis=0), axis=0) - self.logits[good]
        return odds

    @property
    def median_logit(self) -> float:
        """Return the median log-odds of BAD over the cells that are not border; NaN when all are."""
        values = self.log_odds[~self.border]
        return float(np.median(values)) if values.size else float("nan")

    def checked(self, micrograph: str) -> ClassMap:
        """Return the map if the log-odds of all cells outside the border are finite.

        Parameters
        ----------
        micrograph : str
            Its name, for error messages.

        Raises
        ------
        MapError
            When log-odds of BAD are NaN or infinite.
        """
        wrong = int(np.count_nonzero(~np.isfinite(self.log_odds[~self.border])))
        if wrong:
            number = int(np.count_nonzero(~self.border))
            reason = f"the model gives no finite log-odds for {wrong} of {counted(number, 'cell')}"
            raise MapError(micrograph, reason, "check the micrograph, or use another model or device")
        return self

    def save(self, path: Path) -> None:
        """Write the map as .npz, atomically."""
        with replacing(path) as temporary, open(temporary, "wb") as stream:
            np.savez(
                stream,
                logits=self.logits.astype(np.float32, copy=False),
                border=self.border,
                classes=np.array(self.classes),
                sampling=np.float64(self.sampling),
                skewness=np.float64(self.skewness),
                flags=np.array(self.flags, dtype="U64"),
            )

    @classmethod
    def load(cls, path: Path) -> ClassMap:
        """Read a map that :meth:`save` wrote.

        Raises
        ------
        ImageError
            When the file is missing or damaged.
        """
        try:
            with np.load(io.BytesIO(read_stored(path)), allow_pickle=False) as stored:
                found = cls(
                    logits=stored["logits"],
                    border=stored["border"],
                    classes=[str(name) for name in stored["classes"]],
                    sampling=float(stored["sampling"]),
                    skewness=float(stored["skewness"]),
                    flags=[str(flag) for flag in stored["flags"]],
                )
            if found.logits.shape != (len(found.classes), *found.border.shape) or GOOD not in found.classes:
                raise ValueError(f"its log-odds have the shape {found.logits.shape}")
            return found
        except ImageError:
            raise
        except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged files
            reason = f"the stored map cannot be read ({one_line(error) or type(error).__name__})"
            raise ImageError(path, reason, "screen this micrograph again") from None


class AbsoluteMap(ClassMap):
    """A map with absolute log-odds, which the session baseline does not shift."""

    @property
    def median_logit(self) -> float:
        """Return NaN, so that a data set that is crystalline throughout is not shifted to clean."""
        return float("nan")
