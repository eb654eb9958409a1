# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring coordinates to pixels of their micrograph: scale them from other pixel sizes, and flip rows if asked."""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Optional, Sequence

from cryoice_scipion.constants import COORDINATES_DIFFER, COORDINATES_SCALED, PIXEL_SIZE_DIFFERS
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.images.grid import Frame, is_same_pixel_size
from cryoice_scipion.core.records import Pick, number_in_flag


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
    sizes = _pixel_sizes(picks, frame, config, flags)
    if not config.flip_y and set(sizes.values()) <= {frame.pixel_size}:
        return list(picks)
    found = []
    for pick in picks:
        factor = sizes[pick.pixel_size] / frame.pixel_size
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
    sizes = _pixel_sizes(picks, frame, config, flags)
    scaled = sorted(set(sizes.values()) - {frame.pixel_size})
    given = config.coordinates_pixel_size
    others = sorted(size for size in sizes if given and size and not is_same_pixel_size(size, given))
    return [f"{COORDINATES_SCALED}={size:g}" for size in scaled[:1]] + [
        f"{COORDINATES_DIFFER}={size:g}" for size in others[:1]
    ]


def _pixel_sizes(
    picks: Sequence[Pick], frame: Frame, config: ScreenConfig, flags: Sequence[str]
) -> Dict[Optional[float], float]:
    """Return the Å/px to use for each pixel size of the picks; that of the micrograph where it is the same."""
    header = number_in_flag(flags, PIXEL_SIZE_DIFFERS)
    used: Dict[Optional[float], float] = {}
    for size in {pick.pixel_size for pick in picks}:
        known = None if size and header and is_same_pixel_size(size, header) else size
        known = config.coordinates_pixel_size or known
        same = known is None or is_same_pixel_size(known, frame.pixel_size)
        used[size] = frame.pixel_size if same or known is None else known
    return used
