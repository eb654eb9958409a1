# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the views of a micrograph: local mean, power spectrum and the map of P(BAD). Imports no torch."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any, Optional

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.images.grey_levels import grey_levels
from cryoice_scipion.core.images.thumbnails import write_base
from cryoice_scipion.core.images.writing import write_map
from cryoice_scipion.core.results.picture_layers import DETAIL, LOW_PASSES, read_grey
from cryoice_scipion.core.views.power_spectrum import HALF, WINDOW, average_power

QUALITY = 85
FINER = "finer.mrc"  # an upload, binned, that its finer pictures are made from
_MEAN_SIDE, _MAP_SIDE = 320, 1024  # px
_FINE, _MOST_FINE = ".fine.jpg", 100  # end of their names; pictures that are kept
_MEAN_WIDTH = 256.0  # Å, full width at half maximum
_PERCENTILES = (1.0, 99.0)
SPECTRUM_EDGE = WINDOW / HALF  # Å: the resolution at the edge of the picture of the spectrum
_FINER = threading.Lock()  # one at a time, since each needs the whole micrograph in memory

Array = NDArray[Any]


def finer_picture(path: str, pixel_size: Optional[float], low_pass: int, target: Path) -> Path:
    """Write a grey picture of a micrograph in more detail than the stored one, unless it is there; return its path.

    Parameters
    ----------
    pixel_size : float, optional
        Å/px. None: from the header.
    low_pass : int
        Full width at half maximum of the filter, Å.
    target : pathlib.Path
        Start of the name of the JPEG file, in a folder of which the oldest such files are deleted.

    Raises
    ------
    CryoIceError
        When the micrograph cannot be read, or the filter is not in ``LOW_PASSES``.
    """
    if not LOW_PASSES[0] <= low_pass <= LOW_PASSES[1]:
        raise SettingsError("low-pass", f"is not from {LOW_PASSES[0]} to {LOW_PASSES[1]} Å")
    picture = target.with_name(f"{target.name}_{low_pass}{_FINE}")
    with _FINER:
        if not picture.is_file():
            write_base(picture, read_grey(path, pixel_size, low_pass))
            kept = sorted(target.parent.glob(f"*{_FINE}"), key=lambda one: one.stat().st_mtime)
            for old in kept[:-_MOST_FINE]:
                old.unlink()
    return picture


def write_views(pixels: Array, border: NDArray[np.bool_], pixel_size: float, folder: Path) -> None:
    """Write ``mean.jpg``, ``spectrum.jpg`` and the source of finer pictures of a micrograph into a folder.

    Parameters
    ----------
    pixels : numpy.ndarray, (rows, columns), float32
    border : numpy.ndarray, bool
        True where the micrograph has no image, on a grid of any size that covers it.
    """
    if not np.isfinite(pixels).all():
        pixels = np.nan_to_num(pixels, nan=float(np.nanmedian(pixels)), posinf=0.0, neginf=0.0)
    whole = np.asarray(Image.fromarray(border).resize(pixels.shape[::-1], Image.NEAREST))
    factor = max(1.0, max(pixels.shape) / DETAIL)
    size = tuple(max(1, round(side / factor)) for side in pixels.shape[::-1])
    write_map(folder / FINER, np.asarray(Image.fromarray(pixels).resize(size, Image.BOX)), pixel_size * factor)
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
    return grey_levels(np.nan_to_num(values, nan=low), low, high)


def _save(grey: Array, path: Path) -> None:
    path.write_bytes(jpeg(Image.fromarray(grey)))
