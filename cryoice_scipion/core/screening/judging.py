# SPDX-License-Identifier: GPL-3.0-or-later
"""From a class map to P(BAD), classes, areas and the scores of coordinates. Pure functions, no torch, no files."""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.constants import BORDER, CLASSES, GOOD, KEEP_ALL, OUTSIDE
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.records import Pick, PickScore
from cryoice_scipion.core.screening.classmap import ClassMap, Grid, Mask

POINTS = 512  # of a disc: its mean is then exact to about 1 % of the step between neighbouring cells
MOSTLY_BAD = 0.8  # share of bad area above which the coverage alarm goes off
MOSTLY_BAD_FLAG = "mostly_bad"
_CHUNK = 512  # coordinates scored at once: bounds the memory
_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


@dataclasses.dataclass
class Cells:
    """Probabilities on the grid of one micrograph, after the data-set reference was taken into account."""

    probability: Grid  # (rows, columns), float32: P(BAD); 1 on border cells
    by_class: Grid  # (bad classes, rows, columns): they add up to P(BAD)
    bad_classes: List[str]  # the last one is "border"
    border: Mask  # (rows, columns)
    sampling: float  # Å, side of a cell


def probability(classmap: ClassMap, shift: float) -> Grid:
    """Return P(BAD) of each cell: sigmoid(log-odds - shift), and 1 on border cells.

    Parameters
    ----------
    classmap : ClassMap
    shift : float
        What the data-set reference says the log-odds are too high by.

    Returns
    -------
    numpy.ndarray, shape (rows, columns), float32
    """
    odds = classmap.log_odds.astype(np.float64) - shift
    bad = np.where(odds >= 0, 1.0, np.exp(np.minimum(odds, 0.0))) / (1.0 + np.exp(-np.abs(odds)))
    bad[classmap.border] = 1.0
    result: Grid = bad.astype(np.float32)
    return result


def probabilities(classmap: ClassMap, shift: float) -> Cells:
    """Return P(BAD) and how it is shared between the bad classes.

    The shift moves good against bad; the shares of the bad classes among themselves stay as the model says.
    """
    bad = probability(classmap, shift)
    names = [name for name in classmap.classes if name != GOOD]
    logits = classmap.logits[[classmap.classes.index(name) for name in names]].astype(np.float64)
    shares = np.exp(logits - np.logaddexp.reduce(logits, axis=0))
    by_class = np.where(classmap.border, 0.0, shares * bad)
    everything = np.concatenate([by_class, classmap.border[None].astype(np.float64)]).astype(np.float32)
    return Cells(bad, everything, [*names, BORDER], classmap.border, classmap.sampling)


def good_mask(cells: Cells, threshold: float) -> Mask:
    """Return the mask: True where 1 - P(BAD) is at least the threshold."""
    mask: Mask = (1.0 - cells.probability) >= np.float32(threshold)
    return mask


def class_of_cells(cells: Cells, good: Mask) -> NDArray[np.uint8]:
    """Return the code (place in ``constants.CLASSES``) of each cell's class: good, or its likeliest bad class."""
    codes = np.array([CLASSES.index(name) for name in cells.bad_classes], dtype=np.uint8)
    likeliest: NDArray[np.uint8] = codes[cells.by_class.argmax(axis=0)]
    return np.where(good, np.uint8(CLASSES.index(GOOD)), likeliest)


def areas(codes: NDArray[np.uint8]) -> Dict[str, float]:
    """Return the share of all cells that each class takes; classes that are not there are left out."""
    counts = np.bincount(codes.ravel(), minlength=len(CLASSES))
    return {name: float(count) / codes.size for name, count in zip(CLASSES, counts) if count}


def bad_area(cells: Cells, good: Mask) -> float:
    """Return the share of bad cells among those that are not border; 1 when all are border."""
    inside = ~cells.border
    return float((~good[inside]).mean()) if inside.any() else 1.0


def mask_threshold(threshold: Optional[float], recommended: float) -> float:
    """Return where masks are cut: at the threshold given, else (None, or -1 = keep all) at the recommended one."""
    return recommended if threshold is None or threshold == KEEP_ALL else threshold


def diameter_of(pick: Pick, config: ScreenConfig, what: object) -> float:
    """Return a particle's diameter in px.

    Raises
    ------
    CoordinatesError
        When neither the coordinate nor the settings say it.
    """
    diameter = pick.diameter or config.diameter
    if not diameter:
        raise CoordinatesError(
            what,
            "the particles' size is not known",
            "give it in px of the micrograph with --box-size (in Scipion: box size)",
        )
    return diameter


def disc_points(number: int = POINTS) -> Tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of points that cover the unit disc evenly.

    The sunflower pattern of Vogel (1979), Mathematical Biosciences 44:179.
    """
    steps = np.arange(number)
    radius = np.sqrt((steps + 0.5) / number)
    return radius * np.cos(steps * _GOLDEN_ANGLE), radius * np.sin(steps * _GOLDEN_ANGLE)


def disc_means(
    cells: Cells,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    radius: NDArray[np.float64],
    pixel_size: float,
    shape: Sequence[int],
) -> NDArray[np.float64]:
    """Return the mean of P(BAD) and of each bad class over discs, as far as they lie inside the frame.

    Parameters
    ----------
    x, y : numpy.ndarray, shape (n,)
        Centres in px of the micrograph.
    radius : numpy.ndarray, shape (n,)
        Å.
    pixel_size : float
        Å/px.
    shape : sequence of int
        Rows and columns of the micrograph, px.

    Returns
    -------
    numpy.ndarray, shape (1 + bad classes, n)
        First row: P(BAD). NaN where the centre is outside the frame.
    """
    across, down = disc_points()
    stack = np.concatenate([cells.probability[None], cells.by_class]).astype(np.float64)
    rows, columns = cells.probability.shape
    height, width = shape[0] * pixel_size, shape[1] * pixel_size
    means = np.full((len(stack), len(x)), np.nan)
    for start in range(0, len(x), _CHUNK):
        part = slice(start, start + _CHUNK)
        at_x = x[part, None] * pixel_size + radius[part, None] * across
        at_y = y[part, None] * pixel_size + radius[part, None] * down
        inside = (at_x >= 0) & (at_x < width) & (at_y >= 0) & (at_y < height)
        column = np.clip(np.where(inside, at_x, 0) // cells.sampling, 0, columns - 1).astype(np.intp)
        row = np.clip(np.where(inside, at_y, 0) // cells.sampling, 0, rows - 1).astype(np.intp)
        number = np.maximum(inside.sum(axis=1), 1)
        means[:, part] = np.where(inside, stack[:, row, column], 0.0).sum(axis=2) / number
    within = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
    means[:, ~within] = np.nan
    return means


def score_picks(
    cells: Cells,
    picks: Sequence[Pick],
    diameters: Sequence[float],
    pixel_size: float,
    shape: Sequence[int],
    margin: float,
    threshold: Optional[float],
    recommended: float,
    discarded: bool = False,
) -> List[PickScore]:
    """Return the judgement of each coordinate.

    Parameters
    ----------
    diameters : sequence of float
        Of each particle, px of the micrograph.
    margin : float
        Å that are added to each radius.
    threshold : float, optional
        Kept is what has a goodness of at least this; None: the recommended one; -1: everything is kept.
    recommended : float
        The model's own threshold.
    discarded : bool
        Whether the micrograph is discarded: nothing is kept then, the goodness stays.

    Notes
    -----
    The class is "good" when the goodness reaches the threshold of the mask, else the bad class with the largest mean
    probability over the disc: so that a coordinate on carbon says so even when everything is kept.
    """
    if not picks:
        return []
    x = np.array([pick.x for pick in picks], dtype=np.float64)
    y = np.array([pick.y for pick in picks], dtype=np.float64)
    radius = np.asarray(diameters, dtype=np.float64) / 2 * pixel_size + margin
    means = disc_means(cells, x, y, radius, pixel_size, shape)
    cut = mask_threshold(threshold, recommended)
    scores = []
    for pick, column in zip(picks, means.T):
        goodness = None if np.isnan(column[0]) else float(1.0 - column[0])
        kept = threshold == KEEP_ALL or (goodness is not None and goodness >= cut)
        scores.append(PickScore(pick.id, goodness, _class_of(goodness, cut, column[1:], cells), kept and not discarded))
    return scores


def _class_of(goodness: Optional[float], cut: float, by_class: NDArray[np.float64], cells: Cells) -> str:
    if goodness is None:
        return OUTSIDE
    if goodness >= cut or not by_class.max() > 0:
        return GOOD
    return cells.bad_classes[int(by_class.argmax())]
