# SPDX-License-Identifier: GPL-3.0-or-later
"""A detector: views of a micrograph in, log-odds of each class on a coarse grid out.

Every kind of detector stands behind :class:`Detector`; masks, scores, streaming and reports know only that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Protocol, Tuple, Union

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save

from cryoice_scipion.core.config import ModelConfig
from cryoice_scipion.core.errors import ModelError, PixelSizeError
from cryoice_scipion.core.networks.bundle import SPOT_TEST, WEIGHTS, load_config
from cryoice_scipion.core.networks.two_scale import TwoScaleNet
from cryoice_scipion.core.networks.two_view import HOP, WINDOW, TwoViewNet
from cryoice_scipion.core.screening.classmap import ClassMap
from cryoice_scipion.core.views.patches import grid_shape, normalise, pad_for_grid
from cryoice_scipion.core.views.resample import resample
from cryoice_scipion.core.views.spectrum import COARSEST, FINEST, Spectra
from cryoice_scipion.core.views.two_scale import MicrographViews

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Network = Union[TwoViewNet, TwoScaleNet]
NO_FFT = "no_fft"  # flag: the pixels are too coarse for the rings of ice, or a filter has removed them
COARSE = 1.25  # times the model's sampling: above it the view lacks high frequencies, and the record says so
TOO_COARSE = 2.5
_SKEW_POOL = 8  # px of the view: skewness is measured at about 32 Å


class Detector(Protocol):
    """What maps micrographs."""

    config: ModelConfig

    def map(self, image: Image, pixel_size: float, border: Mask, inverted: bool) -> ClassMap:
        """Return the log-odds of each class over the whole micrograph.

        Parameters
        ----------
        image : numpy.ndarray, shape (rows, columns), float32
        pixel_size : float
            Å/px.
        border : numpy.ndarray, bool, same shape
            True where there is no image (smeared, constant).
        inverted : bool
            True: particles are bright, change the sign.
        """
        ...


class NetworkDetector:
    """A trained network as a detector."""

    def __init__(self, config: ModelConfig, network: Network, device: torch.device) -> None:
        """Take a network in evaluation mode to a device."""
        self.config = config
        self.device = device
        self.network = network.eval().to(device)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Detector:
        """Load a model folder: a trained network, or the untrained spot test where model.json names that.

        Raises
        ------
        ModelError
            When the folder is damaged or the weights do not fit the network that model.json names.
        """
        config = load_config(folder)
        if config.network == SPOT_TEST:
            from cryoice_scipion.core.networks.spot_test import SpotDetector  # it takes its views from here

            return SpotDetector(config, torch.device(device))
        network = build_network(config)
        try:
            network.load_state_dict(load_file(str(folder / WEIGHTS)))
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(folder / WEIGHTS, f"does not fit the network '{config.network}' ({reason})") from None
        return cls(config, network, torch.device(device))

    @torch.inference_mode()
    def map(self, image: Image, pixel_size: float, border: Mask, inverted: bool = False) -> ClassMap:
        """Return the calibrated class logits of a micrograph; see :class:`Detector`."""
        sampling = self.config.sampling / HOP
        flags = check_sampling(pixel_size, sampling)
        view, inside = micrograph_view(image, pixel_size, border, sampling, self.device)
        skewness = _skewness(view, inside)
        shape = grid_shape((int(view.shape[0]), int(view.shape[1])), HOP)
        scaled = normalise(view, inside, inverted)
        if isinstance(self.network, TwoScaleNet):
            spectra = self._spectra(image, pixel_size, border, shape, flags)
            logits = self.network.map(MicrographViews(scaled, spectra).padded(), shape)
        else:
            logits = self.network.map(pad_for_grid(scaled, WINDOW, HOP), shape)
        logits = logits / self.config.temperature
        return ClassMap(
            logits=logits.float().cpu().numpy(),
            border=cells_of(~inside, HOP, shape),
            classes=list(self.config.classes),
            sampling=self.config.sampling,
            skewness=skewness,
            flags=flags,
        )

    def _spectra(
        self, image: Image, pixel_size: float, border: Mask, shape: Tuple[int, int], flags: List[str]
    ) -> Optional[Spectra]:
        """Return the spectra the network takes, if it takes any; flag a micrograph that shows no ice ring.

        Raises
        ------
        PixelSizeError
            When it shows none, and the model was not trained to do without.
        """
        view = next((view for view in self.config.views if view.kind == "spectrum"), None)
        if view is None:
            return None
        spectra = micrograph_spectra(image, pixel_size, border, self.device, shape)
        if not spectra.sees_ice:
            if view.required:
                raise PixelSizeError(
                    f"pixel size {pixel_size:.3g} Å/px",
                    f"the 3.67 Å ring of ice, which this model needs, is not in the micrograph (limit {COARSEST} Å/px)",
                    "use less binned and unfiltered micrographs, or a model trained to do without spectra",
                )
            flags.append(NO_FFT)
        return spectra


def build_network(config: ModelConfig) -> Network:
    """Return the untrained network that a model.json describes.

    Raises
    ------
    ModelError
        When this version has no such network.
    """
    views = [view.kind for view in config.views]
    if config.network == "two_scale":
        return TwoScaleNet(len(config.classes), views, **config.network_options)
    if config.network != "two_view":
        raise ModelError(config.name, f"needs the network '{config.network}', which this version lacks", "update")
    return TwoViewNet(len(config.classes), views, **config.network_options)


def save_weights(network: torch.nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors."""
    state: Dict[str, torch.Tensor] = {
        key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    path.write_bytes(save(state))  # save_file makes a file that nobody else can read


def check_sampling(pixel_size: float, sampling: float) -> List[str]:
    """Return the flags that a pixel size deserves against a view's sampling (Å/px).

    Raises
    ------
    PixelSizeError
        When the micrograph is too coarse for the view.
    """
    if pixel_size > TOO_COARSE * sampling:
        raise PixelSizeError(
            f"pixel size {pixel_size:.3g} Å/px",
            f"too coarse for a model that looks at {sampling:.3g} Å/px",
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
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * sampling / pixel_size).astype(np.int64), size - 1)
        for n, size in zip(view.shape, border.shape)
    )
    inside = torch.from_numpy(~border[rows[:, None], columns[None, :]]).to(device)
    return view, inside


def micrograph_spectra(
    image: Image, pixel_size: float, border: Mask, device: torch.device, shape: Optional[Tuple[int, int]] = None
) -> Spectra:
    """Return the spectra of a micrograph at its own sampling, or at 1 Å/px where it is finer.

    Parameters
    ----------
    image, border : numpy.ndarray, shape (rows, columns)
    pixel_size : float
        Å/px.
    device : torch.device
    shape : tuple, optional
        (rows, columns) of the map.
    """
    sampling = pixel_size if pixel_size > 0.98 * FINEST else FINEST
    view, inside = micrograph_view(image, pixel_size, border, sampling, device)
    return Spectra(view, sampling, inside, shape)


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


def cells_of(pixels: torch.Tensor, hop: int, shape: Tuple[int, int]) -> Mask:
    """Return which map cells have more than half of their pixels set (shape (rows, columns) of the grid)."""
    below, right = shape[0] * hop - int(pixels.shape[0]), shape[1] * hop - int(pixels.shape[1])
    padded = torch.nn.functional.pad(pixels.float()[None, None], (0, right, 0, below), mode="replicate")
    share = torch.nn.functional.avg_pool2d(padded, hop)[0, 0]
    cells: Mask = (share > 0.5).cpu().numpy()
    return cells


def _skewness(view: torch.Tensor, inside: torch.Tensor) -> float:
    """Return the skewness of the low-passed view: below 0, dark objects on a bright ground."""
    pooled = torch.nn.functional.avg_pool2d(view[None, None], _SKEW_POOL, ceil_mode=True)[0, 0]
    kept = torch.nn.functional.avg_pool2d(inside.float()[None, None], _SKEW_POOL, ceil_mode=True)[0, 0] > 0.99
    values = pooled[kept].double()
    if values.numel() < 16:
        return 0.0
    centred = values - values.mean()
    variance = centred.square().mean()
    return float(centred.pow(3).mean() / variance.clamp_min(1e-30) ** 1.5)
