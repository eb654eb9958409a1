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
_AT_ONCE = 32  # columns whose transforms stay in the cache of a CPU
_ROWS_AT_ONCE = 2**22  # px


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
    rows, columns = resampled_shape(shape, pixel_size, sampling)
    ratio = pixel_size / sampling
    (from_rows, to_rows), (from_columns, to_columns) = (_lengths(n, ratio) for n in shape)
    if ratio == 1.0:
        return image
    spectrum = _cropped_spectrum(image, (from_rows, from_columns), (to_rows, to_columns // 2 + 1))
    shift = (1.0 / ratio - 1.0) / 2.0  # px of the input
    device = image.device
    rows_at = torch.fft.fftfreq(to_rows, 1.0 / to_rows, dtype=torch.float64, device=device)
    columns_at = torch.arange(to_columns // 2 + 1, dtype=torch.float64, device=device)
    spectrum *= _phase(rows_at, shift / from_rows)[:, None]
    spectrum *= _phase(columns_at, shift / from_columns)
    # The Nyquist frequency of an even length has no partner of opposite sign: a shifted one is no longer real.
    if to_rows % 2 == 0:
        spectrum[to_rows // 2] = 0
    if to_columns % 2 == 0:
        spectrum[:, -1] = 0
    result: torch.Tensor = torch.fft.irfft2(spectrum, s=(to_rows, to_columns), norm="forward")
    return result[:rows, :columns]


def _cropped_spectrum(image: torch.Tensor, lengths: Tuple[int, int], shape: Tuple[int, int]) -> torch.Tensor:
    """Return the lowest frequencies of an image that is extended to ``lengths``, (rows, columns of the half plane).

    A few rows, then a few columns are transformed at once, which bounds the memory. Only the columns that are kept are
    transformed along the other axis. Frequencies that the image lacks are zero.
    """
    rows, width = shape
    kept = min(width, lengths[1] // 2 + 1)
    half = image.new_empty((int(image.shape[0]), kept), dtype=torch.complex64)
    step = max(1, _ROWS_AT_ONCE // lengths[1])
    for some, result in zip(torch.split(image, step), torch.split(half, step)):
        result.copy_(torch.fft.rfft(_extend(some, lengths[1], 1), norm="forward")[:, :kept])
    spectrum = image.new_empty((rows, width), dtype=torch.complex64)
    spectrum[:, kept:] = 0
    step = _AT_ONCE if image.device.type == "cpu" else kept
    for some, result in zip(torch.split(half, step, dim=1), torch.split(spectrum[:, :kept], step, dim=1)):
        result.copy_(_crop_rows(torch.fft.fft(_extend(some, lengths[0], 0), dim=0, norm="forward"), rows))
    return spectrum


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
