# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a micrograph to a given sampling (Å/px).

Each axis is filtered by a sinc function under a Kaiser window (Kaiser 1974, Proc. IEEE Int. Symp. Circuits and
Systems). It holds the frequencies that the new sampling can hold and removes those above, which binning would alias
into the image: the 3.7 Å ring of ice.
"""

from __future__ import annotations

import functools
import math
from typing import List, NamedTuple, Tuple

import numpy as np
import torch

from cryoice_scipion.core.views.patches import uploaded

_ATTENUATION = 40.0  # dB, of what is removed
_EDGE = 0.05  # of the Nyquist frequency: the filter goes from 1 to 0 between 1 - _EDGE and 1 + _EDGE
_TOGETHER = 32  # px of the result that one matrix computes: fewer are slower, more are multiplied by more zeros


def resampled_shape(shape: Tuple[int, int], pixel_size: float, sampling: float) -> Tuple[int, int]:
    """Return the (rows, columns) of an image of ``shape`` px at ``sampling`` Å/px, rounded up."""
    rows, columns = (math.ceil(n * pixel_size / sampling - 1e-6) for n in shape)
    return rows, columns


def resample(image: torch.Tensor, pixel_size: float, sampling: float) -> torch.Tensor:
    """Return the image at another sampling, band-limited to the coarser of the two Nyquist frequencies.

    Pixel i of the result covers [i * sampling, (i + 1) * sampling) Å, as it does in the input.

    Parameters
    ----------
    image : torch.Tensor, shape (rows, columns), float32
        The micrograph; beyond its edges it is mirrored.
    pixel_size, sampling : float
        Å/px of the input and of the result.

    Returns
    -------
    torch.Tensor, shape ``resampled_shape(...)``, float32
        The last row and column may reach over the input's edge by a part of a pixel.
    """
    ratio = sampling / pixel_size
    if ratio == 1.0:
        return image
    shape = (int(image.shape[0]), int(image.shape[1]))
    rows, columns = resampled_shape(shape, pixel_size, sampling)
    between = image.new_empty((rows, shape[1]))
    for part in _parts(shape[0], rows, ratio, image.device):
        torch.mm(part.weights, image[part.inputs], out=between[part.outputs])
    result = image.new_empty((rows, columns))
    for part in _parts(shape[1], columns, ratio, image.device):
        torch.mm(between[:, part.inputs], part.weights.T, out=result[:, part.outputs])
    return result


class _Part(NamedTuple):
    """A few pixels along an axis of the result."""

    outputs: slice
    inputs: slice
    weights: torch.Tensor  # (outputs, inputs)


@functools.lru_cache(maxsize=16)
def _parts(inputs: int, outputs: int, ratio: float, device: torch.device) -> List[_Part]:
    """Return the matrices that resample an axis of ``inputs`` px; ``ratio`` of them are one of ``outputs``."""
    cut = 0.5 * min(1.0, 1.0 / ratio)  # cycles per px of the input
    reach = (_ATTENUATION - 7.95) / (14.36 * 2.0 * _EDGE * cut) / 2.0  # px (Kaiser 1974)
    beta = 0.5842 * (_ATTENUATION - 21.0) ** 0.4 + 0.07886 * (_ATTENUATION - 21.0)
    parts = []
    for first in range(0, outputs, _TOGETHER):
        end = min(outputs, first + _TOGETHER)
        centres = (np.arange(first, end) + 0.5) * ratio - 0.5
        at = np.arange(math.floor(centres[0] - reach), math.ceil(centres[-1] + reach) + 1)
        distances = at - centres[:, None]
        window = np.i0(beta * np.sqrt((1.0 - (distances / reach) ** 2).clip(min=0.0)))
        weights = np.where(np.abs(distances) < reach, np.sinc(2.0 * cut * distances) * window, 0.0)
        weights /= weights.sum(axis=1, keepdims=True)
        mirrored = at % (2 * inputs)
        mirrored = np.minimum(mirrored, 2 * inputs - 1 - mirrored)
        begin, stop = int(mirrored.min()), int(mirrored.max()) + 1
        folded = np.zeros((stop - begin, end - first))
        np.add.at(folded, mirrored - begin, weights.T)
        matrix = uploaded(np.ascontiguousarray(folded.T, dtype=np.float32), device)
        parts.append(_Part(slice(first, end), slice(begin, stop), matrix))
    return parts
