# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a micrograph to a given sampling (Å/px) in Fourier space.

The micrograph is cropped in Fourier space, because binning aliases the 3.7 Å ice ring into the image.
"""

from __future__ import annotations

import functools
import math
from typing import Tuple

import torch
from scipy.fft import next_fast_len

_MARGIN = 16  # px of mirrored image between opposite edges, which a discrete Fourier transform joins
_TOLERANCE = 2e-5  # relative error of the sampling: below 0.1 px across 4096 px
_FINER = 0.95  # of the sampling that is wanted
_COLUMNS_AT_ONCE = 32  # on a CPU
_AT_ONCE = {"cpu": 2**17, "cuda": 2**22}  # px of rows


def resampled_shape(shape: Tuple[int, int], pixel_size: float, sampling: float) -> Tuple[int, int]:
    """Return the (rows, columns) of an image of ``shape`` px at ``sampling`` Å/px, rounded up."""
    rows, columns = (math.ceil(n * pixel_size / sampling - 1e-6) for n in shape)
    return rows, columns


@functools.lru_cache(maxsize=16)
def quick_sampling(pixel_size: float, coarsest: float) -> float:
    """Return a sampling (Å/px), at most 5 % finer than ``coarsest``, to which images are resampled quickly.

    Its quotient with the pixel size is one of small numbers. The lengths of both transforms then have small factors.
    """
    for number in range(1, 500):
        share = math.ceil(number * pixel_size / coarsest - 1e-9)
        sampling = number * pixel_size / share
        quick = next_fast_len(number, real=True) == number and next_fast_len(share) == share
        if quick and sampling > _FINER * coarsest:
            return sampling
    return coarsest


def resample(image: torch.Tensor, pixel_size: float, sampling: float) -> torch.Tensor:
    """Return the image at another sampling, band-limited to the coarser of the two Nyquist frequencies.

    Pixel i of the result covers [i * sampling, (i + 1) * sampling) Å, as it does in the input: the half-pixel
    shift between the two grids is applied as a phase.

    Parameters
    ----------
    image : torch.Tensor, shape (rows, columns), float32
        The micrograph.
    pixel_size, sampling : float
        Å/px of the input and of the result.

    Returns
    -------
    torch.Tensor, shape ``resampled_shape(...)``, float32
        The last row and column may reach over the input's edge by a part of a pixel; there the image is mirrored.
    """
    shape = (int(image.shape[0]), int(image.shape[1]))
    ratio = pixel_size / sampling
    if ratio == 1.0:
        return image
    rows, columns = resampled_shape(shape, pixel_size, sampling)
    (from_rows, to_rows), (from_columns, to_columns) = (_lengths(n, ratio) for n in shape)
    shift = (1.0 / ratio - 1.0) / 2.0  # px of the input
    # The Nyquist frequency of an even length has no partner of opposite sign: a shifted one is no longer real.
    kept = min((to_columns + 1) // 2, from_columns // 2 + 1)
    at = torch.arange(kept, dtype=torch.float64, device=image.device)
    half = _transformed_rows(image, from_columns, _phase(at, shift / from_columns))
    at = torch.fft.fftfreq(to_rows, 1.0 / to_rows, dtype=torch.float64, device=image.device)
    phase = _phase(at, shift / from_rows)
    if to_rows % 2 == 0:
        phase[to_rows // 2] = 0
    half = _resampled_columns(half, from_rows, phase)
    result = image.new_empty((rows, columns))
    step = _rows_at_once(to_columns, image.device)
    for some, part in zip(torch.split(half[:rows], step), torch.split(result, step)):
        part.copy_(torch.fft.irfft(some, to_columns, norm="forward")[:, :columns])
    return result


def _transformed_rows(image: torch.Tensor, length: int, phase: torch.Tensor) -> torch.Tensor:
    """Return the lowest frequencies of each row, extended to ``length`` px, times a phase of each frequency.

    A few rows are transformed at once, which stay in the cache of a CPU; so are a few columns, then rows again.
    """
    half = image.new_empty((int(image.shape[0]), len(phase)), dtype=torch.complex64)
    step = _rows_at_once(length, image.device)
    for some, part in zip(torch.split(image, step), torch.split(half, step)):
        torch.mul(torch.fft.rfft(_extend(some, length, 1), norm="forward")[:, : len(phase)], phase, out=part)
    return half


def _resampled_columns(half: torch.Tensor, length: int, phase: torch.Tensor) -> torch.Tensor:
    """Return columns, extended to ``length``, with as many px as there are phases of their frequencies.

    Frequencies that the columns lack are zero.
    """
    result = half.new_empty((len(phase), int(half.shape[1])))
    step = _COLUMNS_AT_ONCE if half.device.type == "cpu" else int(half.shape[1])
    for some, part in zip(torch.split(half, step, dim=1), torch.split(result, step, dim=1)):
        spectrum = _crop_rows(torch.fft.fft(_extend(some, length, 0), dim=0, norm="forward"), len(phase))
        part.copy_(torch.fft.ifft(spectrum.mul_(phase[:, None]), dim=0, norm="forward"))
    return result


def _rows_at_once(length: int, device: torch.device) -> int:
    return max(1, _AT_ONCE["cpu" if device.type == "cpu" else "cuda"] // length)


def _lengths(length: int, ratio: float) -> Tuple[int, int]:
    """Return two lengths whose quotient is ``ratio`` as nearly as possible, the first at least ``length``.

    The error in the sampling would otherwise add up to a pixel or more over a long edge.
    """
    best = (math.inf, length, max(1, round(length * ratio)))
    candidate = length + _MARGIN
    while candidate <= 1.08 * length + 4 * _MARGIN:
        candidate = int(next_fast_len(candidate, real=True))
        target = max(1, round(candidate * ratio))
        error = abs(target / (candidate * ratio) - 1.0)
        if error < best[0]:
            best = (error, candidate, target)
        if error < _TOLERANCE:
            break
        candidate += 1
    return best[1], best[2]


def _extend(image: torch.Tensor, length: int, axis: int) -> torch.Tensor:
    """Extend one axis by its mirrored end, then its mirrored beginning, so that the two ends join smoothly."""
    size = int(image.shape[axis])
    extra = length - size
    after = min(extra - extra // 2, size)
    before = min(extra - after, size)
    ends = image.narrow(axis, size - after, after), image.narrow(axis, 0, before)
    parts = [image, *(end.flip(axis) for end in ends)]
    joined = torch.cat(parts, dim=axis)
    if joined.shape[axis] < length:  # an image smaller than its padding: repeat the edge
        edge = joined.narrow(axis, int(joined.shape[axis]) - 1, 1)
        joined = torch.cat([joined, edge.expand(*_expanded(edge, axis, length - int(joined.shape[axis])))], dim=axis)
    return joined


def _expanded(edge: torch.Tensor, axis: int, number: int) -> Tuple[int, ...]:
    return tuple(number if i == axis else int(n) for i, n in enumerate(edge.shape))


def _crop_rows(spectrum: torch.Tensor, rows: int) -> torch.Tensor:
    """Crop or pad the first axis (frequencies 0, 1, … −2, −1) to ``rows`` frequencies."""
    have = int(spectrum.shape[0])
    keep = min(rows, have)
    positive, negative = (keep + 1) // 2, keep // 2
    middle = spectrum.new_zeros((rows - keep, int(spectrum.shape[1])))
    return torch.cat([spectrum[:positive], middle, spectrum[have - negative :]], dim=0)


def _phase(frequency: torch.Tensor, step: float) -> torch.Tensor:
    angle = 2.0 * math.pi * step * frequency
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
