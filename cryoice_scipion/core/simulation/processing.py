# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulate later processing of micrographs: borders, filters, value ranges."""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

import numpy as np
from scipy import fft

from cryoice_scipion.core.simulation.optics import WORKERS, Array, frequencies

Widths = Sequence[int]


def filter_image(image: Array, pixel_size: float, low_pass: Optional[float], high_pass: Optional[float]) -> Array:
    """Return a Gaussian low- and high-passed image; the mean stays. Half-amplitude resolutions in Å.

    The image is mirrored at its edges first, so that opposite sides do not mix.
    """
    if not low_pass and not high_pass:
        return image
    reach = int(min(min(image.shape) // 2, 1 + max(2 * (low_pass or 0), 0.5 * (high_pass or 0)) / pixel_size))
    padded = np.pad(image, reach, mode="reflect")
    shape = tuple(fft.next_fast_len(size, real=True) for size in padded.shape)
    padded = np.pad(padded, [(0, new - old) for new, old in zip(shape, padded.shape)], mode="edge")
    spectrum = fft.rfft2(padded, workers=WORKERS)
    mean = spectrum[0, 0]
    ky, kx = frequencies((padded.shape[0], padded.shape[1]), pixel_size, real=True)
    k2 = kx * kx + ky * ky
    if low_pass:
        spectrum *= np.exp(np.float32(-np.log(2) * low_pass**2) * k2)
    if high_pass:
        spectrum *= 1 - np.exp(np.float32(-np.log(2) * high_pass**2) * k2)
    spectrum[0, 0] = mean
    result = fft.irfft2(spectrum, s=padded.shape, workers=WORKERS, overwrite_x=True)
    rows, columns = image.shape
    return np.ascontiguousarray(result[reach : reach + rows, reach : reach + columns], dtype=np.float32)


def inside(shape: Tuple[int, int], widths: Widths) -> Tuple[slice, slice]:
    """Return the part inside four border widths (top, left, bottom, right; px)."""
    top, left, bottom, right = widths
    return slice(top, shape[0] - bottom), slice(left, shape[1] - right)


def smear_borders(image: Array, widths: Widths, noise: float, rng: np.random.Generator) -> None:
    """Repeat the last interior row or column outwards, in place, with noise (of compression) on top.

    This is what frame alignment leaves where frames do not overlap.
    """
    rows, columns = inside((image.shape[0], image.shape[1]), widths)
    left, right = columns.start, columns.stop
    image[:, :left] = image[:, left : left + 1]
    image[:, right:] = image[:, right - 1 : right]
    image[: rows.start] = image[rows.start]
    image[rows.stop :] = image[rows.stop - 1]
    if noise > 0:
        outside = np.ones(image.shape, bool)
        outside[rows, columns] = False
        image[outside] += rng.normal(0, noise, int(outside.sum())).astype(np.float32)


def blank_borders(image: Array, widths: Widths, value: float) -> None:
    """Set the border to one value, in place."""
    rows, columns = inside((image.shape[0], image.shape[1]), widths)
    interior = image[rows, columns].copy()
    image[:] = value
    image[rows, columns] = interior


def to_values(image: Array, values: str, inverted: bool, interior: Tuple[slice, slice]) -> Array:
    """Return the image as counts, with mean 0 and deviation 1, or as whole numbers from 0 to 255; float32."""
    if inverted:
        image = 2 * image[interior].mean(dtype=np.float64).astype(np.float32) - image
    if values == "counts":
        return image
    part = image[interior]
    mean, deviation = float(part.mean(dtype=np.float64)), float(part.std(dtype=np.float64)) or 1.0
    image = (image - np.float32(mean)) / np.float32(deviation)
    if values == "bytes":  # four deviations on either side, what is beyond is cut
        image = np.clip(np.round(image * 32 + 128), 0, 255)
    return np.ascontiguousarray(image, dtype=np.float32)
