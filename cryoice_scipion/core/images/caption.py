# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the scale bar of a thumbnail and the caption below it: file name, bad area, coordinates, legend.

Colours are entries of the colour table. Grey levels are in order there, so that letters have soft edges.
"""

from __future__ import annotations

import dataclasses
from typing import Any, List, Optional, Sequence, Tuple

from PIL import Image, ImageDraw, ImageFont

from cryoice_scipion.core.images.colour_table import KEPT_INDEX, REJECTED_INDEX, grey_index
from cryoice_scipion.core.images.palette import rgb
from cryoice_scipion.core.images.shortening import shortened

LEAST_WIDTH = 360  # px, so that the caption fits below a small picture
TEXT_SIZE = 16  # px
LINE = 24  # px
MARGIN = 10  # px
PAPER, INK = "#ffffff", "#1a1a1a"
_PAPER, _INK = (grey_index(rgb(colour)[0]) for colour in (PAPER, INK))
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # nm

Entry = Tuple[str, int, str]  # shape, colour, words


@dataclasses.dataclass(frozen=True)
class Caption:
    """The heading below a thumbnail."""

    title: str = ""  # name of the micrograph's file
    bad_area: Optional[float] = None  # share from 0 to 1; None: not shown


def add_caption(
    picture: Image.Image,
    scale: float,
    caption: Caption,
    picks: Tuple[int, int],
    classes: Sequence[Tuple[str, int]],
) -> Image.Image:
    """Return the picture with a scale bar, the caption and a legend.

    Parameters
    ----------
    picture : PIL.Image.Image
        The micrograph with tinted areas and marked coordinates; mode L, entries of the colour table.
    scale : float
        Å per px of the picture.
    picks : (int, int)
        Number of kept and of rejected coordinates.
    classes : sequence of (name, colour)
        The classes in the legend.

    Returns
    -------
    PIL.Image.Image
        Mode L, at least 360 px wide.
    """
    font = ImageFont.load_default(TEXT_SIZE)
    draw_scale_bar(picture, scale, font)
    width = max(picture.width, LEAST_WIDTH)
    entries: List[Entry] = []
    if any(picks):
        entries += [("circle", KEPT_INDEX, f"{picks[0]} kept"), ("cross", REJECTED_INDEX, f"{picks[1]} rejected")]
    entries += [("square", colour, name) for name, colour in classes]
    positions, lines = _flow(entries, width, font)
    canvas = Image.new("L", (width, picture.height + (1 + lines) * LINE + MARGIN), _PAPER)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    _draw_heading(draw, picture.height + MARGIN // 2, width, caption, font)
    for (left, line), entry in zip(positions, entries):
        _draw_entry(draw, left, picture.height + MARGIN // 2 + (1 + line) * LINE, entry, font)
    return canvas


def bar_length(width: int, scale: float) -> int:
    """Return the length of the scale bar in nm: a round number, at most a quarter of ``width`` px."""
    longest = width * scale / 10 / 4
    return max((step for step in STEPS if step <= longest), default=STEPS[0])


def draw_scale_bar(picture: Image.Image, scale: float, font: Any) -> None:
    """Draw a scale bar into the lower left corner; ``scale`` is in Å per px."""
    length = bar_length(picture.width, scale)
    words, across = f"{length} nm", round(length * 10 / scale)
    draw = ImageDraw.Draw(picture)
    wide = max(across, round(draw.textlength(words, font=font)))
    left, bottom = MARGIN, picture.height - MARGIN
    draw.rectangle((left - 5, bottom - 30, left + wide + 5, bottom + 5), fill=_PAPER)
    draw.rectangle((left, bottom - 4, left + across, bottom), fill=_INK)
    draw.text((left, bottom - 27), words, fill=_INK, font=font)


def _draw_heading(draw: ImageDraw.ImageDraw, top: int, width: int, caption: Caption, font: Any) -> None:
    """Write the file name on the left and the bad area on the right; a long name is shortened in the middle."""
    title, bad_area = caption.title, caption.bad_area
    words = "" if bad_area is None else f"bad area {100 * bad_area:.1f} %"
    right = width - MARGIN - draw.textlength(words, font=font)
    draw.text((right, top), words, fill=_INK, font=font)
    room = right - 2 * MARGIN
    draw.text((MARGIN, top), shortened(title, room, font.getlength), fill=_INK, font=font)


def _flow(entries: Sequence[Entry], width: int, font: Any) -> Tuple[List[Tuple[int, int]], int]:
    """Return left edge and line of each entry of the legend, and the number of lines."""
    positions: List[Tuple[int, int]] = []
    left, line = MARGIN, 0
    for _, _, words in entries:
        needed = TEXT_SIZE + 6 + round(font.getlength(words)) + 2 * MARGIN
        if left > MARGIN and left + needed - MARGIN > width:
            left, line = MARGIN, line + 1
        positions.append((left, line))
        left += needed
    return positions, line + 1 if entries else 0


def _draw_entry(draw: ImageDraw.ImageDraw, left: int, top: int, entry: Entry, font: Any) -> None:
    shape, colour, words = entry
    box = (left + 2, top + 3, left + TEXT_SIZE - 2, top + TEXT_SIZE - 1)
    if shape == "square":
        draw.rectangle(box, fill=colour)
    elif shape == "circle":
        draw.ellipse(box, outline=colour, width=2)
    else:
        draw.line((box[0], box[1], box[2], box[3]), fill=colour, width=3)
        draw.line((box[0], box[3], box[2], box[1]), fill=colour, width=3)
    draw.text((left + TEXT_SIZE + 6, top), words, fill=_INK, font=font)
