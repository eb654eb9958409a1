# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe the regions of bad area on a map: class, confidence, size, box and outline. No torch, no files."""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryoice_scipion.constants import UNCERTAIN
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.maps.bad_area import Cells
from cryoice_scipion.core.records import Region
from cryoice_scipion.core.regions.confidence import UNCERTAIN_BELOW, default_confidence
from cryoice_scipion.core.regions.evidence import evidence_of_regions
from cryoice_scipion.core.regions.instances import Labels, find_instances

_TOLERANCE = 0.5  # cells: how far an outline may deviate
_SQUARE_ANGSTROM = 100.0  # in a square nanometre


def find_regions(cells: Cells, threshold: float, frame: Frame) -> Tuple[List[Region], Labels]:
    """Return the regions of a map, the largest first, and the number of the region of each cell (0: none).

    Parameters
    ----------
    cells : Cells
        P(BAD) by class, with the settings applied.
    threshold : float
        Smallest goodness, 1 - P(BAD), of a good cell.
    frame : Frame
        Shape and pixel size of the micrograph.
    """
    labels, classes = find_instances(cells, threshold)
    if not classes:
        return [], labels
    confidences = default_confidence().confidences_of(evidence_of_regions(cells, labels, classes), classes)
    found = []
    for number, (box, name) in enumerate(zip(ndimage.find_objects(labels, len(classes)), classes), 1):
        confidence = float(confidences[number - 1])
        mask = labels[box] == number
        area = float(mask.sum()) * cells.sampling**2
        x, y, width, height = box_in_px(box, cells.sampling, frame)
        found.append(
            Region(
                id=number,
                cls=name if confidence >= UNCERTAIN_BELOW else UNCERTAIN,
                likeliest=name,
                confidence=round(confidence, 4),
                x=x,
                y=y,
                width=width,
                height=height,
                area=round(area / _SQUARE_ANGSTROM, 1),
                diameter=round(2 * float(np.sqrt(area / np.pi)), 1),
                outline=outline_of(mask, (box[0].start, box[1].start), cells.sampling, frame),
            )
        )
    return found, labels


def box_in_px(box: Sequence[slice], sampling: float, frame: Frame) -> Tuple[float, float, float, float]:
    """Return left and top edge, width and height in px of a part of the map; it ends at the edge of the micrograph."""
    scale = sampling / frame.pixel_size
    top, left = (part.start * scale for part in box)
    bottom, right = (min(part.stop * scale, float(size)) for part, size in zip(box, frame.shape))
    return round(left, 1), round(top, 1), round(right - left, 1), round(bottom - top, 1)


def outline_of(mask: NDArray[np.bool_], corner: Tuple[int, int], sampling: float, frame: Frame) -> List[List[float]]:
    """Return x and y in px of the corners of a region's outer outline.

    Parameters
    ----------
    mask : numpy.ndarray, shape (rows, columns)
        The cells of the region, connected by edges or corners.
    corner : (int, int)
        Row and column of the first cell of the mask on the map.
    """
    from skimage import measure  # loads slowly

    measuring: Any = measure  # untyped
    contours = measuring.find_contours(np.pad(mask, 1).astype(np.float32), 0.5, fully_connected="high")
    longest = max(contours, key=len)
    points = measuring.approximate_polygon(longest, _TOLERANCE)[:-1] - 0.5  # a cell's middle is at half a cell
    scale = sampling / frame.pixel_size
    limits = np.array(frame.shape, dtype=np.float64)
    in_px = np.clip((points + np.array(corner)) * scale, 0, limits)
    return [[round(float(x), 1), round(float(y), 1)] for y, x in in_px]
