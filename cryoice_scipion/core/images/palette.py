# SPDX-License-Identifier: GPL-3.0-or-later
"""The colours of thumbnails, plots and report.

The colours are from Okabe and Ito (2008, Color Universal Design) and can be distinguished with common colour vision
deficiencies. Kept and rejected coordinates also differ in shape.
"""

from __future__ import annotations

from typing import Dict, Tuple

from cryoice_scipion.constants import (
    BAD,
    BORDER,
    CONTAMINATED,
    CRYSTALLINE,
    DECENT,
    EMPTY,
    FILM,
    GREAT,
    THICK,
    UNCERTAIN,
    UNSURE,
)

KEPT = "#009e73"
REJECTED = "#d55e00"
NEUTRAL = "#999999"

CLASS_COLOURS: Dict[str, str] = {
    "crystalline": "#0072b2",
    "contamination": "#e69f00",
    "thick": "#56b4e9",
    "support": "#f0e442",
    "aggregate": "#cc79a7",
    BORDER: NEUTRAL,
    "vacuum": "#000000",
    BAD: "#d55e00",
    UNCERTAIN: "#8c6d31",
}

#: A bad grade has the colour of its class of bad area.
GRADE_COLOURS: Dict[str, str] = {
    GREAT: KEPT,
    DECENT: "#99d8c7",
    CONTAMINATED: CLASS_COLOURS["contamination"],
    CRYSTALLINE: CLASS_COLOURS["crystalline"],
    THICK: CLASS_COLOURS["thick"],
    FILM: CLASS_COLOURS["support"],
    EMPTY: CLASS_COLOURS["vacuum"],
    UNSURE: NEUTRAL,
}


def grade_colour(name: str) -> str:
    """Return the colour of a grade as ``#rrggbb``."""
    return GRADE_COLOURS[name]


def class_colour(name: str) -> str:
    """Return the colour of a class as ``#rrggbb``; an unknown class has the colour of ``bad``."""
    return CLASS_COLOURS.get(name, CLASS_COLOURS[BAD])


def rgb(colour: str) -> Tuple[int, int, int]:
    """Return ``#rrggbb`` as three numbers from 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
