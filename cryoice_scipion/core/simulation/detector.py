# SPDX-License-Identifier: GPL-3.0-or-later
"""The detector: from intensity to recorded values, with its transfer function, noise and faults."""

from __future__ import annotations

from typing import Tuple

import numpy as np
from scipy import fft

from cryoice_scipion.core.simulation.optics import WORKERS, Array, Optics, crop_spectrum, frequencies, motion_envelope

#: Shapes of uneven brightness: evenly to one side, near one side, towards the corners. Patches are left out, because
#: they look like thick ice.
SHADINGS = ("slope", "edge", "corners")


def transfer(k: Array, detector_pixel: float, at_nyquist: float) -> Array:
    """Return a falling transfer function: 1 at k = 0, ``at_nyquist`` at the physical pixel's Nyquist frequency.

    A Lorentzian; measured MTFs of direct detectors have this form and about .3 to .6 at Nyquist
    (Ruskin et al. 2013, McMullan et al. 2014).

    Parameters
    ----------
    k : ndarray
        Spatial frequency, 1/Å.
    detector_pixel : float
        Physical pixel in the specimen plane, Å: a binned image has only the start of the curve.
    at_nyquist : float
        Value at ``k = 1 / (2 detector_pixel)``, above 0, up to 1.
    """
    relative = k * np.float32(2 * detector_pixel)
    return np.asarray(1 / (1 + np.float32(1 / at_nyquist - 1) * relative**2), dtype=np.float32)


def arriving(
    intensity: Array,
    sampling: float,
    shape: Tuple[int, int],
    optics: Optics,
    detector_pixel: float,
    signal_at_nyquist: float,
) -> Array:
    """Return the intensity that the detector counts, at the recorded sampling, by cropping its transform.

    Motion and the part of the MTF that the noise does not share are applied before counting, so
    that a DQE below 1 comes out where the signal's transfer is below the noise's.

    Parameters
    ----------
    intensity : ndarray, float32
        On the simulation's grid.
    sampling : float
        Å/px of that grid.
    shape : (int, int)
        Rows and columns of the same field on the recorded grid, even.
    signal_at_nyquist : float
        MTF / NTF at the physical Nyquist frequency.

    Returns
    -------
    ndarray, float32, shape
        Not negative.
    """
    full = (intensity.shape[0], intensity.shape[1])
    spectrum = crop_spectrum(fft.rfft2(intensity, workers=WORKERS), full, shape)
    pixel = sampling * full[0] / shape[0]
    ky, kx = frequencies(shape, pixel, real=True)
    spectrum *= motion_envelope(optics, ky, kx)
    spectrum *= transfer(np.sqrt(kx * kx + ky * ky), detector_pixel, signal_at_nyquist)
    result = fft.irfft2(spectrum, s=shape, workers=WORKERS, overwrite_x=True)
    return np.asarray(np.maximum(result, 0, out=result), dtype=np.float32)


def expose(intensity: Array, dose: float, pixel_size: float, rng: np.random.Generator) -> Array:
    """Return Poisson counts, float32, for a dose in e/Å² at intensity 1 and a pixel size in Å."""
    return rng.poisson(intensity * np.float32(dose * pixel_size**2)).astype(np.float32)


def spread_noise(counts: Array, pixel_size: float, detector_pixel: float, at_nyquist: float) -> Array:
    """Return counts filtered by the detector's noise transfer function, float32."""
    shape = (counts.shape[0], counts.shape[1])
    spectrum = fft.rfft2(counts, workers=WORKERS)
    ky, kx = frequencies(shape, pixel_size, real=True)
    spectrum *= transfer(np.sqrt(kx * kx + ky * ky), detector_pixel, at_nyquist)
    return np.asarray(fft.irfft2(spectrum, s=shape, workers=WORKERS, overwrite_x=True), dtype=np.float32)


def add_gain_stripes(image: Array, strength: float, rng: np.random.Generator) -> None:
    """Multiply columns and blocks of columns by slightly wrong gains, in place."""
    columns = image.shape[1]
    gain = 1 + strength * rng.standard_normal(columns)
    block = max(8, columns // int(rng.integers(4, 17)))  # detectors are read out in blocks of columns
    gain += np.repeat(strength * rng.standard_normal(columns // block + 1), block)[:columns]
    image *= gain.astype(np.float32)


def add_gain_blocks(image: Array, strength: float, rng: np.random.Generator) -> None:
    """Brighten and darken the blocks that a detector is read out in, in place; in deviations of the image."""
    shape = (image.shape[0], image.shape[1])
    number = (int(rng.integers(1, 5)), int(rng.integers(2, 9)))
    blocks = strength * float(image.std()) * rng.standard_normal(number).astype(np.float32)
    row, column = (np.arange(size) * count // size for size, count in zip(shape, number))
    image += blocks[row[:, None], column[None, :]]


def shading(shape: Tuple[int, int], pixel_size: float, kind: str, rng: np.random.Generator) -> Array:
    """Return uneven brightness of a kind of ``SHADINGS``, float32: 0 where it is even, -1 at the darkest place."""
    centre = 0.5 + rng.uniform(-0.2, 0.2, 2)
    y, x = (np.linspace(0, 1, size, dtype=np.float32) - np.float32(at) for size, at in zip(shape, centre))
    angle = rng.uniform(0, 2 * np.pi)
    field = np.float32(np.sin(angle)) * y[:, None] + np.float32(np.cos(angle)) * x[None, :]
    if kind == "corners":
        field = -((y[:, None] ** 2 + x[None, :] ** 2) ** np.float32(rng.uniform(0.7, 3)))
    elif kind == "edge":
        reach = rng.uniform(500, 4000) / (pixel_size * min(shape))
        field = -np.exp(-(field - field.min()) / np.float32(reach))
    top, bottom = float(field.max()), float(field.min())
    return np.asarray((field - top) / (top - bottom), dtype=np.float32)


def shaded(arriving: Array, dose: float, darkest: float, field: Array) -> Array:
    """Return an intensity times a shading, whose darkest place is given in deviations of the image to come.

    Parameters
    ----------
    arriving : ndarray
        The intensity that the detector counts.
    dose : float
        Electrons a pixel at intensity 1.
    """
    low, middle, high = np.percentile(arriving[::4, ::4], [16, 50, 84])
    deviation = float(np.hypot((high - low) / 2, np.sqrt(middle / dose)) / middle)
    return np.asarray(np.maximum(arriving * (1 + np.float32(darkest * deviation) * field), 0), dtype=np.float32)


def add_faulty_pixels(image: Array, hot: int, dead_columns: int, rng: np.random.Generator) -> None:
    """Set single pixels to far too much and whole columns to nothing, in place."""
    rows, columns = image.shape
    top = float(image.mean() + 6 * image.std())
    y, x = rng.integers(0, rows, hot), rng.integers(0, columns, hot)
    image[y, x] = top * rng.uniform(1, 8, hot).astype(np.float32)
    image[:, rng.integers(0, columns, dead_columns)] = 0
