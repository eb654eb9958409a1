# SPDX-License-Identifier: GPL-3.0-or-later
"""Outline the bad areas of a micrograph as SVG paths, each with its class, confidence and area."""

from __future__ import annotations

from typing import Any, Dict, List

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryoice_scipion.constants import BORDER, CLASSES, GOOD
from cryoice_scipion.core.detectors.class_map import Mask
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.maps.bad_area import Cells, class_of_cells

_TOUCHING = np.ones((3, 3), dtype=bool)
_SQUARE_ANGSTROM = 100.0  # in a square nanometre


def outlines_of(cells: Cells, good: Mask, frame: Frame) -> List[Dict[str, Any]]:
    """Return the bad areas, largest first.

    Parameters
    ----------
    cells : Cells
        P(BAD) by class.
    good : numpy.ndarray, bool
        The mask: True is good.
    frame : Frame
        Shape and pixel size of the micrograph.

    Returns
    -------
    list of dict
        class, confidence (mean probability of the class inside; None for the border), area in nm², box (x, y, width,
        height) and path, both in px of the micrograph.
    """
    codes = class_of_cells(cells, good)
    found = []
    for code in np.unique(codes[~good]):
        name = CLASSES[code]
        if name == GOOD:
            continue
        labels, _ = ndimage.label(codes == code, structure=_TOUCHING)
        probability = cells.by_class[cells.bad_classes.index(name)]
        for number, window in enumerate(ndimage.find_objects(labels), 1):
            part = labels[window] == number
            confidence = None if name == BORDER else round(float(probability[window][part].mean()), 3)
            area = float(part.sum()) * cells.sampling**2 / _SQUARE_ANGSTROM
            found.append(
                {"class": name, "confidence": confidence, "area": round(area), **_shape(part, window, cells, frame)}
            )
    return sorted(found, key=lambda one: -float(one["area"]))


def _shape(part: NDArray[np.bool_], window: Any, cells: Cells, frame: Frame) -> Dict[str, Any]:
    """Return box and path of one area in px of the micrograph."""
    from skimage import measure  # loads slowly

    find_contours: Any = measure.find_contours  # untyped
    scale = cells.sampling / frame.pixel_size
    top, left = window[0].start, window[1].start
    high, wide = frame.shape[0], frame.shape[1]
    pieces = []
    for line in find_contours(np.pad(part, 1).astype(np.float32), 0.5):
        y = np.clip((line[:, 0] + top - 0.5) * scale, 0, high)
        x = np.clip((line[:, 1] + left - 0.5) * scale, 0, wide)
        points = [f"{a:.0f} {b:.0f}" for a, b in zip(x, y)]
        pieces.append(f"M{points[0]}L{' '.join(points[1:])}Z")
    box = (left * scale, top * scale, part.shape[1] * scale, part.shape[0] * scale)
    return {"box": [round(value) for value in box], "path": "".join(pieces)}
