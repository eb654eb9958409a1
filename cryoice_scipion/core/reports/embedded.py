# SPDX-License-Identifier: GPL-3.0-or-later
"""Small pictures of selected micrographs, embedded in the report."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from PIL import Image

from cryoice_scipion.core.images.thumbnails import BAR, ROWS
from cryoice_scipion.core.results.micrograph_fields import in_words, percent
from cryoice_scipion.core.results.run_sums import MicrographValues, RunSums

PICTURES = 6  # of each kind
SIDE = 480  # px, longest side of an embedded thumbnail
QUALITY = 75  # of JPEG
LOOKED_AT = 5 * PICTURES  # maximum number of thumbnails of each kind to try, if some are missing

Picture = Dict[str, str]  # stem, words, alternative, width, height, source


def pictures_of(folder: Path, sums: RunSums) -> Tuple[List[Picture], List[Picture]]:
    """Return pictures of the micrographs with the most bad area, and of others around the median.

    Parameters
    ----------
    folder : pathlib.Path
        The run folder; the paths of thumbnails are relative to it.
    """
    every = [one for one in sums.micrographs.values() if one.bad_area is not None and one.thumbnail]
    every.sort(key=lambda one: (-(one.bad_area or 0.0), one.id))
    taken, worst = _first(folder, every, min(PICTURES, (len(every) + 1) // 2))
    rest = every[taken:]
    middle = max(0, (len(rest) - PICTURES) // 2)
    _, typical = _first(folder, rest[middle:] + rest[:middle][::-1], PICTURES)
    return worst, typical


def _first(folder: Path, candidates: Sequence[MicrographValues], number: int) -> Tuple[int, List[Picture]]:
    """Return the number of micrographs tried, and the pictures of the first ones with a valid thumbnail."""
    found: List[Picture] = []
    looked = 0
    for one in candidates[:LOOKED_AT]:
        if len(found) == number:
            break
        looked += 1
        picture = _picture(folder, one)
        if picture:
            found.append(picture)
    return looked, found


def _picture(folder: Path, one: MicrographValues) -> Optional[Picture]:
    """Return a reduced thumbnail; None if it is missing or damaged."""
    try:
        with Image.open(folder / one.thumbnail) as opened:
            small, told = opened.convert("RGB"), opened.info
            rows, bar = int(told.get(ROWS, small.height)), told.get(BAR, "")
    except (OSError, SyntaxError, ValueError):  # Pillow raises all of them for damaged files
        return None
    small = small.crop(
        (0, 0, small.width, rows)
    )  # without the caption, which would be too small to read; the page has one
    small.thumbnail((SIDE, SIDE), Image.HAMMING)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=QUALITY)
    words = in_words(one.shown)
    if one.picks:
        words += f", {one.kept} of {one.picks} kept"
    areas = ", ".join(f"{name} {percent(share)}" for name, share in sorted(one.areas, key=lambda pair: -pair[1]))
    return {
        "stem": one.stem,
        "words": words + (f" (scale bar {bar} nm)" if bar else ""),
        "alternative": f"Micrograph {one.stem}. Area by class: {areas or 'all good'}.",
        "width": str(small.width),
        "height": str(small.height),
        "source": "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"),
    }
