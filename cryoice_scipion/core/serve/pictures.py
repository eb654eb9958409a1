# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the views of a micrograph: local mean, power spectrum and the map of P(BAD). Imports no torch."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from cryoice_scipion.core.views.power_spectrum import HALF, WINDOW, average_power

QUALITY = 85
_MEAN_SIDE, _MAP_SIDE = 320, 1024  # px
_MEAN_WIDTH = 256.0  # Å, full width at half maximum
_PERCENTILES = (1.0, 99.0)
SPECTRUM_EDGE = WINDOW / HALF  # Å: the resolution at the edge of the picture of the spectrum

Array = NDArray[Any]


def write_views(pixels: Array, border: NDArray[np.bool_], pixel_size: float, folder: Path) -> None:
    """Write ``mean.jpg`` and ``spectrum.jpg`` of a micrograph into a folder.

    Parameters
    ----------
    pixels : numpy.ndarray, (rows, columns), float32
    border : numpy.ndarray, bool
        True where the micrograph has no image, on a grid of any size that covers it.
    """
    if not np.isfinite(pixels).all():
        pixels = np.nan_to_num(pixels, nan=float(np.nanmedian(pixels)), posinf=0.0, neginf=0.0)
    whole = np.asarray(Image.fromarray(border).resize(pixels.shape[::-1], Image.NEAREST))
    _save(local_mean(pixels, border, pixel_size), folder / "mean.jpg")
    _save(spectrum(average_power(pixels, pixel_size, whole)), folder / "spectrum.jpg")


def local_mean(pixels: Array, border: NDArray[np.bool_], pixel_size: float) -> Array:
    """Return the grey levels averaged over 256 Å: thick ice and film are darker or brighter than their surroundings."""
    factor = max(1.0, max(pixels.shape) / _MEAN_SIDE)
    size = tuple(max(1, round(side / factor)) for side in pixels.shape[::-1])
    small = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.BOX))
    inside = ~np.asarray(Image.fromarray(border).resize(size, Image.NEAREST))
    weight = inside.astype(np.float32) if inside.any() else np.ones_like(small)
    sigma = _MEAN_WIDTH / 2.355 / (pixel_size * factor)
    low, high = np.percentile(small[weight > 0], _PERCENTILES)
    around = gaussian_filter(weight, sigma)
    mean = gaussian_filter(np.clip(small, low, high) * weight, sigma) / np.maximum(around, 1e-3)
    return _stretched(mean, weight > 0)


def spectrum(power: Array) -> Array:
    """Return the picture of an average power spectrum; its centre is the frequency 0."""
    left = np.full_like(power[:, 1:], np.nan)
    left[1:] = power[:0:-1, :0:-1]  # the power of -f is that of f
    whole = np.concatenate([left, power], axis=1)
    return _stretched(whole, np.isfinite(whole))


def probability_picture(probability: Array) -> bytes:
    """Return the map of P(BAD) as a PNG file in the colours of the map's scale, 0 to 1."""
    colours = matplotlib.colormaps["cividis"](np.clip(probability, 0, 1), bytes=True)[..., :3]
    picture = Image.fromarray(np.ascontiguousarray(colours))
    factor = max(1, _MAP_SIDE // max(picture.size))
    stream = io.BytesIO()
    picture.resize((picture.width * factor, picture.height * factor), Image.NEAREST).save(stream, "PNG")
    return stream.getvalue()


def jpeg(picture: Image.Image) -> bytes:
    """Return a picture as a JPEG file."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def _stretched(values: Array, counted: NDArray[np.bool_]) -> Array:
    """Return grey levels from 0 to 255."""
    low, high = np.percentile(values[counted], _PERCENTILES) if counted.any() else (0.0, 1.0)
    scaled = (np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-12)
    grey: Array = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return grey


def _save(grey: Array, path: Path) -> None:
    path.write_bytes(jpeg(Image.fromarray(grey)))
