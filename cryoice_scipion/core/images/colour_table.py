# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold the 256 colours of a thumbnail: with a byte per pixel, a PNG file is written in a fifth of the time.

Half of the table is grey levels, in steps of two. The other half has the colours of classes and marks, and grey levels
with the tint of each class in the thumbnail.
"""

from __future__ import annotations

import functools
from typing import Any, Tuple

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.core.images.palette import KEPT, REJECTED, class_colour, rgb

TINT = 0.4  # share of the class colour in a bad area
COLOURS, GREYS = 256, 128  # entries of the table; grey levels among them, which come first
SHADES = 8  # from white to the colour of a mark, and from a pixel to white
HALO = 0.9  # share of white in the halo of a mark

Bytes = NDArray[np.uint8]


def grey_index(level: int) -> int:
    """Return the entry of a grey level from 0 to 255."""
    return level * GREYS // COLOURS


KEPT_INDEX, REJECTED_INDEX = GREYS + SHADES - 1, GREYS + 2 * SHADES - 1
_FIRST_CLASS = GREYS + 2 * SHADES


class ColourTable:
    """The table of a thumbnail that shows areas of some classes."""

    def __init__(self, classes: Tuple[str, ...]) -> None:
        """Make the table; see :func:`colour_table`."""
        number = len(classes)
        pure = np.array([rgb(class_colour(name)) for name in classes], dtype=np.float32).reshape(-1, 3)
        levels = (COLOURS - _FIRST_CLASS - number) // max(1, number)  # tinted grey levels of each class
        greys, tinted = (np.linspace(0, 255, count, dtype=np.float32)[:, None] for count in (GREYS, levels))
        parts = [np.repeat(greys, 3, axis=1)]
        parts += [255 + (np.array(rgb(colour)) - 255) * _shares()[:, None] for colour in (KEPT, REJECTED)]
        parts += [pure, *(tinted + TINT * (colour - tinted) for colour in pure)]
        self.colours = np.zeros((COLOURS, 3), dtype=np.float32)
        filled = np.concatenate(parts)
        self.colours[: len(filled)] = np.rint(filled)
        #: Entry of a grey level from 0 to 255: in the first row without a tint, then in that of each class; then the
        #: colour of each class.
        self.entries = np.empty((1 + 2 * number, COLOURS), dtype=np.uint8)
        every = np.arange(COLOURS)
        self.entries[0] = every * GREYS // COLOURS
        for index in range(number):
            self.entries[1 + index] = _FIRST_CLASS + number + index * levels + every * levels // COLOURS
            self.entries[1 + number + index] = self.class_index(index)
        self.marked = self._marked()

    def class_index(self, index: int) -> int:
        """Return the entry of the colour of a class."""
        return _FIRST_CLASS + index

    def _marked(self) -> Bytes:
        """Return what each kind of pixel of a mark makes of each entry, shape (kinds, 256).

        The first kind changes nothing. Then follow ``SHADES`` kinds that are ever whiter, up to the halo, and as many
        between white and the colour of a kept coordinate, and of a rejected one.
        """
        lighter = self.colours + HALO * _shares()[:, None, None] * (255 - self.colours)
        marked = np.empty((1 + 3 * SHADES, COLOURS), dtype=np.uint8)
        marked[0] = np.arange(COLOURS)
        marked[1 : 1 + SHADES] = self._nearest(lighter)
        marked[1 + SHADES :] = np.arange(GREYS, _FIRST_CLASS)[:, None]
        return marked

    def _nearest(self, colours: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the entries that are most like some colours, shape (..., 3)."""
        squares = np.square(self.colours).sum(axis=1)
        found: NDArray[np.intp] = (squares - 2 * colours @ self.colours.T).argmin(axis=-1)
        return found


@functools.lru_cache(maxsize=32)
def colour_table(classes: Tuple[str, ...]) -> ColourTable:
    """Return the table of a thumbnail that shows areas of these classes."""
    return ColourTable(classes)


def _shares() -> NDArray[Any]:
    return np.arange(1, SHADES + 1, dtype=np.float32) / SHADES
