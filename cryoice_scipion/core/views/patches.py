# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the views "patch" and "fft": the normalised image, and the log power of its Fourier transform."""

from __future__ import annotations

import math
from typing import Optional, Tuple

import torch
from torch.nn import functional

CLIP = 10.0  # robust standard deviations; beyond them are only hot pixels
_FLOOR = 1e-3  # of the power of white noise: keeps the logarithm of low-passed images finite
_SAMPLE = 1_000_000  # pixels that median and quartiles are taken from


def robust_scale(image: torch.Tensor, valid: Optional[torch.Tensor] = None) -> Tuple[float, float]:
    """Return median and robust standard deviation (IQR / 1.349, as for a Gaussian) of the valid pixels."""
    values = image.flatten() if valid is None else image[valid]
    if values.numel() == 0:
        values = image.flatten()
    values = values[:: max(1, values.numel() // _SAMPLE)].float().cpu()
    low, middle, high = torch.quantile(values[:_SAMPLE], torch.tensor([0.25, 0.5, 0.75])).tolist()
    return middle, max((high - low) / 1.349, 1e-12)


def normalise(image: torch.Tensor, valid: Optional[torch.Tensor] = None, inverted: bool = False) -> torch.Tensor:
    """Return (image - median) / robust deviation of the whole micrograph, clipped to ±``CLIP``.

    The whole micrograph sets median and deviation, not the patch, because mean and deviation of a patch identify thick
    ice, carbon and gold. This also makes a map equal to its patches.

    Parameters
    ----------
    image : torch.Tensor, shape (rows, columns)
    valid : torch.Tensor, bool, same shape
        Pixels that are not border; only these are measured.
    inverted : bool
        Whether to change the sign, for micrographs with bright particles.
    """
    middle, deviation = robust_scale(image, valid)
    scaled = ((image - middle) / deviation).clamp(-CLIP, CLIP)
    return -scaled if inverted else scaled


def grid_shape(shape: Tuple[int, int], stride: int) -> Tuple[int, int]:
    """Return the (rows, columns) of the map of a view of ``shape`` px: cells of ``stride`` px, rounded up."""
    return math.ceil(shape[0] / stride), math.ceil(shape[1] / stride)


def pad_for_grid(view: torch.Tensor, window: int, stride: int) -> torch.Tensor:
    """Mirror the view outwards so that window (i, j) of step ``stride`` is centred on map cell (i, j).

    Parameters
    ----------
    view : torch.Tensor, shape (rows, columns)

    Returns
    -------
    torch.Tensor, shape ((n - 1) * stride + window, (m - 1) * stride + window)
        For a grid of (n, m) cells.
    """
    rows, columns = grid_shape((int(view.shape[0]), int(view.shape[1])), stride)
    before = (window - stride) // 2
    below = (rows - 1) * stride + window - before - int(view.shape[0])
    right = (columns - 1) * stride + window - before - int(view.shape[1])
    return mirror(view, (before, right, before, below))


def mirror(view: torch.Tensor, pad: Tuple[int, int, int, int]) -> torch.Tensor:
    """Pad (left, right, top, bottom) px by reflection, or by repetition where the view is smaller than the pad."""
    small = max(pad[0], pad[1]) >= view.shape[1] or max(pad[2], pad[3]) >= view.shape[0]
    return functional.pad(view[None, None], pad, mode="replicate" if small else "reflect")[0, 0]


def cut(view: torch.Tensor, centres: torch.Tensor, window: int) -> torch.Tensor:
    """Return the patches around given centres; what lies outside the view is mirrored.

    Parameters
    ----------
    view : torch.Tensor, shape (rows, columns)
    centres : torch.Tensor, shape (n, 2), float
        x, y in px of the view, where pixel i covers [i, i + 1).
    window : int
        Side of a patch, px.

    Returns
    -------
    torch.Tensor, shape (n, window, window)
    """
    half = window // 2
    padded = mirror(view, (half, half, half, half))
    corners = torch.round(centres).long().to(view.device)  # in the padded view, centre - half + half
    x = corners[:, 0].clamp(0, int(view.shape[1]))
    y = corners[:, 1].clamp(0, int(view.shape[0]))
    steps = torch.arange(window, device=view.device)
    return padded[(y[:, None] + steps)[:, :, None], (x[:, None] + steps)[:, None, :]]


def windows(padded: torch.Tensor, window: int, stride: int, row: int, number: int) -> torch.Tensor:
    """Return the windows of ``number`` grid rows from ``row`` on, shape (number * columns, window, window)."""
    strip = padded[row * stride : (row + number - 1) * stride + window]
    return strip.unfold(0, window, stride).unfold(1, window, stride).reshape(-1, window, window)


def fft_view(patches: torch.Tensor) -> torch.Tensor:
    """Return the log power spectrum of each patch, half plane (the other half mirrors it).

    The patch's mean is taken off and a Hann window laid over it, so that its edges do not draw a cross; the
    power is in units of white noise with the micrograph's deviation: log(|F|² / Σ window² + 0.001).

    Parameters
    ----------
    patches : torch.Tensor, shape (n, window, window), float32, normalised

    Returns
    -------
    torch.Tensor, shape (n, window, window // 2 + 1)
        Row ``window // 2`` is frequency zero along y, column 0 frequency zero along x.
    """
    side = int(patches.shape[-1])
    taper = torch.hann_window(side, periodic=True, device=patches.device, dtype=patches.dtype)
    taper = taper[:, None] * taper[None, :]
    centred = (patches - patches.mean(dim=(-2, -1), keepdim=True)) * taper
    power = torch.fft.rfft2(centred).abs().square() / taper.square().sum()
    shifted: torch.Tensor = torch.fft.fftshift(torch.log(power + _FLOOR), dim=-2)
    return shifted


def full_plane(half: torch.Tensor) -> torch.Tensor:
    """Return the whole plane (n, window, window), frequency zero at (window // 2, window // 2), of a half plane."""
    side = int(half.shape[-2])
    right = half[..., : side // 2]
    # F(-k) = conj F(k): the left half is the right one mirrored through frequency zero; for an even side the
    # most negative row mirrors onto itself.
    left = torch.roll(half[..., 1:].flip((-2, -1)), 1, dims=-2)
    return torch.cat([left, right], dim=-1)
