# SPDX-License-Identifier: GPL-3.0-or-later
"""Find borders without data: padded, filled with zeros, or smeared by the alignment of the movie.

There are two tests. Neither depends on brightness, so that carbon or vacuum at a side is not mistaken for a border.

* Lines. A smeared border repeats one line: there is contrast along the line, but hardly any between neighbouring lines.
  The ratio of the two is near 0 in a smear, even after low-pass filtering or JPEG compression. In the image itself it
  is about the same everywhere (film edges raise it). Constant lines and exact copies are always border.
* Blocks. Areas of exactly one value that touch a side are border, whatever their extent.
"""

from __future__ import annotations

from typing import Tuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_DEEPEST = 0.25  # largest depth of a border, as a share of the side; anything deeper is a property of the image
_SMEARED = 0.35  # share of the interior's ratio below which a line is smeared
_DATA = 0.75  # share of the interior's ratio above which data begin (filters blur the step)
_SHORTEST_SMEAR = 6  # lines, unless they are exact copies
_CONSTANT = 0.01  # share of the interior's contrast below which a line is constant, except for JPEG noise
_BLOCK = 16  # px
_SAMPLE = 1024  # lines, and px of each line, that are used for the statistics
_SMALLEST_SIDE = 64  # px; borders of smaller images cannot be detected

Contrasts = npt.NDArray[np.float64]  # of each line


def find_border(image: npt.NDArray[np.float32], finite: bool = False) -> npt.NDArray[np.bool_]:
    """Return the pixels of an image that hold no data.

    Parameters
    ----------
    image : float32 (rows, columns)
        Pixels that are NaN or infinite count as constant.
    finite : bool
        Whether the caller knows that there are no such pixels.

    Returns
    -------
    bool (rows, columns)
        True = border.
    """
    border = np.zeros(image.shape, dtype=bool)
    if min(image.shape) < _SMALLEST_SIDE:
        return border
    image = image if finite else _finite(image)
    rows, columns = image.shape
    top, bottom, left, right = _line_depths(image)
    border[:top] = True
    border[rows - bottom :] = True
    border[:, :left] = True
    border[:, columns - right :] = True
    _add_constant_areas(image, border)
    return border


def _finite(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(image.sum()):  # then every pixel is
            return image
    finite = np.isfinite(image)
    return np.where(finite, image, np.float32(np.median(image[finite][::16]) if finite.any() else 0))


def _line_depths(image: npt.NDArray[np.float32]) -> Tuple[int, int, int, int]:
    """Return how many lines are border at the top, bottom, left and right."""
    rows, columns = (_middle(length) for length in image.shape)
    by_rows, by_columns = _interior(image[rows, columns])
    return (
        _depth(image, columns, *by_rows),
        _depth(image[::-1], columns, *by_rows),
        _depth(image.T, rows, *by_columns),
        _depth(image[:, ::-1].T, rows, *by_columns),
    )


def _middle(length: int) -> slice:
    """Return the middle half of a side, away from the borders of the other sides; less of a long side."""
    half = min(length // 2, _SAMPLE)
    return slice((length - half) // 2, (length - half) // 2 + half)


def _interior(image: npt.NDArray[np.float32]) -> Tuple[Tuple[float, float], Tuple[float, float]]:
    """Return, for rows and for columns, the median contrast along the lines inside the image and the median ratio."""
    down, right = _steps(image[1:], image[:-1]), _steps(image[:, 1:], image[:, :-1])
    return (
        _typical(down.mean(axis=1, dtype=np.float64), right[:-1].mean(axis=1, dtype=np.float64)),
        _typical(right.mean(axis=0, dtype=np.float64), down[:, :-1].mean(axis=0, dtype=np.float64)),
    )


def _typical(across: Contrasts, along: Contrasts) -> Tuple[float, float]:
    return float(np.median(along)), float(np.median(across / np.maximum(along, np.finfo(np.float32).tiny)))


def _contrasts(lines: npt.NDArray[np.float32]) -> Tuple[Contrasts, Contrasts]:
    """Return the mean absolute difference to the next line and along the line, for all lines except the last."""
    lines = np.ascontiguousarray(lines.copy("K"))  # columns: read from memory as rows, then transposed
    across = _steps(lines[1:], lines[:-1]).mean(axis=1, dtype=np.float64)
    along = _steps(lines[:-1, 1:], lines[:-1, :-1]).mean(axis=1, dtype=np.float64)
    return across, along


def _steps(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the absolute differences."""
    difference = one - other
    return np.abs(difference, out=difference)  # type: ignore[no-any-return]


def _depth(lines: npt.NDArray[np.float32], middle: slice, contrast: float, ratio: float) -> int:
    """Return the number of border lines, counted from the outermost."""
    deepest = int(len(lines) * _DEEPEST)
    if not _may_be_border(lines[: deepest + 1, middle], contrast, ratio):
        return 0
    across, along = _contrasts(lines[: deepest + 1, middle])
    constant = along <= _CONSTANT * contrast
    # Saturated vacuum in the middle of a side is not a constant line.
    whole = _leading(constant)
    constant[:whole] = _contrasts(lines[: whole + 1])[1] <= _CONSTANT * contrast
    constant[whole:] = False
    exact = _leading(constant | ((across == 0) & (along > 0)))
    relative = _relative(across, along, contrast, ratio)
    end = _smear_end(relative < _SMEARED)
    if end:
        end += _leading(relative[end:] < _DATA)
    depth = max(exact, end)
    return depth if depth < deepest else 0


def _may_be_border(lines: npt.NDArray[np.float32], contrast: float, ratio: float) -> bool:
    """Return whether a side may have a border, from its outermost line and one line of every possible smear.

    A smear of n lines begins within the outermost n lines, and has at least ``_SHORTEST_SMEAR``. It therefore contains
    line 5, 11, 23, 47 or so on.
    """
    chosen = [0]
    while 2 * chosen[-1] + 2 < len(lines):
        chosen.append(max(2 * chosen[-1] + 1, _SHORTEST_SMEAR - 1))
    pairs = lines[[line + step for line in chosen for step in (0, 1)]]
    across, along = (part[::2] for part in _contrasts(pairs))
    smeared = _relative(across, along, contrast, ratio) < _SMEARED
    return bool(smeared.any() or along[0] <= _CONSTANT * contrast)


def _relative(across: Contrasts, along: Contrasts, contrast: float, ratio: float) -> Contrasts:
    """Return the ratios of both contrasts in units of that inside the image; 1 for constant lines."""
    relative: Contrasts = across / np.maximum(along * ratio, np.finfo(np.float32).tiny)
    relative[along <= _CONSTANT * contrast] = 1
    return relative


def _smear_end(smeared: npt.NDArray[np.bool_]) -> int:
    """Return the line at which a smear of this side ends, or 0.

    A filter after the alignment wraps around and blurs the outermost lines. Smeared lines may therefore begin further
    inside; there must then be more of them than of lines outside.
    """
    steps = np.diff(np.concatenate([[False], smeared, [False]]).astype(np.int8))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    belongs = ends - starts >= np.maximum(starts, _SHORTEST_SMEAR)
    return int(ends[belongs][-1]) if belongs.any() else 0


def _leading(flags: npt.NDArray[np.bool_]) -> int:
    """Return how many flags are True before the first False."""
    return int(np.argmin(flags)) if not flags.all() else len(flags)


def _add_constant_areas(image: npt.NDArray[np.float32], border: npt.NDArray[np.bool_]) -> None:
    """Mark areas of one value that contain whole blocks and touch a side."""
    flat = _flat_blocks(image)
    if not flat.any():
        return
    values = _corners(image)
    for value in np.unique(values[flat])[:64]:
        labels, _ = ndimage.label(flat & (values == value))
        sides = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        touching = np.isin(labels, np.unique(sides[sides > 0]))
        if touching.any():
            _mark(image, border, ndimage.binary_dilation(touching, np.ones((3, 3), dtype=bool)), value)


def _corners(image: npt.NDArray[np.float32], row: int = 0, column: int = 0) -> npt.NDArray[np.float32]:
    """Return the first pixel of each block, or another one."""
    rows, columns = (length // _BLOCK * _BLOCK for length in image.shape)
    return image[row:rows:_BLOCK, column:columns:_BLOCK]


def _flat_blocks(image: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return which blocks have one value; the last blocks are up to twice as large as the others."""
    values = _corners(image)
    flat: npt.NDArray[np.bool_] = values == _corners(image, column=7)  # quick to see; hardly any other block passes
    if flat.any():
        flat &= (values == _corners(image, 7, 7)) & (values == _corners(image, 12, 12))
    for row in np.flatnonzero(flat.any(axis=1)):
        lines, chosen = image[_lines(row, flat)], np.flatnonzero(flat[row])
        blocks = lines[:, : flat.shape[1] * _BLOCK].reshape(len(lines), -1, _BLOCK)[:, chosen]
        flat[row, chosen] = (blocks == values[row, chosen, None]).all(axis=(0, 2))
        flat[row, -1] &= (lines[:, flat.shape[1] * _BLOCK :] == values[row, -1]).all()
    return flat


def _lines(row: int, blocks: npt.NDArray[np.bool_]) -> slice:
    """Return the lines of the image that a row of blocks covers."""
    return slice(row * _BLOCK, (row + 1) * _BLOCK if row + 1 < len(blocks) else None)


def _mark(
    image: npt.NDArray[np.float32], border: npt.NDArray[np.bool_], near: npt.NDArray[np.bool_], value: np.float32
) -> None:
    """Mark the pixels of one value in the given blocks."""
    widths = np.full(near.shape[1], _BLOCK)
    widths[-1] += image.shape[1] % _BLOCK
    for row in np.flatnonzero(near.any(axis=1)):
        lines = _lines(row, near)
        border[lines] |= np.repeat(near[row], widths) & (image[lines] == value)
