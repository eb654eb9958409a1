# SPDX-License-Identifier: GPL-3.0-or-later
"""Classical maps, without any training: the floors that a learned model must beat (docs/accuracy.md).

Each gives one score a cell, higher is worse, on the evaluation grid. Micrographs are brought to one scale
by their own median and interquartile range.

- minus the local mean: Gaussian of 57 Å; what is dark is bad;
- local standard deviation: the same Gaussian, logarithm, against the micrograph's own median;
- band-energy Mahalanobis distance: 32 band and texture features of windows of 128 Å, fitted on the clean cells of the
  three cleanest micrographs of the same set;
- iciness, as cisTEM has it: (3.5 to 3.9 Å band / 6 to 30 Å band)² of the local spectrum, up to 1.75 Å/px.
"""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter

from cryoice_scipion.core.views.micrograph import fill_border
from cryoice_scipion.core.views.resample import resample

Array = NDArray[np.float32]
LOCAL_MEAN, LOCAL_DEVIATION, MAHALANOBIS, ICINESS = "− local mean", "local deviation", "Mahalanobis", "iciness"
NAMES = (LOCAL_MEAN, LOCAL_DEVIATION, MAHALANOBIS, ICINESS)

SIGMA = 57.0  # Å, of the local mean and the local deviation
VIEW = 4.0  # Å/px, at which both are taken, or the micrograph's own where that is coarser
WINDOW, STRIDE = 128.0, 32.0  # Å, of the local spectra
LEAST_WINDOW = 32  # px: so that 16 bands of frequency are there at any pixel size
BANDS, SECTORS, WIDE = 16, 8, 4
FINEST_ICE = 1.75  # Å/px: the band begins at 3.5 Å
FITTED_ON = 3  # micrographs
_SMALL = 1e-6


@dataclasses.dataclass
class LocalSpectra:
    """Features and iciness of windows; window (i, j) is centred on (first + i * stride, first + j * stride) Å."""

    features: Array  # (rows, columns, 32)
    iciness: Optional[Array]  # (rows, columns), logarithm; None: the pixel size is too coarse
    first: float  # Å
    stride: float  # Å


def scaled(image: Array, border: NDArray[np.bool_]) -> Array:
    """Return the micrograph in units of its interquartile range from its median, its border filled."""
    inside = image[~border] if not border.all() else image.ravel()
    low, middle, high = np.percentile(inside[:: max(1, inside.size // 1_000_000)], [25, 50, 75])
    filled = (fill_border(image, border) - np.float32(middle)) / np.float32(max(high - low, _SMALL))
    return np.clip(filled, -20, 20).astype(np.float32)


def local_maps(image: Array, pixel_size: float, shape: Sequence[int], sampling: float) -> Dict[str, Array]:
    """Return minus the local mean and the local deviation of a scaled micrograph on the evaluated grid."""
    step = max(VIEW, pixel_size)
    view = resample(torch.from_numpy(image), pixel_size, step).numpy()
    mean = gaussian_filter(view, SIGMA / step, mode="mirror")
    variance = gaussian_filter(view * view, SIGMA / step, mode="mirror") - mean * mean
    deviation = 0.5 * np.log(np.maximum(variance, _SMALL))
    return {
        LOCAL_MEAN: -at_cells(mean, step / 2, step, shape, sampling),
        LOCAL_DEVIATION: at_cells(deviation - np.median(deviation), step / 2, step, shape, sampling),
    }


def at_cells(values: Array, first: float, step: float, shape: Sequence[int], sampling: float) -> Array:
    """Return the value nearest to the centre of each cell; value i is centred on first + i * step, all in Å."""
    row, column = (
        np.clip(np.rint(((np.arange(size) + 0.5) * sampling - first) / step).astype(np.intp), 0, count - 1)
        for size, count in zip(shape, values.shape)
    )
    return values[row[:, None], column[None, :]]


def local_spectra(image: Array, pixel_size: float) -> LocalSpectra:
    """Return 32 features of each window of a scaled micrograph, and its iciness."""
    side = min(max(LEAST_WINDOW, round(WINDOW / pixel_size)), *image.shape)
    stride = max(1, round(STRIDE / pixel_size))
    windows = np.lib.stride_tricks.sliding_window_view(image, (side, side))[::stride, ::stride]
    plan = _Plan(side, pixel_size)
    rows = [plan.of_windows(row) for row in windows]
    iciness = np.stack([row[1] for row in rows]) if plan.ice is not None else None
    return LocalSpectra(np.stack([row[0] for row in rows]), iciness, side * pixel_size / 2, stride * pixel_size)


class _Plan:
    """What is the same for all windows of a micrograph: the taper, and which band a frequency is in."""

    def __init__(self, side: int, pixel_size: float) -> None:
        taper = np.hanning(side + 2)[1:-1].astype(np.float32)
        self.taper = np.outer(taper, taper)
        y, x = fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None, :]
        radius = np.hypot(y, x)
        band = np.minimum((radius * 2 * BANDS).astype(int), BANDS)  # linear up to Nyquist; the corners are left out
        band[0, 0] = BANDS
        angle = ((np.arctan2(y, x) / np.pi + 0.5) * SECTORS).astype(int) % SECTORS
        self.bands = _averages(band, BANDS)
        wide = np.where(band < BANDS, (band * WIDE // BANDS) * SECTORS + angle, WIDE * SECTORS)
        self.sectors = _averages(wide, WIDE * SECTORS)
        self.ice = None
        if pixel_size <= FINEST_ICE:
            spacing = pixel_size / np.maximum(radius, _SMALL)
            ring, low = (spacing >= 3.5) & (spacing <= 3.9), (spacing >= 6.0) & (spacing <= 30.0)
            self.ice = _averages(np.where(ring, 0, np.where(low, 1, 2)), 2)

    def of_windows(self, windows: Array) -> Tuple[Array, Array]:
        """Return the features (n, 32) and the logarithm of the iciness (n,) of windows (n, side, side)."""
        mean = windows.mean(axis=(1, 2))
        centred = windows - mean[:, None, None]
        power = np.abs(fft.rfft2(centred * self.taper)) ** 2
        power = power.reshape(len(power), -1)
        bands = np.log(power @ self.bands + _SMALL)
        sectors = (power @ self.sectors).reshape(len(power), WIDE, SECTORS)
        uneven = np.log((sectors.max(axis=2) + _SMALL) / (sectors.mean(axis=2) + _SMALL))
        ice = np.zeros(len(power), dtype=np.float32)
        if self.ice is not None:
            ring, low = (power @ self.ice).T
            ice = 2 * np.log((ring + _SMALL) / (low + _SMALL))
        features = np.concatenate([bands, uneven, _texture(centred, mean)], axis=1)
        return features.astype(np.float32), ice.astype(np.float32)


def _averages(groups: NDArray[np.intp], number: int) -> Array:
    """Return the matrix (frequencies, groups) that averages power over each group."""
    matrix = (groups.ravel()[:, None] == np.arange(number)[None, :]).astype(np.float32)
    return matrix / np.maximum(matrix.sum(axis=0), 1)


def _texture(centred: Array, mean: Array) -> Array:
    """Return 12 features (n, 12): moments, gradients, quantiles, and how uneven the window's quarters are."""
    deviation = np.sqrt(np.square(centred).mean(axis=(1, 2)) + _SMALL)
    unit = centred / deviation[:, None, None]
    square = unit * unit
    skewness, kurtosis = (square * unit).mean(axis=(1, 2)), (square * square).mean(axis=(1, 2))
    gradients = [np.log(np.square(np.diff(unit, axis=axis)).mean(axis=(1, 2)) + _SMALL) for axis in (1, 2)]
    sample = unit[:, ::4, ::4].reshape(len(unit), -1)
    quantiles = np.quantile(sample, [0.02, 0.25, 0.75, 0.98], axis=1)
    half = centred.shape[1] // 2
    quarters = np.stack(
        [centred[:, rows, columns].mean(axis=(1, 2)) for rows in (slice(half), slice(half, None))
         for columns in (slice(half), slice(half, None))]
    )  # fmt: skip
    moments = [mean, np.log(deviation), skewness, np.log(kurtosis + _SMALL)]
    return np.stack([*moments, *gradients, *quantiles, quarters.std(axis=0), np.abs(quarters).max(axis=0)], axis=1)


class Mahalanobis:
    """The distance to the features of clean cells, with a shrunk covariance."""

    def __init__(self, clean: Array) -> None:
        """Fit to clean features (n, 32)."""
        self.mean = clean.mean(axis=0)
        covariance = np.cov((clean - self.mean).T.astype(np.float64))
        shrunk = 0.99 * covariance + 0.01 * np.diag(np.diag(covariance) + _SMALL)
        self.root = np.linalg.cholesky(np.linalg.inv(shrunk)).astype(np.float32)

    def log_distance(self, features: Array) -> Array:
        """Return the logarithm of the distance, shape of the features less the last axis."""
        return np.log(np.linalg.norm((features - self.mean) @ self.root, axis=-1) + _SMALL).astype(np.float32)


def cleanest(clean_cells: Sequence[int], shares: Sequence[float]) -> List[int]:
    """Return which micrographs the distance is fitted on: the cleanest three that have clean cells."""
    order = sorted(range(len(shares)), key=lambda place: (-round(shares[place], 4), -clean_cells[place], place))
    return [place for place in order if clean_cells[place] > 0][:FITTED_ON]
