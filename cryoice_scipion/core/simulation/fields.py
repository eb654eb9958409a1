# SPDX-License-Identifier: GPL-3.0-or-later
"""Random fields and interpolation, from which ice, films and dirt are drawn."""

from __future__ import annotations

from typing import Callable, Tuple

import numpy as np
from scipy import fft, ndimage, sparse

from cryoice_scipion.core.simulation.optics import WORKERS, Array, frequencies


def noise_with_spectrum(
    shape: Tuple[int, int],
    sampling: float,
    density: Callable[[Array], Array],
    rng: np.random.Generator,
) -> Array:
    """Return a Gaussian random field of a given power spectral density.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    sampling : float
        Å/px.
    density : function
        Power per area of frequency space at k (1/Å): the field's unit squared times Å².

    Returns
    -------
    ndarray, float32, shape
        Its variance is the integral of the density over the frequencies that the grid has.
    """
    white = fft.rfft2(rng.standard_normal(shape, dtype=np.float32), workers=WORKERS)
    ky, kx = frequencies(shape, sampling, real=True)
    k = np.sqrt(kx * kx + ky * ky)
    # The density is smooth: a table of it is far cheaper than 10⁷ exponentials.
    table = np.linspace(0, float(k.max()), 2048)
    amplitude = np.sqrt(np.maximum(density(table), 0)) / sampling
    step = np.float32(2047 / table[-1])
    white *= amplitude.astype(np.float32)[(k * step).astype(np.int32)]
    return np.asarray(fft.irfft2(white, s=shape, workers=WORKERS, overwrite_x=True), dtype=np.float32)


def smooth_field(shape: Tuple[int, int], length: float, rng: np.random.Generator) -> Array:
    """Return a Gaussian field, mean 0 and variance 1 over an endless plane, with correlation ``length`` in px."""
    step = max(1.0, length / 6)
    small = (int(np.ceil(shape[0] / step)) + 4, int(np.ceil(shape[1] / step)) + 4)
    sigma = length / step / 2
    pad = int(np.ceil(4 * sigma))
    white = rng.standard_normal((small[0] + 2 * pad, small[1] + 2 * pad), dtype=np.float32)
    field = ndimage.gaussian_filter(white, sigma, mode="wrap")[pad:-pad, pad:-pad]
    field *= np.float32(2 * np.sqrt(np.pi) * sigma)  # sum of the squared Gaussian kernel is 1 / (4 π σ²)
    if step == 1.0:
        return np.ascontiguousarray(field[: shape[0], : shape[1]])
    return Spline(field.shape, shape, 1 / step)(field)


def soft_step(values: Array, low: float, high: float) -> Array:
    """Return 0 below ``low``, 1 above ``high`` and a smooth rise between, float32."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def soft_region(shape: Tuple[int, int], share: float, length: float, rng: np.random.Generator) -> Array:
    """Return a mask, 0 to 1, of smooth blobs that cover ``share`` of the field at 0.5; ``length`` in px."""
    if share >= 0.995:
        return np.ones(shape, np.float32)
    field = smooth_field(shape, length, rng)
    cut = float(np.quantile(field[::4, ::4], 1 - share))
    width = 0.12 * float(field.std()) + 1e-6
    return soft_step(field, cut - width, cut + width)


class Spline:
    """Enlarges a coarse map by cubic B-splines: smooth, never overshooting, without ringing."""

    def __init__(self, coarse: Tuple[int, ...], fine: Tuple[int, ...], ratio: float) -> None:
        """Prepare for maps of shape ``coarse``; a fine pixel is ``ratio`` coarse ones wide; corners coincide."""
        self.rows = _spline_matrix(coarse[0], fine[0], ratio)
        self.columns = _spline_matrix(coarse[1], fine[1], ratio)

    def __call__(self, values: Array, box: Tuple[slice, slice] = (slice(None), slice(None))) -> Array:
        """Return the fine map, float32, or the part of it in ``box``."""
        values = np.asarray(values, np.float32)
        wide = self.columns[box[1]] @ np.ascontiguousarray(values.T)
        return np.asarray(self.rows[box[0]] @ np.ascontiguousarray(wide.T), dtype=np.float32)


def _spline_matrix(coarse: int, fine: int, ratio: float) -> sparse.csr_matrix:
    centre = (np.arange(fine) + 0.5) * ratio - 0.5
    base = np.floor(centre).astype(np.int64)
    t = centre - base
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    columns = np.clip(base + np.arange(-1, 3)[:, None], 0, coarse - 1)
    rows = np.broadcast_to(np.arange(fine), columns.shape)
    entries = (weights.astype(np.float32).ravel(), (rows.ravel(), columns.ravel()))
    return sparse.csr_matrix(entries, shape=(fine, coarse))
