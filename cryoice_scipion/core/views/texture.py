# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the texture of each cell: power by octave, mean, and extremes of the blurred image around it.

A few labels are enough to fit a linear layer to these few numbers, and they do not depend on what the U-Net was
trained on. They are measured on a Gaussian pyramid (Burt & Adelson 1983, *IEEE Transactions on Communications* 31).
"""

from __future__ import annotations

from typing import List

import torch
from torch.nn import functional

from cryoice_scipion.core.views.outlier_features import CELL, blurred
from cryoice_scipion.core.views.patches import mirror

_LEVELS = 6  # of the pyramid: octaves from 8 to 512 Å
_POWER_SCALES = (1.0, 2.0)  # cells: of the Gaussian over which power is averaged
_MEAN_SCALES = (0.0, 1.0, 2.0, 4.0)  # the same for means; 0: the cell alone
_EXTREME_LEVELS = 4  # at which extremes are taken: blurred by 4, 8, 16 and 32 Å
_REACHES = (1, 2, 4)  # cells: how far the area of an extreme reaches to each side
_FLOOR = 1e-4  # power, of the micrograph's variance
#: Channels of :func:`texture_features`.
TEXTURE_CHANNELS = _LEVELS * len(_POWER_SCALES) + len(_MEAN_SCALES) + 2 * _EXTREME_LEVELS * len(_REACHES)


def texture_features(scaled: torch.Tensor) -> torch.Tensor:
    """Return the texture of each cell of 32 Å.

    Parameters
    ----------
    scaled : torch.Tensor, shape (rows, columns)
        The context view at 4 Å/px.

    Returns
    -------
    torch.Tensor, shape (TEXTURE_CHANNELS, rows / 8, columns / 8), rounded up
        The logarithm of the power of each octave at each scale; means; maximum and minimum of each blurred image.
    """
    rows, columns = (-(-int(size) // CELL) for size in scaled.shape)
    multiple = 1 << _LEVELS
    below, right = (-int(size) % multiple for size in scaled.shape)
    view = mirror(scaled, (0, right, 0, below))[None, None]
    means = functional.avg_pool2d(view, CELL)
    power: List[torch.Tensor] = []
    extremes: List[torch.Tensor] = []
    for level in range(_LEVELS):
        smooth = blurred(view, 1.0)
        octave = _on_cells((view - smooth).square(), level)
        power += [torch.log(blurred(octave, scale) + _FLOOR) for scale in _POWER_SCALES]
        if level < _EXTREME_LEVELS:
            extremes += _extremes(smooth, level)
        view = functional.avg_pool2d(smooth, 2)  # cells of a coarser level lie on those of a finer one
    parts = [*power, *(blurred(means, scale) for scale in _MEAN_SCALES), *extremes]
    return torch.cat(parts, dim=1)[0, :, :rows, :columns]


def _on_cells(values: torch.Tensor, level: int) -> torch.Tensor:
    """Return the mean of values of a level of the pyramid over each cell; of a coarse level, interpolated."""
    side = CELL >> level
    if side:
        return functional.avg_pool2d(values, side)
    return functional.interpolate(values, scale_factor=float((1 << level) // CELL), mode="bilinear")


def _extremes(smooth: torch.Tensor, level: int) -> List[torch.Tensor]:
    """Return the maximum and the minimum of a level over the cells around each cell."""
    found = []
    for sign in (1.0, -1.0):
        cells = functional.max_pool2d(sign * smooth, CELL >> level)
        for reach in _REACHES:
            found.append(sign * functional.max_pool2d(cells, 2 * reach + 1, 1, reach))
    return found
