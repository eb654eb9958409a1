# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the views "patch" and "fft": the normalised image, and the log power of its Fourier transform."""

from __future__ import annotations

import functools
import math
import timeit
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.fft import next_fast_len
from torch.nn import functional

CLIP = 10.0  # robust standard deviations; beyond them are only hot pixels
_FLOOR = 1e-3  # of the power of white noise: keeps the logarithm of low-passed images finite
_SAMPLE = 2**18  # pixels, at most, that median and quartiles are taken from
_FEWEST = 2**18
_AT_ONCE = {"cpu": 2**17, "cuda": 2**24}  # px of windows: on a CPU, what its cache holds


def robust_scale(image: torch.Tensor, valid: Optional[ArrayLike] = None) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return median and robust standard deviation (IQR / 1.349, as for a Gaussian) of the valid pixels.

    Both stay on the device of the image, which computes on without waiting for them.

    Parameters
    ----------
    image : torch.Tensor
    valid : array_like, bool, same shape, optional
        In the memory of the host.
    """
    values = image.flatten()
    index = None if valid is None else _some_of(np.asarray(valid))
    values = values[:: _step(len(values))] if index is None else values[uploaded(index, image.device)]
    return _scale(quartiles(values.float()))


def scale_in_order(ordered: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return median and robust standard deviation, as :func:`robust_scale`, of all values of a sorted vector."""
    return _scale(_interpolated(ordered))


def _scale(found: List[torch.Tensor]) -> Tuple[torch.Tensor, torch.Tensor]:
    low, middle, high = found
    return middle, ((high - low) / 1.349).clamp(min=1e-12)


def _some_of(valid: NDArray[np.bool_]) -> Optional[NDArray[np.int64]]:
    """Return the flat indices of the valid pixels that are measured; None where all or none are valid."""
    if valid.all():
        return None
    index = np.flatnonzero(valid)
    return index[:: _step(len(index))] if len(index) else None


def _step(number: int) -> int:
    return max(1, -(-number // _SAMPLE))


def quartiles(values: torch.Tensor) -> List[torch.Tensor]:
    """Return lower quartile, median and upper quartile of a vector, linearly interpolated."""
    edges = {edge for rank in _quartile_ranks(len(values)) for edge in (math.floor(rank), math.ceil(rank))}
    return _interpolated(in_order(values, sorted(edges)))


def _quartile_ranks(number: int) -> List[float]:
    return [share * (number - 1) for share in (0.25, 0.5, 0.75)]


def _interpolated(ordered: torch.Tensor) -> List[torch.Tensor]:
    """Return the quartiles of a vector in which they are where sorting would put them."""
    ranks = _quartile_ranks(len(ordered))
    return [torch.lerp(ordered[math.floor(rank)], ordered[math.ceil(rank)], rank % 1.0) for rank in ranks]


def in_order(values: torch.Tensor, ranks: Sequence[int]) -> torch.Tensor:
    """Return values of which those of the given ranks along the last axis are where sorting would put them."""
    if values.device.type != "cpu":
        return values.sort(dim=-1).values
    if _numpy_sorts_fast():
        return torch.from_numpy(np.sort(values.numpy(), axis=-1))
    return torch.from_numpy(np.partition(values.numpy(), ranks, axis=-1))


@functools.lru_cache(maxsize=1)
def _numpy_sorts_fast() -> bool:
    """Return whether numpy sorts faster than it selects, which depends on its version and on the processor."""
    values = np.random.default_rng(0).random(2**15, dtype=np.float32)
    times = [timeit.timeit(work, number=3) for work in (lambda: np.sort(values), lambda: np.partition(values, 2**14))]
    return times[0] < times[1]


def uploaded(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return an array as a tensor on a device; a GPU copies it while the host goes on."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def normalise(image: torch.Tensor, valid: Optional[ArrayLike] = None, inverted: bool = False) -> torch.Tensor:
    """Return (image - median) / robust deviation of the whole micrograph, clipped to ±``CLIP``.

    The whole micrograph sets median and deviation, not the patch, because mean and deviation of a patch identify thick
    ice, carbon and gold. This also makes a map equal to its patches.

    Parameters
    ----------
    image : torch.Tensor, shape (rows, columns)
    valid : array_like, bool, same shape, optional
        Pixels that are not border, in the memory of the host; only these are measured.
    inverted : bool
        Whether to change the sign, for micrographs with bright particles.
    """
    middle, deviation = robust_scale(image, valid)
    scaled = (image - middle).div_(deviation).clamp_(-CLIP, CLIP)
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


def window_px(length: float, pixel_size: float) -> int:
    """Return the side in px of a window of about ``length`` Å: even, and quick to transform."""
    nearest = round(length / pixel_size)
    sizes = [n for n in range(int(0.93 * nearest), int(1.07 * nearest) + 2) if n % 2 == 0 and next_fast_len(n) == n]
    return min(sizes, key=lambda n: (abs(n - nearest), n))


def at_once(device: torch.device) -> int:
    """Return how many pixels of windows are transformed at once."""
    return _AT_ONCE[device.type]


def halve_batches(device: str) -> bool:
    """Halve :func:`at_once` of a kind of device; return False if it is small already."""
    if _AT_ONCE[device] <= _FEWEST:
        return False
    _AT_ONCE[device] //= 2
    return True


def power_of(transform: torch.Tensor) -> torch.Tensor:
    """Return the squared magnitude of a Fourier transform, several times as fast as ``abs().square()``. Changes it."""
    squares = torch.view_as_real(transform).square_()
    return squares[..., 0] + squares[..., 1]


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
