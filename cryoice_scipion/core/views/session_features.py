# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure each cell of a micrograph in its own grey levels, for comparison with other micrographs of the session.

Nothing is normalised by the micrograph. Mean, variance and power of a micrograph that is unusual from edge to edge
therefore differ from those of its session. torch, whose transforms take a third of the time of scipy's, is imported
only when a micrograph is measured.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cryoice_scipion.core.images.reducing import binned

FINEST = 1.0  # Å/px: finer micrographs are binned
WINDOW = 128.0  # Å: side of a cell
LEAST_WINDOW = 32  # px: side of a cell of coarser micrographs
BANDS = 16  # of spatial frequency, up to that of Nyquist
_BEND = 1.5  # bands are narrower at low frequencies
_SMALL = 1e-12

Array = NDArray[np.float32]


@dataclasses.dataclass
class SessionFeatures:
    """Features of each cell of one micrograph."""

    values: Array  # (rows, columns, features); NaN where a cell touches the border
    sampling: float  # Å, side of a cell
    border_share: NDArray[np.float32]  # (rows, columns): share of the cell that is border


def session_features(image: Array, pixel_size: float, border: NDArray[np.bool_]) -> SessionFeatures:
    """Return mean, log variance, and log power by band of each cell.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns), float32
    pixel_size : float
        Å/px.
    border : numpy.ndarray, bool, same shape
        True where there is no image.
    """
    bin_size = max(1, int(FINEST / pixel_size + 0.05))
    has_border = bool(border.any())
    if bin_size > 1:
        image, border = binned(image, bin_size), binned(border, bin_size) > 0 if has_border else border
    from cryoice_scipion.core.views.patches import window_px  # imports torch

    side = min(max(LEAST_WINDOW, window_px(WINDOW, pixel_size * bin_size)), *image.shape)
    plan = _plan(side)
    tops, lefts = (np.minimum(np.arange(0, size, side), size - side) for size in image.shape)
    values = np.stack([plan.of_windows(_windows(image[top : top + side], lefts)) for top in tops])
    shares = np.zeros(values.shape[:2], dtype=np.float32)
    if has_border:
        shares = np.stack([_shares(border[top : top + side], lefts) for top in tops])
        values[shares > 0] = np.nan
    return SessionFeatures(values, side * pixel_size * bin_size, shares)


def _windows(strip: Array, lefts: NDArray[np.int64]) -> Array:
    """Return copies of the square windows of a strip (side, columns) that begin at given columns."""
    strip = strip.copy()  # each of its lines is read from memory as a whole
    return np.stack([strip[:, left : left + len(strip)] for left in lefts])


def _shares(strip: NDArray[np.bool_], lefts: NDArray[np.int64]) -> Array:
    """Return the share of True pixels in each of these windows."""
    before = np.append(0, np.cumsum(strip.sum(axis=0, dtype=np.uint16), dtype=np.int64))
    return np.asarray((before[lefts + len(strip)] - before[lefts]) / len(strip) ** 2, dtype=np.float32)


class _Plan:
    """The taper, and the share of each frequency in each band, for windows of one size."""

    def __init__(self, side: int) -> None:
        import torch

        taper = np.hanning(side + 2)[1:-1].astype(np.float32)
        radius = np.hypot(fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None, :]).ravel() * 2
        step = 2.0 / side
        edges = [0.5 * step]
        for wanted in (np.arange(1, BANDS + 1) / BANDS) ** _BEND:
            if wanted - edges[-1] >= 0.99 * step:
                edges.append(float(wanted))
        band = np.searchsorted(edges, radius, side="right") - 1
        self.number = len(edges) - 1  # of bands; the other rows are 0, since 16 rows are multiplied faster than 15
        bands = (np.arange(BANDS)[:, None] == np.where(band < self.number, band, -1)).astype(np.float32)
        self.taper = torch.from_numpy(np.outer(taper, taper) / np.float32(np.square(taper).sum()))
        self.bands = torch.from_numpy(bands / bands.sum(axis=1, keepdims=True).clip(min=1))

    def of_windows(self, windows: Array) -> Array:
        """Return the features (n, features) of windows (n, side, side). Changes them."""
        import torch

        from cryoice_scipion.core.views.patches import power_of

        values = torch.from_numpy(windows)
        pixels = values.flatten(1)
        mean = pixels.mean(dim=1, keepdim=True)
        variance = torch.linalg.vector_norm(pixels.sub_(mean), dim=1, keepdim=True).square() / pixels.shape[1]
        power = power_of(torch.fft.rfft2(values.mul_(self.taper))).flatten(1)
        by_band = torch.nn.functional.linear(power, self.bands)[:, : self.number]
        features: Array = torch.cat([mean, torch.log(torch.cat([variance, by_band], dim=1) + _SMALL)], dim=1).numpy()
        return features


@functools.lru_cache(maxsize=4)
def _plan(side: int) -> _Plan:
    """Return the plan of a window size; it is computed once."""
    return _Plan(side)
