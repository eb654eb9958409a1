# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring coordinates to pixels of their micrograph: scale them from other pixel sizes, and flip rows if asked."""

from __future__ import annotations

import dataclasses
from typing import List, Optional, Sequence

from cryoice_scipion.constants import COORDINATES_DIFFER, COORDINATES_SCALED, PIXEL_SIZE_DIFFERS, SAME_PIXEL_SIZE
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.records import Pick


def in_micrograph_pixels(
    picks: Sequence[Pick], frame: Frame, config: ScreenConfig, flags: Sequence[str] = ()
) -> List[Pick]:
    """Return coordinates with position and sizes in px of the micrograph, row 0 at y = 0.

    The pixel size of the settings has priority over the one in the coordinate file. A pixel size from a file is not
    used if it is that of the micrograph's header: then only the given pixel size of the micrograph is another one.

    Parameters
    ----------
    frame : Frame
        Shape and pixel size of the micrograph.
    config : ScreenConfig
        Has ``coordinates_pixel_size`` and ``flip_y``.
    flags : sequence of str
        Flags of the micrograph, which name the header's pixel size if it differs.
    """
    if not config.flip_y and not config.coordinates_pixel_size and all(pick.pixel_size is None for pick in picks):
        return list(picks)  # nothing to do, and quickly so for millions
    found = []
    for pick in picks:
        factor = _pixel_size(pick, frame, config, flags) / frame.pixel_size
        y = pick.y * factor
        found.append(
            dataclasses.replace(
                pick,
                x=pick.x * factor,
                y=frame.shape[0] - 1 - y if config.flip_y else y,
                diameter=None if pick.diameter is None else pick.diameter * factor,
                box_size=None if pick.box_size is None else pick.box_size * factor,
                pixel_size=frame.pixel_size,
            )
        )
    return found


def scale_flags(picks: Sequence[Pick], frame: Frame, config: ScreenConfig, flags: Sequence[str] = ()) -> List[str]:
    """Return flags of a micrograph with coordinates at another pixel size, or at another one than their file says."""
    found = []
    scaled = {_pixel_size(pick, frame, config, flags) for pick in picks} - {frame.pixel_size}
    if scaled:
        found.append(f"{COORDINATES_SCALED}={min(scaled):g}")
    given = config.coordinates_pixel_size
    others = {pick.pixel_size for pick in picks if given and pick.pixel_size and not _same(pick.pixel_size, given)}
    return found + [f"{COORDINATES_DIFFER}={min(others):g}" for _ in others][:1]


def _pixel_size(pick: Pick, frame: Frame, config: ScreenConfig, flags: Sequence[str]) -> float:
    """Return the Å/px of a coordinate; that of the micrograph if it is the same but for calibration."""
    header = next((float(flag.partition("=")[2]) for flag in flags if flag.startswith(f"{PIXEL_SIZE_DIFFERS}=")), None)
    size = config.coordinates_pixel_size or (None if _same(pick.pixel_size, header) else pick.pixel_size)
    return frame.pixel_size if size is None or _same(size, frame.pixel_size) else size


def _same(one: Optional[float], two: Optional[float]) -> bool:
    return one is not None and two is not None and abs(one - two) <= SAME_PIXEL_SIZE * two
