# SPDX-License-Identifier: GPL-3.0-or-later
"""A detector: views of a micrograph in, log-odds of each class on a coarse grid out.

Every kind of detector stands behind :class:`Detector`; masks, scores, streaming and reports know only that.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Dict, List, Optional, Protocol, Tuple, Union

import torch
from safetensors.torch import load_file, save

from cryoice_scipion.core.config import ModelConfig
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.detectors.model_folder import WEIGHTS
from cryoice_scipion.core.detectors.patch_fft import STRIDE, WINDOW, PatchFftNet
from cryoice_scipion.core.detectors.patch_spectrum import PatchSpectrumNet
from cryoice_scipion.core.detectors.unet import CELL, UNet
from cryoice_scipion.core.errors import ModelError, PixelSizeError
from cryoice_scipion.core.views.micrograph import (
    Image,
    Mask,
    SpectralView,
    cells_of,
    check_sampling,
    micrograph_spectra,
    micrograph_view,
    skewness,
    spectral_view,
)
from cryoice_scipion.core.views.patch_spectrum import MicrographViews, local_view
from cryoice_scipion.core.views.patches import grid_shape, normalise, pad_for_grid
from cryoice_scipion.core.views.spectrum import COARSEST, Spectra

Network = Union[PatchFftNet, PatchSpectrumNet, UNet]
NO_FFT = "no_fft"  # flag: the pixels are too coarse for the rings of ice, or a filter has removed them


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


@dataclasses.dataclass
class _Seen:
    """The views of one micrograph."""

    scaled: torch.Tensor  # the context view, normalised by the micrograph
    inside: torch.Tensor  # bool, its pixels that are no border
    spectra: Optional[Spectra]  # of the patch + spectrum network
    spectral: Optional[SpectralView]  # of the dense one
    shape: Tuple[int, int]  # rows and columns of the map
    skewness: float
    flags: List[str]


class NetworkDetector:
    """A trained network as a detector."""

    def __init__(self, config: ModelConfig, network: Network, device: torch.device) -> None:
        """Take a network in evaluation mode to a device."""
        self.config = config
        self.device = device
        self.network = network.eval().to(device)
        self.stride = CELL if isinstance(network, UNet) else STRIDE  # px of the context view to a map cell

    @torch.inference_mode()
    def map(self, image: Image, pixel_size: float, border: Mask, inverted: bool = False) -> ClassMap:
        """Return the calibrated class logits of a micrograph; see :class:`Detector`."""
        seen = self._see(image, pixel_size, border, inverted)
        if isinstance(self.network, UNet):
            logits = self.network.classify(self._features(seen))
        elif isinstance(self.network, PatchSpectrumNet):
            logits = self.network.map(MicrographViews(seen.scaled, seen.spectra).padded(), seen.shape)
        else:
            logits = self.network.map(pad_for_grid(seen.scaled, WINDOW, STRIDE), seen.shape)
        logits = logits / self.config.temperature
        return ClassMap(
            logits=logits.float().cpu().numpy(),
            border=cells_of(~seen.inside, self.stride, seen.shape),
            classes=list(self.config.classes),
            sampling=self.config.sampling,
            skewness=seen.skewness,
            flags=seen.flags,
        )

    @torch.inference_mode()
    def features(self, image: Image, pixel_size: float, border: Mask, inverted: bool = False) -> torch.Tensor:
        """Return what the last layer of a U-Net reads, shape (features, rows, columns) of the map, float32.

        Raises
        ------
        ModelError
            When the network is of another kind.
        """
        return self._features(self._see(image, pixel_size, border, inverted)).float().cpu()

    def _features(self, seen: _Seen) -> torch.Tensor:
        if not isinstance(self.network, UNet) or seen.spectral is None:
            raise ModelError(self.config.name, "is not a U-Net, so its features cannot be used", "use a U-Net model")
        context = torch.stack([seen.scaled, local_view(seen.scaled)])
        return self.network.map(context, seen.spectral.features, seen.shape)

    def _see(self, image: Image, pixel_size: float, border: Mask, inverted: bool) -> _Seen:
        """Return the views of a micrograph that do not depend on the network."""
        sampling = self.config.sampling / self.stride
        flags = check_sampling(pixel_size, sampling)
        view, inside = micrograph_view(image, pixel_size, border, sampling, self.device)
        size = (int(view.shape[0]), int(view.shape[1]))
        spectra, spectral, cells = None, None, grid_shape(size, STRIDE)
        if isinstance(self.network, UNet):
            spectral = spectral_view(image, pixel_size, border, self.device, cells)
            flags += spectral.flags if spectral.sees_ice else [NO_FFT]
        else:
            spectra = self._spectra(image, pixel_size, border, cells, flags)
        scaled = normalise(view, inside, inverted)
        skew = skewness(view, inside, sampling)
        return _Seen(scaled, inside, spectra, spectral, grid_shape(size, self.stride), skew, flags)

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


def load(folder: Path, config: ModelConfig, device: str) -> NetworkDetector:
    """Load a trained network.

    Raises
    ------
    ModelError
        When the weights do not fit the network that model.json names.
    """
    network = build_network(config)
    try:
        network.load_state_dict(read_weights(folder))
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            folder / WEIGHTS,
            f"does not fit the network '{config.network}' ({reason})",
            "train it again with this version, or use the version that wrote it",
        ) from None
    return NetworkDetector(config, network, torch.device(device))


def build_network(config: ModelConfig) -> Network:
    """Return the untrained network that a model.json describes.

    Raises
    ------
    ModelError
        When this version has no such network.
    """
    views = [view.kind for view in config.views]
    if config.network == "unet":
        return UNet(len(config.classes), **config.network_options)
    if config.network == "patch_spectrum":
        return PatchSpectrumNet(len(config.classes), views, **config.network_options)
    if config.network != "patch_fft":
        raise ModelError(
            config.name, f"needs the network '{config.network}', which this version lacks", "update this package"
        )
    return PatchFftNet(len(config.classes), views, **config.network_options)


def read_weights(folder: Path) -> Dict[str, torch.Tensor]:
    """Return the weights in a model folder by name; those of the refinement head had another name before 0.2."""
    return {re.sub(r"^judge\.", "refine.", key): value for key, value in load_file(str(folder / WEIGHTS)).items()}


def save_weights(network: torch.nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors."""
    state: Dict[str, torch.Tensor] = {
        key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    path.write_bytes(save(state))  # save_file makes a file that nobody else can read
