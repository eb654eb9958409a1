# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare a micrograph for networks: resample it, fill its border, and compute its spectra."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from numpy.typing import NDArray

from cryoice_scipion.core.errors import PixelSizeError
from cryoice_scipion.core.images.grid import containing_cells
from cryoice_scipion.core.views import contrast, spots
from cryoice_scipion.core.views.patches import normalise
from cryoice_scipion.core.views.resample import resample
from cryoice_scipion.core.views.spectrum import FEATURES, FINEST, Spectra, feature_frequencies

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
COARSE = 1.25  # times the model's sampling: above it the view lacks high frequencies, and is flagged
TOO_COARSE = 2.5
# Inputs of the U-Net for each cell: bands and rings of its spectrum, and the spot test at each scale.
SPECTRAL_FEATURES = (*FEATURES, *(f"spots {scale:.0f}" for scale in spots.SCALES))


class SpectralView(NamedTuple):
    """The spectra of one micrograph, as the U-Net takes them."""

    features: torch.Tensor  # (SPECTRAL_FEATURES, rows, columns), float32, NaN where unknown
    sees_ice: bool  # whether the 3.67 Å ring is within what the micrograph resolves
    flags: List[str]  # of the spot test: the reason if it was not made, or only in part


def spectral_frequencies() -> torch.Tensor:
    """Return the highest frequency (Å⁻¹) that each of ``SPECTRAL_FEATURES`` needs."""
    return torch.cat([feature_frequencies(), torch.full((len(spots.SCALES),), spots.BANDS[0][1])])


def check_sampling(pixel_size: float, sampling: float) -> List[str]:
    """Return the flag ``coarse_pixels`` if the pixels are too coarse for the sampling of a view (Å/px).

    Raises
    ------
    PixelSizeError
        When they are far too coarse for it.
    """
    if pixel_size > TOO_COARSE * sampling:
        raise PixelSizeError(
            f"pixel size {pixel_size:.3g} Å/px",
            f"too coarse for a model that sees the image at {sampling:.3g} Å/px",
            "use less binned micrographs, or train a model at a coarser sampling",
        )
    return ["coarse_pixels"] if pixel_size > COARSE * sampling else []


def micrograph_view(
    image: Image, pixel_size: float, border: Mask, sampling: float, device: torch.device
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return a micrograph at a model's sampling, and which of its pixels are image rather than border.

    Parameters
    ----------
    image, border : numpy.ndarray, shape (rows, columns)
    pixel_size, sampling : float
        Å/px of the image and of the view.

    Returns
    -------
    view : torch.Tensor, float32, shape of the view
    inside : torch.Tensor, bool, same shape
    """
    filled = torch.from_numpy(fill_border(image, border)).to(device)
    view = resample(filled, pixel_size, sampling)
    rows, columns = (containing_cells(n, sampling, pixel_size, size) for n, size in zip(view.shape, border.shape))
    inside = torch.from_numpy(~border[rows[:, None], columns[None, :]]).to(device)
    return view, inside


def micrograph_spectra(
    image: Image, pixel_size: float, border: Mask, device: torch.device, shape: Optional[Tuple[int, int]] = None
) -> Spectra:
    """Return the spectra of a micrograph at its own sampling, or at 1 Å/px if it is finer.

    Parameters
    ----------
    image, border : numpy.ndarray, shape (rows, columns)
    pixel_size : float
        Å/px.
    device : torch.device
    shape : tuple, optional
        (rows, columns) of the map.
    """
    sampling = _spectral_sampling(pixel_size)
    view, inside = micrograph_view(image, pixel_size, border, sampling, device)
    return Spectra(view, sampling, inside, shape)


def micrograph_evidence(image: Image, pixel_size: float, border: Mask, device: torch.device) -> spots.SpotEvidence:
    """Return the spot test of a micrograph as it was read.

    Parameters
    ----------
    image, border : numpy.ndarray, shape (rows, columns)
    pixel_size : float
        Å/px; below ``spots.FINEST`` the micrograph is cropped to 1 Å/px in Fourier space.
    """
    if not _testable(pixel_size):
        return spots.untested((int(image.shape[0]), int(image.shape[1])), pixel_size, spots.UNAVAILABLE)
    sampling = _spot_sampling(pixel_size)
    return _evidence(*micrograph_view(image, pixel_size, border, sampling, device), sampling, border)


def spectral_view(
    image: Image, pixel_size: float, border: Mask, device: torch.device, shape: Tuple[int, int]
) -> SpectralView:
    """Return the spectral features of every cell of 64 Å, with the evidence of the spot test among them.

    Parameters
    ----------
    image, border : numpy.ndarray, shape (rows, columns)
    pixel_size : float
        Å/px.
    device : torch.device
    shape : tuple
        (rows, columns) of the grid of cells.
    """
    sampling = _spectral_sampling(pixel_size)
    view, inside = micrograph_view(image, pixel_size, border, sampling, device)
    spectra = Spectra(view, sampling, inside, shape)
    if _testable(pixel_size) and _spot_sampling(pixel_size) == sampling:  # nearly always: reuse the view
        found = _evidence(view, inside, sampling, border)
    else:
        found = micrograph_evidence(image, pixel_size, border, device)
    # Its grid may be a cell smaller or larger than this one, because the two round sizes differently.
    row, column = (np.minimum(np.arange(size), have - 1) for size, have in zip(shape, found.log_p.shape[1:]))
    evidence = torch.log1p(torch.from_numpy(-found.log_p[:, row[:, None], column[None, :]])).float().to(device)
    features = torch.cat([spectra.map(), evidence])
    return SpectralView(features, spectra.sees_ice, found.flags)


def _spectral_sampling(pixel_size: float) -> float:
    return pixel_size if pixel_size > 0.98 * FINEST else FINEST


def _testable(pixel_size: float) -> bool:
    return pixel_size <= spots.COARSEST * (1 + 1e-6)


def _spot_sampling(pixel_size: float) -> float:
    return pixel_size if pixel_size >= spots.FINEST else FINEST


def _evidence(view: torch.Tensor, inside: torch.Tensor, sampling: float, border: Mask) -> spots.SpotEvidence:
    outside = ~inside if border.any() else None
    return spots.spot_evidence(normalise(view, inside if border.any() else None), sampling, outside)


def fill_border(image: Image, border: Mask) -> Image:
    """Replace the frame around the image by the mirrored image, and any other border pixel by the median.

    The stripes of a smeared border would otherwise ring through the Fourier transform, and a constant frame would
    look like an edge to every window that reaches it.
    """
    if not border.any() or border.all():
        return image
    rows, columns = np.flatnonzero(~border.all(axis=1)), np.flatnonzero(~border.all(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    inner = image[top:bottom, left:right]
    spots = border[top:bottom, left:right]
    if spots.any():
        inner = np.where(spots, np.float32(np.median(inner[~spots])), inner)
    pad = ((top, image.shape[0] - bottom), (left, image.shape[1] - right))
    return np.ascontiguousarray(np.pad(inner, pad, mode="symmetric"))


def cells_of(pixels: torch.Tensor, stride: int, shape: Tuple[int, int]) -> Mask:
    """Return which map cells have more than half of their pixels set (shape (rows, columns) of the grid)."""
    below, right = shape[0] * stride - int(pixels.shape[0]), shape[1] * stride - int(pixels.shape[1])
    padded = torch.nn.functional.pad(pixels.float()[None, None], (0, right, 0, below), mode="replicate")
    share = torch.nn.functional.avg_pool2d(padded, stride)[0, 0]
    cells: Mask = (share > 0.5).cpu().numpy()
    return cells


def skewness(view: torch.Tensor, inside: torch.Tensor, sampling: float) -> float:
    """Return the skewness of the grey values of small objects; below 0: dark objects on a bright background.

    Large objects, their edges and their fringes have no influence (see :mod:`~.contrast`).

    Parameters
    ----------
    view, inside : torch.Tensor, shape (rows, columns)
        As :func:`micrograph_view` returns them.
    sampling : float
        Å/px of the view.
    """
    pool = max(1, round(contrast.CELL / sampling))
    cells = torch.nn.functional.avg_pool2d(view[None, None], pool, ceil_mode=True)[0, 0]
    kept = torch.nn.functional.avg_pool2d(inside.float()[None, None], pool, ceil_mode=True)[0, 0] > 0.99
    return contrast.tile_skewness(cells.double().cpu().numpy(), kept.cpu().numpy())
