# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw clean positions as additional GOOD patches; without them a network learns to separate particles from ice."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryoice_scipion.core.views.patches import fft_view, grid_shape, pad_for_grid, windows

_OUTLIER = 3.5  # robust standard deviations (Iglewicz & Hoaglin 1993 recommend 3.5) in any feature
_BANDS = 4


def draw_background(
    view: torch.Tensor,
    inside: torch.Tensor,
    taken: NDArray[np.float64],
    bad: NDArray[np.float64],
    number: int,
    window: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return random positions away from labelled coordinates and from unusual windows of the micrograph.

    Parameters
    ----------
    view : torch.Tensor, shape (rows, columns)
        Normalised micrograph at the model's sampling.
    inside : torch.Tensor, bool, same shape
        False on the border.
    taken, bad : numpy.ndarray, shape (n, 2)
        x, y in px of the view of all labelled coordinates, and of the BAD ones among them. Positions have a distance
        of half a window from the first and of a window from the second.
    number : int
        Largest number of positions.
    window : int
        Side of a patch in px.

    Returns
    -------
    numpy.ndarray, shape (m, 2), m <= number
        x, y in px of the view.
    """
    stride = window // 4
    shape = grid_shape((int(view.shape[0]), int(view.shape[1])), stride)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1) * stride + stride / 2.0
    free = ~stands_out(features(view, window, stride)) & _wholly_inside(inside, centres, window)
    for positions, distance in ((taken, 0.5 * window), (bad, 1.0 * window)):
        if len(positions):
            free &= cKDTree(positions).query(centres)[0] > distance
    candidates = centres[free]
    chosen = candidates[rng.permutation(len(candidates))[:number]]
    shifted: NDArray[np.float64] = chosen + rng.uniform(-stride / 2, stride / 2, size=chosen.shape)
    return shifted


def features(view: torch.Tensor, window: int, stride: int) -> NDArray[np.float64]:
    """Return mean, log deviation and log power in four rings of every window, shape (windows, 6)."""
    padded = pad_for_grid(view, window, stride)
    shape = grid_shape((int(view.shape[0]), int(view.shape[1])), stride)
    ring = _rings(window)
    rows = []
    for row in range(shape[0]):
        patches = windows(padded, window, stride, row, 1)
        spectra = fft_view(patches)
        bands = [spectra[:, ring == band].mean(dim=1) for band in range(_BANDS)]
        deviation = torch.log(patches.std(dim=(1, 2)) + 1e-6)
        rows.append(torch.stack([patches.mean(dim=(1, 2)), deviation, *bands], dim=1))
    table: NDArray[np.float64] = torch.cat(rows).double().cpu().numpy()
    return table


def stands_out(table: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows differ from the median by more than 3.5 robust deviations (MAD) in any column."""
    middle = np.median(table, axis=0)
    deviation = 1.4826 * np.median(np.abs(table - middle), axis=0) + 1e-12
    outlier: NDArray[np.bool_] = (np.abs(table - middle) / deviation > _OUTLIER).any(axis=1)
    return outlier


def _rings(window: int) -> torch.Tensor:
    """Return the ring number (0 innermost) of each pixel of the half-plane spectrum; −1 outside and at zero."""
    y = torch.arange(window)[:, None] - window // 2
    x = torch.arange(window // 2 + 1)[None, :]
    radius = torch.sqrt((x * x + y * y).float()) / (window // 2)
    ring = torch.clamp((radius * _BANDS).long(), max=_BANDS)
    return torch.where((radius > 1.0) | (radius == 0), torch.full_like(ring, -1), torch.clamp(ring, max=_BANDS - 1))


def _wholly_inside(inside: torch.Tensor, centres: NDArray[np.float64], window: int) -> NDArray[np.bool_]:
    """Return which windows contain no border, counted with an integral image."""
    border = (~inside).long().cpu().numpy()
    total = np.pad(border.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    half = window // 2
    x0, y0 = np.maximum(centres - half, 0).astype(int).T
    x1 = np.minimum(centres[:, 0] + half, border.shape[1]).astype(int)
    y1 = np.minimum(centres[:, 1] + half, border.shape[0]).astype(int)
    free: NDArray[np.bool_] = total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0] == 0
    return free
