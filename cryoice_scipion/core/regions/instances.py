# SPDX-License-Identifier: GPL-3.0-or-later
"""Divide the bad area of a map into regions. No torch, no files.

A region begins where P(BAD) is above the threshold, and extends as far as the log-odds are at most ``EXTENT`` lower
(hysteresis). Each of its cells has the likeliest class of its neighbourhood; areas of different classes are different
regions. Deposits and crystals that touch are separated at their necks, by a watershed of the distance from the rim.
Films, thick ice and empty areas stay whole.
"""

from __future__ import annotations

import dataclasses
from typing import Any, List, Tuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit, logit

from cryoice_scipion.constants import BAD, BORDER
from cryoice_scipion.core.maps.bad_area import Cells, good_mask

THINGS = ("crystalline", "contamination", "aggregate", BAD)  # classes whose regions are separated at necks
EXTENT = 2.0  # log-odds below the threshold
NECK = 2.0  # a neck is narrower than both parts by this factor
_ROUGH = 2.0  # cells: added to widths, so that the steps of an outline make no necks
_SMOOTH = 3.0  # cells, standard deviation: the neighbourhood that decides the class of a cell
_MARGIN = 12  # cells around the bad area that have a part in it: the reach of the filter with _SMOOTH
#: A smaller area of another class belongs to the area around it: share of the connected bad area, and at most cells.
_PART, _PART_CELLS = 0.15, 150
_TINY = 1e-6
EIGHT = np.ones((3, 3), dtype=bool)

Labels = NDArray[np.int32]


def find_instances(cells: Cells, threshold: float) -> Tuple[Labels, List[str]]:
    """Return the regions of a map.

    Parameters
    ----------
    cells : Cells
        P(BAD) by class, with the settings applied.
    threshold : float
        Smallest goodness, 1 - P(BAD), of a good cell.

    Returns
    -------
    labels : numpy.ndarray, shape (rows, columns), int32
        Number of the region of each cell, from 1; 0: none. The largest regions have the lowest numbers.
    classes : list of str
        Class of each region.
    """
    bad = np.where(cells.border, np.float32(0), cells.probability)
    low = float(expit(logit(np.clip(1.0 - threshold, _TINY, 1 - _TINY)) - EXTENT))
    seeds = ~good_mask(cells, threshold) & ~cells.border
    labels = np.zeros(bad.shape, dtype=np.int32)
    grown = _grown((bad > low) | seeds, seeds)
    if not grown.any():
        return labels, []
    near = _with_margin(grown)
    grown, seeds = grown[near], seeds[near]
    likeliest, names = _classes_of(dataclasses.replace(cells, by_class=cells.by_class[(slice(None), *near)]), grown)
    parts: List[NDArray[np.bool_]] = []
    classes: List[str] = []
    for index, name in enumerate(names):
        found, number = ndimage.label(grown & (likeliest == index), structure=EIGHT)
        if name in THINGS:
            found = separated(found)
            number = int(found.max(initial=0))
        for one in range(1, number + 1):
            part = found == one
            if seeds[part].any():
                parts.append(part)
                classes.append(name)
    order = sorted(range(len(parts)), key=lambda one: -int(parts[one].sum()))
    for number, one in enumerate(order, 1):
        labels[near][parts[one]] = number
    return labels, [classes[one] for one in order]


def separated(labels: Any, neck: float = NECK) -> Any:
    """Return connected regions divided where a neck is narrower than both parts by this factor, numbered from 1."""
    if not labels.any():
        return labels
    from skimage import morphology, segmentation  # loads slowly

    maxima: Any = morphology.h_maxima  # untyped
    watershed: Any = segmentation.watershed
    distance = np.log(_ROUGH + ndimage.distance_transform_edt(np.pad(labels > 0, 1, mode="edge"))[1:-1, 1:-1])
    peaks = maxima(distance, np.log(neck))
    alone = np.setdiff1d(np.arange(1, labels.max() + 1), labels[peaks > 0])
    peaks = (peaks > 0) | np.isin(labels, alone)
    markers = ndimage.label(peaks & (labels > 0), structure=EIGHT)[0]
    return watershed(-distance, markers, connectivity=EIGHT, mask=labels > 0)


def _with_margin(area: NDArray[np.bool_]) -> Tuple[slice, slice]:
    """Return the part of the map that holds an area, with ``_MARGIN`` cells around it."""
    rows, columns = (np.flatnonzero(area.any(axis=axis)) for axis in (1, 0))
    return (
        slice(max(0, rows[0] - _MARGIN), rows[-1] + 1 + _MARGIN),
        slice(max(0, columns[0] - _MARGIN), columns[-1] + 1 + _MARGIN),
    )


def _classes_of(cells: Cells, grown: NDArray[np.bool_]) -> Tuple[NDArray[np.intp], List[str]]:
    """Return the class of each cell of the bad area as an index, and the names of the classes."""
    names = [name for name in cells.bad_classes if name != BORDER]
    inside = np.where(grown, cells.by_class[: len(names)], 0.0)
    likeliest: NDArray[np.intp] = ndimage.gaussian_filter(inside, (0, _SMOOTH, _SMOOTH)).argmax(axis=0)
    areas, _ = ndimage.label(grown, structure=EIGHT)
    for area, box in enumerate(ndimage.find_objects(areas), 1):
        mask = areas[box] == area
        least = min(_PART * float(mask.sum()), _PART_CELLS)
        small = np.zeros(mask.shape, dtype=bool)
        present = np.unique(likeliest[box][mask])
        if len(present) == 1:
            continue
        for index in present:
            parts, count = ndimage.label(mask & (likeliest[box] == index), structure=EIGHT)
            sizes = np.bincount(parts.ravel(), minlength=count + 1)
            small |= (sizes < least)[parts] & (parts > 0)
        if not (mask & ~small).any():
            likeliest[box][mask] = int(inside[(slice(None), *box)][:, mask].sum(axis=1).argmax())
            continue
        near = ndimage.distance_transform_edt(small | ~mask, return_distances=False, return_indices=True)
        likeliest[box] = np.where(small, likeliest[box][tuple(near)], likeliest[box])
    return likeliest, names


def _grown(low: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the connected areas of ``low`` that hold a seed."""
    labels, number = ndimage.label(low, structure=EIGHT)
    keep = np.zeros(number + 1, dtype=bool)
    keep[np.unique(labels[seeds])] = True
    keep[0] = False
    grown: NDArray[np.bool_] = keep[labels]
    return grown
