# SPDX-License-Identifier: GPL-3.0-or-later
"""Borders that are no data: padded, zero-filled, or smeared by the alignment of the movie.

Two tests, both blind to brightness, so that carbon or vacuum at a side is not taken for a border:

* Lines. A smeared border repeats one line: it has contrast along the line and hardly any from one line to
  the next. The ratio of the two is near that of the interior in any image (film edges raise it) and near 0 in
  a smear, low-passed or JPEG-compressed or not. Lines that are constant, or equal to the next, count exactly.
* Blocks. Areas of exactly one value that touch a side, whatever their extent.
"""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_DEEPEST = 0.25  # share of the side that a border of lines can take; what seems deeper is a property of the image
_SMEARED = 0.35  # of the interior's ratio: certainly smeared
_DATA = 0.75  # of the interior's ratio: data again (a filter after the alignment makes the step soft)
_SHORTEST_SMEAR = 6  # lines, unless they are exact copies
_CONSTANT = 0.01  # of the interior's contrast along a line: constant but for JPEG noise
_BLOCK = 16  # px
_SAMPLE = 1024  # px of a line, lines of the interior: enough for the statistics
_SMALLEST_SIDE = 64  # px; smaller images have no borders that could be told


def find_border(image: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return where an image has no data of its own.

    Parameters
    ----------
    image : float32 (rows, columns)
        Pixels that are NaN or infinite count as constant.

    Returns
    -------
    bool (rows, columns)
        True = border. All False on a micrograph without one.
    """
    border = np.zeros(image.shape, dtype=bool)
    if min(image.shape) < _SMALLEST_SIDE:
        return border
    image = _finite(image)
    rows, columns = image.shape
    top, bottom, left, right = _line_depths(image)
    border[:top] = True
    border[rows - bottom :] = True
    border[:, :left] = True
    border[:, columns - right :] = True
    _add_constant_areas(image, border)
    return border


def _finite(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if np.isfinite(image.sum(dtype=np.float64)):
        return image
    finite = np.isfinite(image)
    return np.where(finite, image, np.float32(np.median(image[finite][::16]) if finite.any() else 0))


def _line_depths(image: npt.NDArray[np.float32]) -> Tuple[int, int, int, int]:
    """Return how many lines are border at the top, bottom, left and right."""
    rows, columns = (_middle(length) for length in image.shape)
    by_rows = _interior(image[rows, columns])
    by_columns = _interior(image[rows, columns].T)
    return (
        _depth(image, columns, *by_rows),
        _depth(image[::-1], columns, *by_rows),
        _depth(image.T, rows, *by_columns),
        _depth(image[:, ::-1].T, rows, *by_columns),
    )


def _middle(length: int) -> slice:
    """Return the middle half of a side, clear of the borders of the other two sides, or less of a long one."""
    half = min(length // 2, _SAMPLE)
    return slice((length - half) // 2, (length - half) // 2 + half)


def _interior(lines: npt.NDArray[np.float32]) -> Tuple[float, float]:
    """Return the median contrast along a line, and the median ratio, of lines inside the image."""
    across, along = _contrasts(lines)
    return float(np.median(along)), float(np.median(across / np.maximum(along, np.finfo(np.float32).tiny)))


def _contrasts(lines: npt.NDArray[np.float32]) -> Tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the mean absolute difference to the next line, and along the line, of all lines but the last."""
    lines = np.ascontiguousarray(lines)
    across = np.abs(lines[1:] - lines[:-1]).mean(axis=1, dtype=np.float64)
    along = np.abs(lines[:-1, 1:] - lines[:-1, :-1]).mean(axis=1, dtype=np.float64)
    return across, along


def _depth(lines: npt.NDArray[np.float32], middle: slice, contrast: float, ratio: float) -> int:
    """Return how many of the lines, from the outermost inwards, are border."""
    deepest = int(len(lines) * _DEEPEST)
    across, along = _contrasts(lines[: deepest + 1, middle])
    constant = along <= _CONSTANT * contrast
    # Vacuum that is saturated in the middle of a side only is not a constant line.
    whole = _leading(constant)
    constant[:whole] = _contrasts(lines[: whole + 1])[1] <= _CONSTANT * contrast
    constant[whole:] = False
    exact = _leading(constant | ((across == 0) & (along > 0)))
    relative = across / np.maximum(along * ratio, np.finfo(np.float32).tiny)
    relative[along <= _CONSTANT * contrast] = 1
    end = _smear_end(relative < _SMEARED)
    if end:
        end += _leading(relative[end:] < _DATA)
    depth = max(exact, end)
    return depth if depth < deepest else 0


def _smear_end(smeared: npt.NDArray[np.bool_]) -> int:
    """Return where a smear that belongs to the side ends, or 0.

    A filter after the alignment wraps around and blurs the outermost lines, so the run of smeared lines may
    begin inside; it must then be longer than what lies outside it.
    """
    steps = np.diff(np.concatenate([[False], smeared, [False]]).astype(np.int8))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    belongs = ends - starts >= np.maximum(starts, _SHORTEST_SMEAR)
    return int(ends[belongs][-1]) if belongs.any() else 0


def _leading(flags: npt.NDArray[np.bool_]) -> int:
    """Return how many flags are True before the first False."""
    return int(np.argmin(flags)) if not flags.all() else len(flags)


def _add_constant_areas(image: npt.NDArray[np.float32], border: npt.NDArray[np.bool_]) -> None:
    """Mark areas of one value that hold whole blocks and touch a side."""
    low, high, row_starts, column_starts = _block_extrema(image)
    flat = low == high
    if not flat.any():
        return
    for value in np.unique(low[flat])[:64]:
        labels, _ = ndimage.label(flat & (low == value))
        sides = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        touching = np.isin(labels, np.unique(sides[sides > 0]))
        if touching.any():
            near = ndimage.binary_dilation(touching, np.ones((3, 3), dtype=bool))
            _mark(image, border, near, value, row_starts, column_starts)


def _block_extrema(image: npt.NDArray[np.float32]) -> Tuple[npt.NDArray[Any], ...]:
    """Return the minimum and maximum of each block, and where blocks start; the last ones are up to twice as large."""
    low, high = (_by_blocks(_by_blocks(image, extremum).T, extremum).T for extremum in (np.minimum, np.maximum))
    return low, high, np.arange(low.shape[0]) * _BLOCK, np.arange(low.shape[1]) * _BLOCK


def _by_blocks(lines: npt.NDArray[np.float32], extremum: np.ufunc) -> npt.NDArray[np.float32]:
    """Reduce each block of lines to one line; what is left over goes into the last one."""
    count = len(lines) // _BLOCK
    reduced = extremum.reduce(lines[: count * _BLOCK].reshape(count, _BLOCK, -1), axis=1)
    if len(lines) > count * _BLOCK:
        reduced[-1] = extremum(reduced[-1], extremum.reduce(lines[count * _BLOCK :], axis=0))
    return reduced  # type: ignore[no-any-return]


def _mark(
    image: npt.NDArray[np.float32],
    border: npt.NDArray[np.bool_],
    near: npt.NDArray[np.bool_],
    value: np.float32,
    row_starts: npt.NDArray[Any],
    column_starts: npt.NDArray[Any],
) -> None:
    """Mark the pixels of one value in the given blocks."""
    rows = np.diff(np.append(row_starts, image.shape[0]))
    columns = np.diff(np.append(column_starts, image.shape[1]))
    inside = np.repeat(np.repeat(near, rows, axis=0), columns, axis=1)
    border |= inside & (image == value)
