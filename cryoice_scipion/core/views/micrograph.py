# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare a micrograph for networks: resample it, fill its border, and compute its spectra."""

from __future__ import annotations

import dataclasses
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cryoice_scipion.core.errors import PixelSizeError
from cryoice_scipion.core.images.grid import containing_cells
from cryoice_scipion.core.views import contrast, spots
from cryoice_scipion.core.views.patches import normalise, uploaded
from cryoice_scipion.core.views.resample import resample, resampled_shape
from cryoice_scipion.core.views.spectrum import Spectra
from cryoice_scipion.core.views.spectrum_features import FEATURES, feature_frequencies
from cryoice_scipion.core.views.window_transforms import KeptWindows, WindowKeeper
from cryoice_scipion.core.views.windows import FINEST, Starts

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
COARSE = 1.25  # times the model's sampling: above it the view lacks high frequencies, and is flagged
TOO_COARSE = 2.5
_FINER = 0.8  # of the sampling of a view is that of another, at most, from which it is computed
_NEAR = 0.98  # of a sampling: so much finer pixels are not resampled to it
SPOT_SCALES = (spots.SCALES[0], spots.SCALES[-1])  # Å: the one between tells a network nothing more
# Inputs of the U-Net for each cell: bands and rings of its spectrum, and the spot test at two scales.
SPECTRAL_FEATURES = (*FEATURES, *(f"spots {scale:.0f}" for scale in SPOT_SCALES))


#: Flags of a record that are not known to the host yet: one value, bool, on the device of the micrograph, for each.
Flags = Dict[str, torch.Tensor]


class SpectralView(NamedTuple):
    """The spectra of one micrograph, as the U-Net takes them."""

    features: torch.Tensor  # (SPECTRAL_FEATURES, rows, columns), float32, NaN where unknown
    sees_ice: torch.Tensor  # one value, bool: whether the 3.67 Å ring is within what the micrograph resolves
    flags: Flags  # of the spot test: the reason if it was not made, or only in part


class DeviceImage:
    """A micrograph in the memory of a device, to which it is copied once; its border filled.

    Views are kept, since a coarse one is computed quickly from a finer one.
    """

    def __init__(self, image: Image, pixel_size: float, border: Mask, device: torch.device) -> None:
        self.pixels = uploaded(fill_border(image, border), device)
        self.pixel_size = pixel_size  # Å/px
        self._views = {pixel_size: self.pixels}  # by their sampling
        self.border = border  # in the memory of the host
        self.has_border = bool(border.any())

    def at(self, sampling: float) -> Tuple[torch.Tensor, Mask]:
        """Return the micrograph at another sampling (Å/px), and which of its pixels are image rather than border."""
        view = self.view(sampling)
        if not self.has_border:
            return view, np.ones((int(view.shape[0]), int(view.shape[1])), dtype=bool)
        rows, columns = (
            containing_cells(int(n), sampling, self.pixel_size, size) for n, size in zip(view.shape, self.border.shape)
        )
        return view, ~self.border[rows[:, None], columns[None, :]]

    def view(self, sampling: float) -> torch.Tensor:
        """Return the micrograph at another sampling (Å/px), from the coarsest view so far that is much finer."""
        if sampling not in self._views:
            finer = max(have for have in self._views if have == self.pixel_size or have < _FINER * sampling)
            shape = (int(self.pixels.shape[0]), int(self.pixels.shape[1]))
            rows, columns = resampled_shape(shape, self.pixel_size, sampling)
            self._views[sampling] = resample(self._views[finer], finer, sampling)[:rows, :columns]
        return self._views[sampling]


def spectral_frequencies() -> torch.Tensor:
    """Return the highest frequency (Å⁻¹) that each of ``SPECTRAL_FEATURES`` needs."""
    return torch.cat([feature_frequencies(), torch.full((len(SPOT_SCALES),), spots.BAND[1])])


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
    view, inside = DeviceImage(image, pixel_size, border, device).at(sampling)
    return view, torch.from_numpy(inside).to(device)


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
    return spectra_of(DeviceImage(image, pixel_size, border, device), shape)


def spectra_of(
    image: DeviceImage,
    shape: Optional[Tuple[int, int]] = None,
    keeper: Optional[Callable[[List[Starts]], WindowKeeper]] = None,
) -> Spectra:
    """Return the spectra of a micrograph on a device; see :func:`micrograph_spectra`."""
    sampling = _fine_sampling(image.pixel_size)
    view, inside = image.at(sampling)
    return Spectra(view, sampling, inside if image.has_border else None, shape, keeper)


def micrograph_evidence(image: Image, pixel_size: float, border: Mask, device: torch.device) -> spots.SpotEvidence:
    """Return the spot test of a micrograph as it was read.

    Parameters
    ----------
    image, border : numpy.ndarray, shape (rows, columns)
    pixel_size : float
        Å/px.
    """
    seen = DeviceImage(image, pixel_size, border, device)
    view, inside = seen.at(_fine_sampling(pixel_size))
    return _spot_maps(seen, normalise(view, inside if seen.has_border else None)).on_host()


def make_fine_view(image: DeviceImage) -> None:
    """Make the view that :func:`spectral_view` takes; coarser ones are then computed from it."""
    image.view(_fine_sampling(image.pixel_size))


def spectral_view(image: DeviceImage, shape: Tuple[int, int]) -> SpectralView:
    """Return the spectral features of every cell of 64 Å, with the evidence of the spot test among them.

    Parameters
    ----------
    image : DeviceImage
    shape : tuple
        (rows, columns) of the grid of cells.
    """
    sampling = _fine_sampling(image.pixel_size)
    rows, columns = image.view(sampling).shape
    tested = spots.is_tested((int(rows), int(columns)), sampling)
    keeper = spots.searched(SPOT_SCALES, sampling, image.pixels.device).keeper if tested else None
    spectra = spectra_of(image, shape, keeper)
    found = _spot_maps(image, spectra.scaled, SPOT_SCALES, spectra.kept_windows())
    # Its grid may be a cell smaller or larger than this one, because the two round sizes differently.
    row, column = (
        torch.arange(size, device=found.log_p.device).clamp(max=int(have) - 1)
        for size, have in zip(shape, found.log_p.shape[1:])
    )
    evidence = torch.log1p(-found.log_p[:, row[:, None], column]).float()
    features = torch.cat([spectra.map(), evidence])
    flags = {spots.NO_SIGNAL: ~found.has_signal}
    if found.flag:
        flags[found.flag] = found.has_signal
    return SpectralView(features, spectra.sees_ice, flags)


def _fine_sampling(pixel_size: float) -> float:
    return pixel_size if pixel_size > _NEAR * FINEST else FINEST


def _spot_maps(
    image: DeviceImage,
    scaled: torch.Tensor,
    scales: Sequence[float] = spots.SCALES,
    kept: Optional[KeptWindows] = None,
) -> spots.SpotMaps:
    """Return the spot test of a micrograph; of its fine view without hot pixels."""
    shape = (int(image.pixels.shape[0]), int(image.pixels.shape[1]))
    sampling = _fine_sampling(image.pixel_size)
    inside = image.at(sampling)[1]
    found = spots.spot_maps(scaled, sampling, ~inside if image.has_border else None, scales, kept)
    rows, columns = spots.grid_of(shape, image.pixel_size)  # the view may reach over the edge, into another cell
    return dataclasses.replace(found, log_p=found.log_p[:, :rows, :columns])


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


def cells_of(inside: Mask, stride: int, shape: Tuple[int, int]) -> Mask:
    """Return which map cells have more than half of their pixels outside the image (shape (rows, columns))."""
    if inside.all():
        return np.zeros(shape, dtype=bool)
    below, right = (cells * stride - size for cells, size in zip(shape, inside.shape))
    outside = np.pad(~inside, ((0, below), (0, right)), mode="edge")
    cells: Mask = outside.reshape(shape[0], stride, shape[1], stride).mean(axis=(1, 3)) > 0.5
    return cells


def contrast_cells(view: torch.Tensor, sampling: float) -> torch.Tensor:
    """Return the means of a view (at ``sampling`` Å/px) over the cells that contrast is measured on."""
    return functional.avg_pool2d(view[None, None], _pool(sampling), ceil_mode=True)[0, 0]


def skewness(cells: NDArray[np.float32], inside: Mask, sampling: float) -> float:
    """Return the skewness of the grey values of small objects; below 0: dark objects on a bright background.

    Large objects, their edges and their fringes have no influence (see :mod:`~.contrast`).

    Parameters
    ----------
    cells : numpy.ndarray
        What :func:`contrast_cells` returns.
    inside : numpy.ndarray, bool
        Which pixels of the view are image rather than border.
    sampling : float
        Å/px of the view.
    """
    kept = functional.avg_pool2d(torch.from_numpy(inside).float()[None, None], _pool(sampling), ceil_mode=True)[0, 0]
    return contrast.tile_skewness(cells.astype(np.float64), (kept > 0.99).numpy())


def _pool(sampling: float) -> int:
    return max(1, round(contrast.CELL / sampling))
