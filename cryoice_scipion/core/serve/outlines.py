# SPDX-License-Identifier: GPL-3.0-or-later
"""Return the regions of bad area of a micrograph as the page draws them: SVG paths with class and confidence."""

from __future__ import annotations

from typing import Any, Dict, List

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryoice_scipion.constants import BORDER, CLASSES
from cryoice_scipion.core.detectors.class_map import Mask
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.maps.bad_area import Cells, class_of_cells
from cryoice_scipion.core.regions.finding import find_regions


def outlines_of(cells: Cells, threshold: float, frame: Frame) -> List[Dict[str, Any]]:
    """Return the regions, largest first, and the border.

    Parameters
    ----------
    cells : Cells
        P(BAD) by class.
    threshold : float
        Smallest goodness of a good cell.
    frame : Frame
        Shape and pixel size of the micrograph.

    Returns
    -------
    list of dict
        class, likeliest (the class before the confidence is judged), confidence (None for the border), area in nm²,
        box (x, y, width, height) and path, both in px of the micrograph.
    """
    regions, labels = find_regions(cells, threshold, frame)
    windows = ndimage.find_objects(labels, len(regions))
    found = [
        {
            "class": one.cls,
            "likeliest": one.likeliest,
            "confidence": one.confidence,
            "area": round(one.area),
            "box": [one.x, one.y, one.width, one.height],
            "path": _path(labels[window] == one.id, window, cells.sampling, frame),
        }
        for one, window in zip(regions, windows)
    ]
    if cells.border.any():
        window = ndimage.find_objects(cells.border.astype(np.int8))[0]
        path = _path(cells.border[window], window, cells.sampling, frame)
        area = round(float(cells.border.sum()) * cells.sampling**2 / 100.0)  # Å² in nm²
        box = [0, 0, frame.shape[1], frame.shape[0]]
        found.append({"class": BORDER, "likeliest": BORDER, "confidence": None, "area": area, "box": box, "path": path})
    return found


def mask_paths(cells: Cells, good: Mask, frame: Frame) -> List[Dict[str, str]]:
    """Return the bad area at a threshold: a path for each class, in px of the micrograph.

    Regions extend a little further than this area, because a region is found by hysteresis.
    """
    codes = class_of_cells(cells, good)
    whole = (slice(0, None), slice(0, None))
    return [
        {"class": CLASSES[code], "path": _path((codes == code) & ~good, whole, cells.sampling, frame)}
        for code in np.unique(codes[~good])
    ]


def _path(part: NDArray[np.bool_], window: Any, sampling: float, frame: Frame) -> str:
    """Return the outline of a part of the map, with its holes, in px of the micrograph."""
    from skimage import measure  # loads slowly

    find_contours: Any = measure.find_contours  # untyped
    scale = sampling / frame.pixel_size
    pieces = []
    for line in find_contours(np.pad(part, 1).astype(np.float32), 0.5):
        y = np.clip((line[:, 0] + window[0].start - 0.5) * scale, 0, frame.shape[0])
        x = np.clip((line[:, 1] + window[1].start - 0.5) * scale, 0, frame.shape[1])
        points = [f"{a:.0f} {b:.0f}" for a, b in zip(x, y)]
        pieces.append(f"M{points[0]}L{' '.join(points[1:])}Z")
    return "".join(pieces)
