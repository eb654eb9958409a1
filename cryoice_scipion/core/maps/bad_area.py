# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute P(BAD), mask, classes and areas from a class map. Pure functions, no torch, no files."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import logit, softmax

from cryoice_scipion.constants import BORDER, CLASSES, GOOD, KEEP_ALL
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.class_map import ClassMap, Grid, Mask

MOSTLY_BAD = 0.8  # share of bad area above which a micrograph is flagged as mostly bad
MOSTLY_BAD_FLAG = "mostly_bad"
_LEAST = 1e-9  # smallest probability, so that log-odds are finite
_SQUARE_ANGSTROM = 100.0  # in a square nanometre
_NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
_ROUNDING = 1e-6  # cells: a region of exactly the smallest area is kept


@dataclasses.dataclass
class Cells:
    """Probabilities on the grid of one micrograph, with the session baseline subtracted and the settings applied."""

    probability: Grid  # (rows, columns), float32: P(BAD); 1 on border cells
    by_class: Grid  # (bad classes, rows, columns); their sum is P(BAD)
    bad_classes: List[str]  # the last one is "border"
    border: Mask  # (rows, columns)
    sampling: float  # Å, side of a cell


def probability(classmap: ClassMap, offset: float) -> Grid:
    """Return P(BAD) of each cell: sigmoid(log-odds - offset), and 1 on border cells.

    Parameters
    ----------
    classmap : ClassMap
    offset : float
        Log-odds of the session baseline, subtracted from the log-odds of BAD.

    Returns
    -------
    numpy.ndarray, shape (rows, columns), float32
    """
    odds = classmap.log_odds.astype(np.float64) - offset
    bad = np.exp(np.minimum(odds, 0.0)) / (1.0 + np.exp(-np.abs(odds)))
    bad[classmap.border] = 1.0
    result: Grid = bad.astype(np.float32)
    return result


def probabilities(classmap: ClassMap, offset: float, ignore: Sequence[str] = (), min_area: float = 0.0) -> Cells:
    """Return P(BAD) with the settings applied, and how it is divided between the bad classes.

    Parameters
    ----------
    offset : float
        As in :func:`probability`.
    ignore, min_area : sequence of str, float
        As in :func:`cells_of`.
    """
    return cells_of(classmap, probability(classmap, offset), ignore, min_area)


def cells_of(classmap: ClassMap, bad: Grid, ignore: Sequence[str] = (), min_area: float = 0.0) -> Cells:
    """Divide P(BAD) between the bad classes in the ratios of the class map, and apply the settings.

    Parameters
    ----------
    bad : numpy.ndarray, shape (rows, columns), float32
        P(BAD) from :func:`probability`. Not changed.
    ignore : sequence of str
        Bad classes that count as good. With "border", border cells count as good.
    min_area : float
        nm²: a smaller bad region counts as good, at every threshold.
    """
    names = [name for name in classmap.classes if name != GOOD]
    logits = classmap.logits[[classmap.classes.index(name) for name in names]].astype(np.float64)
    by_class = np.where(classmap.border, 0.0, softmax(logits, axis=0) * bad)
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
    """Remove bad regions of fewer than ``number`` cells, for all thresholds at once.

    Regions are connected by edges and corners. P(BAD) of a removed region becomes that of its surroundings: a
    grey-level area opening (Vincent 1993, doi 10.1007/978-3-662-02905-6_22). Border cells do not change.
    """
    if number < 2:
        return cells
    framed = np.pad(cells.probability, 1)  # area_opening does not accept a single row or column
    framed[1:-1, 1:-1][cells.border] = 0  # otherwise cells next to the border would belong to one large region
    opened: Grid = _area_opening(framed, number)[1:-1, 1:-1].astype(np.float32)
    opened[cells.border] = cells.probability[cells.border]
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.where(cells.probability > 0, opened / cells.probability, np.float32(1))
    return dataclasses.replace(cells, probability=opened, by_class=cells.by_class * left)


def _area_opening(values: Grid, number: int) -> Grid:
    """Return the area opening of a map: regions of fewer than ``number`` cells are removed at each threshold."""
    if number == 2:  # a single cell falls to its highest neighbour: a hundred times as fast as the general way
        return np.minimum(values, ndimage.maximum_filter(values, footprint=_NEIGHBOURS))
    from skimage import morphology  # loads slowly

    opening: Any = morphology.area_opening  # untyped
    opened: Grid = opening(values, number, connectivity=2)
    return opened


def good_mask(cells: Cells, threshold: float) -> Mask:
    """Return the mask: True where 1 - P(BAD) is at least the threshold."""
    mask: Mask = (1.0 - cells.probability) >= np.float32(threshold)
    return mask


def class_of_cells(cells: Cells, good: Mask) -> NDArray[np.uint8]:
    """Return the class of each cell as an index into ``constants.CLASSES``: good, or the likeliest bad class."""
    codes = np.array([CLASSES.index(name) for name in cells.bad_classes], dtype=np.uint8)
    likeliest: NDArray[np.uint8] = codes[cells.by_class.argmax(axis=0)]
    return np.where(good, np.uint8(CLASSES.index(GOOD)), likeliest)


def areas(codes: NDArray[np.uint8]) -> Dict[str, float]:
    """Return the share of all cells that belong to each class; absent classes are left out."""
    counts = np.bincount(codes.ravel(), minlength=len(CLASSES))
    return {name: float(count) / codes.size for name, count in zip(CLASSES, counts) if count}


def median_logit(cells: Cells) -> Optional[float]:
    """Return the median log-odds of BAD over the cells that are not border; None if all cells are border."""
    inside = cells.probability[~cells.border].astype(np.float64)
    return float(np.median(logit(np.clip(inside, _LEAST, 1 - _LEAST)))) if inside.size else None


def bad_area(cells: Cells, good: Mask) -> float:
    """Return the share of bad cells among the cells that are not border; 1 if all cells are border."""
    inside = ~cells.border
    return float((~good[inside]).mean()) if inside.any() else 1.0


def why_discarded(area: float, grade: str, config: ScreenConfig) -> str:
    """Return why a micrograph with this share of bad area and this grade is discarded; empty: it is accepted."""
    reasons = [f"bad area {area:.3f} is more than {config.max_bad_area:g}"] if area > config.max_bad_area else []
    reasons += [f"its grade is {grade}"] if grade in config.reject_grades else []
    return "; ".join(reasons)


def mask_threshold(threshold: Optional[float], recommended: float) -> float:
    """Return the threshold of masks: the given one, or the recommended one for None and -1 (keep all)."""
    return recommended if threshold is None or threshold == KEEP_ALL else threshold
