# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinate formats that are read, by extension."""

from __future__ import annotations

from typing import Dict, Tuple

from cryoice_scipion.core.formats.readers import READERS
from site_builder.markdown import code, table

_FORMATS: Dict[str, Tuple[str, str]] = {  # program, content
    ".star": (
        "RELION, old and 3.1 or later",
        "`_rlnCoordinateX`, `_rlnCoordinateY`, and `_rlnMicrographName`; one micrograph a file, or many. "
        "Also a list of coordinate files (`_rlnMicrographCoordinates`). Other columns pass through.",
    ),
    ".box": ("EMAN", "Corner x and y, width, height, and often a score. Corners become centres."),
    ".cbox": ("crYOLO", "Corners, box sizes and the confidence. Corners become centres."),
    ".pos": ("Xmipp", "Centres. Coordinates that the picker has disabled are left out and counted."),
    ".csv": ("CryoPPP and others", "A table with a header that names x and y, and possibly micrograph and diameter."),
    ".txt": ("Topaz and others", "The same, separated by tabs or blanks."),
}


def coordinate_formats() -> str:
    """Return the formats with the program that writes them.

    Raises
    ------
    KeyError
        When a format has no description here.
    """
    if set(_FORMATS) != set(READERS):
        raise KeyError(f"coordinate formats: described are {sorted(_FORMATS)}, there are {sorted(READERS)}")
    rows = [(code(suffix), *_FORMATS[suffix]) for suffix in READERS]
    return table(("Extension", "Program", "Content"), rows)
