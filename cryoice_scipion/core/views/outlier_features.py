# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how much each cell of a micrograph is an outlier on it, independent of particles and noise.

A small ice crystal often differs from a particle only in being unique. The features therefore include ranks beside
deviations.
"""

from __future__ import annotations

from typing import NamedTuple, Tuple

import torch
from torch.nn import functional

from cryoice_scipion.core.views.patches import CLIP, mirror, robust_scale, scale_in_order

CELL = 8  # px of the context view: side of a map cell of 32 Å
SIGMA = 57.0  # Å: of the Gaussian at which mean and deviation separate ice from particles best
SCALES = (0.0, SIGMA, 120.0, 240.0)  # Å; 0: the cell alone
OUTLIER_CHANNELS = 5 * len(SCALES)  # channels of :func:`outlier_features`
RELATIVE = slice(5 * SCALES.index(SIGMA), 5 * SCALES.index(SIGMA) + 2)  # those of :func:`relative_statistics`
_REACH = 3.4  # standard deviations at which a Gaussian is cut off
_FLOOR = 1e-3  # variance, of the micrograph's


def relative_statistics(scaled: torch.Tensor) -> torch.Tensor:
    """Return mean and log deviation around each cell of 32 Å, relative to all cells of the micrograph.

    Over a Gaussian of ``SIGMA``, in robust deviations from the median over the micrograph.

    Parameters
    ----------
    scaled : torch.Tensor, shape (rows, columns)
        The context view at 4 Å/px.

    Returns
    -------
    torch.Tensor, shape (2, rows / 8, columns / 8), rounded up, within ±10
    """
    return torch.stack([_relative(values, *robust_scale(values)) for values in _statistics(_moments(scaled), SIGMA)])


def outlier_features(scaled: torch.Tensor) -> torch.Tensor:
    """Return how much each cell of 32 Å is an outlier, at four scales.

    Parameters
    ----------
    scaled : torch.Tensor, shape (rows, columns)
        The context view at 4 Å/px.

    Returns
    -------
    torch.Tensor, shape (OUTLIER_CHANNELS, rows / 8, columns / 8), rounded up
        For each of ``SCALES``: mean and log deviation as in :func:`relative_statistics`, and minus the decimal
        logarithm of the share of cells that are at least as dark, at least as bright, and deviate at least as much.
    """
    moments = _moments(scaled)
    parts = []
    for scale in SCALES:
        mean, deviation = (_ranked(values) for values in _statistics(moments, scale))
        parts += [mean.relative, deviation.relative, mean.low, mean.high, deviation.high]
    return torch.stack(parts)


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return images (n, 1, rows, columns) blurred by a Gaussian of ``sigma`` px; 0: as they are."""
    if not sigma:
        return images
    reach = int(_REACH * sigma)
    steps = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma).square())
    kernel = (kernel / kernel.sum())[None, None, None]
    for shape in (kernel, kernel.transpose(2, 3)):
        pad = (int(shape.shape[3]) // 2,) * 2 + (int(shape.shape[2]) // 2,) * 2
        images = functional.conv2d(functional.pad(images, pad, mode="replicate"), shape)
    return images


def cell_means(images: torch.Tensor) -> torch.Tensor:
    """Return the means of images (n, 1, rows, columns) over the map cells, faster than a pooling layer."""
    rows, columns = (int(size) // CELL for size in images.shape[2:])
    lines = images.reshape(-1, 1, rows, CELL, columns * CELL).mean(dim=3)
    means: torch.Tensor = lines.reshape(-1, 1, rows, columns, CELL).mean(dim=4)
    return means


def _moments(scaled: torch.Tensor) -> torch.Tensor:
    """Return mean and mean square of each cell, shape (2, 1, rows / 8, columns / 8)."""
    rows, columns = (-(-int(size) // CELL) * CELL for size in scaled.shape)
    view = mirror(scaled, (0, columns - int(scaled.shape[1]), 0, rows - int(scaled.shape[0])))[None, None]
    return cell_means(torch.cat([view, view.square()]))


def _statistics(moments: torch.Tensor, scale: float) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return mean and log deviation over a Gaussian of ``scale`` Å around each cell."""
    moments = blurred(moments, scale / 32.0)
    mean = moments[0, 0]
    return mean, 0.5 * torch.log((moments[1, 0] - mean.square()).clamp(min=0.0) + _FLOOR)


def _relative(values: torch.Tensor, middle: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    return ((values - middle) / spread.clamp(min=_FLOOR)).clamp(-CLIP, CLIP)


class _Ranked(NamedTuple):
    """How much each value is an outlier; all have the shape of the values."""

    relative: torch.Tensor  # to the median, in robust deviations
    low: torch.Tensor  # minus the decimal logarithm of the share of values that are not higher
    high: torch.Tensor  # the same for values that are not lower


def _ranked(values: torch.Tensor) -> _Ranked:
    ordered, order = values.flatten().sort()
    number = len(ordered)
    shares = [(number - _lower(ordered.flip(0))).flip(0), number - _lower(ordered)]
    rarities = [torch.empty_like(ordered).scatter_(0, order, -torch.log10(some / number)) for some in shares]
    return _Ranked(_relative(values, *scale_in_order(ordered)), *(some.reshape(values.shape) for some in rarities))


def _lower(ordered: torch.Tensor) -> torch.Tensor:
    """Return how many values are before the first that is equal to each, in a sorted vector."""
    index = torch.arange(1, len(ordered), device=ordered.device)
    begins = torch.where(ordered[1:] != ordered[:-1], index, 0)
    return functional.pad(begins, (1, 0)).cummax(dim=0).values
