# SPDX-License-Identifier: GPL-3.0-or-later
"""From a class map to P(BAD), mask, classes and areas. Pure functions, no torch, no files."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from cryoice_scipion.constants import BORDER, CLASSES, GOOD, KEEP_ALL
from cryoice_scipion.core.detectors.class_map import ClassMap, Grid, Mask

MOSTLY_BAD = 0.8  # share of bad area above which the coverage alarm goes off
MOSTLY_BAD_FLAG = "mostly_bad"
_LEAST = 1e-9  # of a probability, so that its log-odds are finite
_SQUARE_ANGSTROM = 100.0  # in a square nanometre
_ROUNDING = 1e-6  # cells: a region of just the smallest area stays


@dataclasses.dataclass
class Cells:
    """Probabilities on the grid of one micrograph, after the data-set reference was taken into account."""

    probability: Grid  # (rows, columns), float32: P(BAD); 1 on border cells
    by_class: Grid  # (bad classes, rows, columns): they add up to P(BAD)
    bad_classes: List[str]  # the last one is "border"
    border: Mask  # (rows, columns)
    sampling: float  # Å, side of a cell


def probability(classmap: ClassMap, offset: float) -> Grid:
    """Return P(BAD) of each cell: sigmoid(log-odds - offset), and 1 on border cells.

    Parameters
    ----------
    classmap : ClassMap
    offset : float
        What the data-set reference says the log-odds are too high by.

    Returns
    -------
    numpy.ndarray, shape (rows, columns), float32
    """
    odds = classmap.log_odds.astype(np.float64) - offset
    bad = np.where(odds >= 0, 1.0, np.exp(np.minimum(odds, 0.0))) / (1.0 + np.exp(-np.abs(odds)))
    bad[classmap.border] = 1.0
    result: Grid = bad.astype(np.float32)
    return result


def probabilities(classmap: ClassMap, offset: float, ignore: Sequence[str] = (), min_area: float = 0.0) -> Cells:
    """Return P(BAD) and how it is shared between the bad classes.

    The offset moves good against bad; the shares of the bad classes among themselves stay as the model says.

    Parameters
    ----------
    ignore : sequence of str
        Bad classes that count as good; "border" among them makes border cells good.
    min_area : float
        nm²: a smaller bad region counts as good, at every threshold.
    """
    bad = probability(classmap, offset)
    names = [name for name in classmap.classes if name != GOOD]
    logits = classmap.logits[[classmap.classes.index(name) for name in names]].astype(np.float64)
    shares = np.exp(logits - np.logaddexp.reduce(logits, axis=0))
    by_class = np.where(classmap.border, 0.0, shares * bad)
    everything = np.concatenate([by_class, classmap.border[None].astype(np.float64)]).astype(np.float32)
    names = [*names, BORDER]
    ignored = [names.index(name) for name in ignore if name in names]
    if ignored:
        everything[ignored] = 0.0
        bad = np.minimum(everything.sum(axis=0), np.float32(1))
    border = np.zeros_like(classmap.border) if BORDER in ignore else classmap.border
    cells = Cells(bad, everything, names, border, classmap.sampling)
    return without_small_regions(cells, math.ceil(min_area * _SQUARE_ANGSTROM / classmap.sampling**2 - _ROUNDING))


def without_small_regions(cells: Cells, number: int) -> Cells:
    """Return the cells with bad regions of fewer than ``number`` cells removed, at every threshold at once.

    Regions are connected by edges and corners. P(BAD) of a removed region falls to what surrounds it: the grey-level
    area opening of Vincent (1993), doi 10.1007/978-3-662-02905-6_22. Border cells stay as they are.
    """
    if number < 2:
        return cells
    from skimage import morphology  # loads slowly

    opening: Any = morphology.area_opening  # untyped
    framed = np.pad(cells.probability, 1)  # it refuses maps of a single row or column
    framed[1:-1, 1:-1][cells.border] = 0  # else a cell beside the border would be a part of that large region
    opened: Grid = opening(framed, number, connectivity=2)[1:-1, 1:-1].astype(np.float32)
    opened[cells.border] = cells.probability[cells.border]
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.where(cells.probability > 0, opened / cells.probability, np.float32(1))
    return dataclasses.replace(cells, probability=opened, by_class=cells.by_class * left)


def good_mask(cells: Cells, threshold: float) -> Mask:
    """Return the mask: True where 1 - P(BAD) is at least the threshold."""
    mask: Mask = (1.0 - cells.probability) >= np.float32(threshold)
    return mask


def class_of_cells(cells: Cells, good: Mask) -> NDArray[np.uint8]:
    """Return the code (index into ``constants.CLASSES``) of each cell's class: good, or its likeliest bad class."""
    codes = np.array([CLASSES.index(name) for name in cells.bad_classes], dtype=np.uint8)
    likeliest: NDArray[np.uint8] = codes[cells.by_class.argmax(axis=0)]
    return np.where(good, np.uint8(CLASSES.index(GOOD)), likeliest)


def areas(codes: NDArray[np.uint8]) -> Dict[str, float]:
    """Return the share of all cells that each class takes; classes that are not there are left out."""
    counts = np.bincount(codes.ravel(), minlength=len(CLASSES))
    return {name: float(count) / codes.size for name, count in zip(CLASSES, counts) if count}


def median_logit(cells: Cells) -> Optional[float]:
    """Return the median log-odds of BAD over the cells that are not border; None when all are."""
    inside = cells.probability[~cells.border].astype(np.float64)
    return float(np.median(logit(np.clip(inside, _LEAST, 1 - _LEAST)))) if inside.size else None


def bad_area(cells: Cells, good: Mask) -> float:
    """Return the share of bad cells among those that are not border; 1 when all are border."""
    inside = ~cells.border
    return float((~good[inside]).mean()) if inside.any() else 1.0


def mask_threshold(threshold: Optional[float], recommended: float) -> float:
    """Return where masks are cut: at the threshold given, else (None, or -1 = keep all) at the recommended one."""
    return recommended if threshold is None or threshold == KEEP_ALL else threshold
