# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the marks of coordinates into a thumbnail: circles around kept ones, crosses on rejected ones."""

from __future__ import annotations

import functools
from typing import Any, Callable, Dict, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cryoice_scipion.core.images.colour_table import SHADES, ColourTable

MARK_RADIUS = 7.0  # px of the thumbnail
_UNIT = 4  # a mark is drawn four times too large, because Pillow's lines are not anti-aliased
_SIDE = 2 * int(MARK_RADIUS) + 5  # px
_WIDTH, _HALO = 2.0, 4.0  # px, of lines and of the white line under them

PickMark = Tuple[float, float, bool]  # x and y in px of the micrograph; whether the coordinate is kept
Bytes = NDArray[np.uint8]


def draw_picks(picture: Bytes, picks: Sequence[PickMark], shape: Sequence[int], table: ColourTable) -> None:
    """Draw the rejected coordinates first, so that none hides a kept one.

    Parameters
    ----------
    picture : numpy.ndarray, (rows, columns), uint8
        Entries of the table; changed in place.
    picks : sequence of (x, y, kept)
        Centres in px of the micrograph.
    shape : (int, int)
        Rows and columns of the micrograph.
    """
    marks, (height, width) = _marks(), picture.shape
    for x, y, kept in sorted(picks, key=lambda pick: pick[2]):
        left = round((x + 0.5) * width / shape[1] - _SIDE / 2)
        top = round((y + 0.5) * height / shape[0] - _SIDE / 2)
        if -_SIDE < left < width and -_SIDE < top < height:
            under = picture[max(0, top) : top + _SIDE, max(0, left) : left + _SIDE]
            mark = marks[kept][max(0, -top) :, max(0, -left) :][: under.shape[0], : under.shape[1]]
            under[...] = table.marked[mark, under]


@functools.lru_cache(maxsize=1)
def _marks() -> Dict[bool, Bytes]:
    """Return the marks as kinds of pixels, which :class:`ColourTable` describes."""
    halo, line = (_drawn(_circle, radius, width) for radius, width in ((MARK_RADIUS + 1, _HALO), (MARK_RADIUS, _WIDTH)))
    circle = np.where(line > 0, SHADES + line, np.maximum(halo, line))
    halo, line = (_drawn(_cross, reach, width) for reach, width in ((MARK_RADIUS, _HALO), (MARK_RADIUS - 1, _WIDTH)))
    return {True: circle, False: np.where(line > 0, 2 * SHADES + line, np.maximum(halo, line))}


def _drawn(shape: Callable[..., None], reach: float, width: float) -> Bytes:
    """Return how much of each pixel a shape covers, from 0 to ``SHADES``."""
    side = _SIDE * _UNIT
    large = Image.new("L", (side, side), 0)
    shape(ImageDraw.Draw(large), side / 2, reach * _UNIT, round(width * _UNIT))
    covered = np.asarray(large.resize((_SIDE, _SIDE), Image.BOX), dtype=np.float32)
    kinds: Bytes = np.rint(covered * (SHADES / 255)).astype(np.uint8)
    return kinds


def _circle(draw: Any, centre: float, radius: float, width: int) -> None:
    draw.ellipse((centre - radius, centre - radius, centre + radius, centre + radius), outline=255, width=width)


def _cross(draw: Any, centre: float, reach: float, width: int) -> None:
    for down in (-1, 1):
        line = (centre - reach, centre - down * reach, centre + reach, centre + down * reach)
        draw.line(line, fill=255, width=width)
