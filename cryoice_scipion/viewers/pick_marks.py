# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw coordinates on a canvas: the disc of each particle in its true size, without hiding the picture."""

from __future__ import annotations

import dataclasses
import tkinter as tk
from typing import Any, Optional, Sequence, Tuple

import numpy as np

from cryoice_scipion.constants import BAD, GOOD
from cryoice_scipion.core.images.palette import KEPT, REJECTED, class_colour, rgb
from cryoice_scipion.viewers.viewport import Viewport

PICKS, LABELS = "picks", "labels"  # tags of all marks
CHOSEN = "#f0e442"  # colour of the picks of the selected bins
LABEL_COLOURS = {GOOD: "#0072b2", BAD: "#cc2200"}
BRIGHT = 420  # sum of red, green and blue above which a colour takes black letters
LABEL_RADIUS, CROSS, DOT = 9, 4, 2  # px
MOST_INK = 0.15  # share of the visible picture that the marks may cover
SMALLEST = 4.0  # px, the smallest radius at which a disc is drawn
FULL, THIN, DOTS = ((4, 2), (1,), ())  # widths of the rings of a disc, px; DOTS: only its centre is marked

Label = Tuple[float, float, str]  # x and y in px of the micrograph; GOOD, BAD or a class of bad area


@dataclasses.dataclass
class Marks:
    """The coordinates of a micrograph."""

    positions: Any = dataclasses.field(default_factory=lambda: np.zeros((0, 2)))  # (n, 2): px; NaN if unknown
    kept: Any = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=bool))  # (n,), bool
    radius: float = 0.0  # of the particles, px of the micrograph; 0: unknown
    margin: float = 0.0  # px beyond the particle that must be clean too
    chosen: Optional[Any] = None  # (n,), bool: those to highlight; None: nothing is selected
    labels: Sequence[Label] = ()  # places that the user has marked


def style_of(number: int, radius: float, area: float) -> Tuple[int, ...]:
    """Return the style of so many discs on an area: FULL, THIN or DOTS; radius and area are in px of the canvas."""
    if radius < SMALLEST:
        return DOTS
    length = 2 * np.pi * radius * number
    return next((style for style in (FULL, THIN) if length * max(style) <= MOST_INK * area), DOTS)


def draw_marks(canvas: tk.Canvas, view: Viewport, marks: Marks, on: Sequence[bool]) -> None:
    """Replace all marks on a canvas.

    Parameters
    ----------
    on : (bool, bool)
        Whether rejected and kept coordinates are shown.
    """
    canvas.delete(PICKS, LABELS)
    box, _, size = view.part()
    points, radius = view.to_canvas(marks.positions), marks.radius * view.scale
    x, y = marks.positions.T if len(marks.positions) else np.zeros((2, 0))
    reach = marks.radius + marks.margin
    with np.errstate(invalid="ignore"):  # NaN is not inside
        inside = (x > box[0] - reach) & (x < box[2] + reach) & (y > box[1] - reach) & (y < box[3] + reach)
    shown = inside & np.where(marks.kept, on[1], on[0])
    style = style_of(int(shown.sum()), radius, size[0] * size[1])
    for index in np.flatnonzero(shown)[np.argsort(marks.kept[shown], kind="stable")]:  # the kept ones on top
        _draw_pick(canvas, points[index], radius, bool(marks.kept[index]), style)
        if marks.margin and style == FULL:
            ring = _box(*points[index], radius + marks.margin * view.scale)
            canvas.create_oval(*ring, outline="white", dash=(3, 3), tags=PICKS)
    if marks.chosen is not None:
        chosen, around = np.flatnonzero(inside & marks.chosen), max(radius, 2 * SMALLEST)
        fits = style_of(len(chosen), around, size[0] * size[1]) == FULL
        for index in chosen:
            ring = _box(*points[index], around)
            if fits:
                canvas.create_oval(*ring, outline="black", width=5, tags=PICKS)
            canvas.create_oval(*ring, outline=CHOSEN, width=3 if fits else 1, tags=(PICKS, "chosen"))
    for x, y, label in marks.labels:
        _draw_label(canvas, view.to_canvas((x, y)), label)


def _draw_pick(canvas: tk.Canvas, point: Any, radius: float, kept: bool, style: Tuple[int, ...]) -> None:
    """Draw a ring, in the centre of a rejected one a cross; one item of each pick has the tag kept or rejected."""
    colour, tags = (KEPT, (PICKS, "kept")) if kept else (REJECTED, (PICKS, "rejected"))
    inks = ("white", colour) if style == FULL else (colour,)
    for ink, wide in zip(inks, style):
        canvas.create_oval(*_box(*point, radius), outline=ink, width=wide, tags=tags if ink == colour else PICKS)
    if kept and not style:
        canvas.create_oval(*_box(*point, DOT), fill=colour, outline="", tags=tags)
    if not kept:
        left, top, right, bottom = _box(*point, CROSS)
        wide = 1 if style == THIN else 2
        canvas.create_line(left, top, right, bottom, fill=colour, width=wide, tags=PICKS if style else tags)
        canvas.create_line(left, bottom, right, top, fill=colour, width=wide, tags=PICKS)


def _draw_label(canvas: tk.Canvas, point: Any, label: str) -> None:
    kind, font = GOOD if label == GOOD else BAD, ("TkDefaultFont", 9, "bold")
    colour = LABEL_COLOURS.get(label) or class_colour(label)
    ink = "black" if sum(rgb(colour)) > BRIGHT else "white"
    canvas.create_oval(*_box(*point, LABEL_RADIUS), fill=colour, outline="white", width=2, tags=(LABELS, kind))
    canvas.create_text(*point, text=kind[0].upper(), fill=ink, font=font, tags=LABELS)
    if label not in LABEL_COLOURS:  # the class, on a plate that can be read on any grey
        beside = LABEL_RADIUS + 4
        words = canvas.create_text(
            point[0] + beside, point[1], text=label, anchor="w", font=font, tags=(LABELS, "class")
        )
        if canvas.bbox(words)[2] > canvas.winfo_width():  # no room on the right
            canvas.coords(words, point[0] - beside, point[1])
            canvas.itemconfig(words, anchor="e")
        plate = canvas.create_rectangle(*canvas.bbox(words), fill="white", outline="", tags=LABELS)
        canvas.tag_lower(plate, words)


def _box(x: float, y: float, radius: float) -> Tuple[float, float, float, float]:
    return x - radius, y - radius, x + radius, y + radius
