# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface of detectors, and the detector that runs a trained network of any kind.

Masks, scores, streaming and reports use only :class:`Detector`.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import re
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Protocol, Sequence, Tuple, TypeVar, Union

import torch
from safetensors.torch import load_file, save
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cryoice_scipion.constants import PIXEL_SIZES
from cryoice_scipion.core.config import ModelConfig, ViewConfig
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.detectors.model_folder import WEIGHTS, fitting
from cryoice_scipion.core.detectors.spectral_branch import with_present_features
from cryoice_scipion.core.errors import WorkerError
from cryoice_scipion.core.views.micrograph import (
    DeviceImage,
    Flags,
    Image,
    Mask,
    cells_of,
    check_sampling,
    contrast_cells,
    skewness,
)
from cryoice_scipion.core.views.patches import grid_shape, halve_batches, normalise

log = logging.getLogger(__name__)
AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)
NO_FFT = "no_fft"  # flag: the pixels are too coarse for the rings of ice, or a filter has removed them


class Detector(Protocol):
    """Anything that maps micrographs."""

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
class SeenMicrograph:
    """A micrograph as a network receives it, on the network's device."""

    image: DeviceImage
    scaled: torch.Tensor  # the image at the model's sampling, normalised by the micrograph
    shape: Tuple[int, int]  # rows and columns of the map


#: Logits, cells of contrast and flags in one vector; their shapes; the names of the flags; which pixels are image.
Computed = Tuple[torch.Tensor, List[Tuple[int, ...]], List[str], Mask]


class Network(nn.Module):
    """Base class of the networks that :class:`NetworkDetector` runs."""

    views: Tuple[str, ...]  # the views of labelled patches that ``forward`` takes
    stride: int  # px of the normalised image to a map cell

    def measure(self, views: Mapping[str, torch.Tensor], rows: Union[slice, torch.Tensor] = slice(None)) -> None:
        """Set the units of features from training examples, before training; by default there are none."""

    def halve_precision(self) -> None:
        """Compute in bfloat16 where this changes hardly anything; by default nowhere."""

    def prepare(self, image: DeviceImage) -> None:
        """Make the views from which that at the model's sampling is to be computed; by default there are none."""

    def classify_micrograph(self, seen: SeenMicrograph, views: Sequence[ViewConfig]) -> Tuple[torch.Tensor, Flags]:
        """Return logits (classes, rows, columns) of a whole micrograph, and the flags of the record.

        Parameters
        ----------
        seen : SeenMicrograph
        views : sequence of ViewConfig
            The views that model.json lists.
        """
        raise NotImplementedError

    def features_of_micrograph(self, seen: SeenMicrograph) -> Tuple[torch.Tensor, Flags]:
        """Return what the last layer reads (features, rows, columns), and flags; only tunable kinds have this."""
        raise NotImplementedError


class NetworkDetector:
    """A trained network as a detector."""

    def __init__(self, config: ModelConfig, network: Network, device: torch.device) -> None:
        """Put a network on a device, in evaluation mode."""
        self.config = config
        self.device = device
        self.network: Network = network.eval().to(device)
        self._folded = without_norms(self.network)  # computes the maps
        if device.type == "cpu" and multiplies_bfloat16():
            self._folded.halve_precision()
        self.stride = network.stride  # px of the normalised image to a map cell

    @property
    def sampling(self) -> float:
        """Return the Å/px at which the network sees the image."""
        return self.config.sampling / self.stride

    @torch.inference_mode()
    def map(self, image: Image, pixel_size: float, border: Mask, inverted: bool = False) -> ClassMap:
        """Return the calibrated class logits of a micrograph; see :class:`Detector`."""
        flags = check_sampling(pixel_size, self.sampling)

        def compute() -> Computed:
            found = self._compute(DeviceImage(image, pixel_size, border, self.device), inverted)
            return (found[0].cpu(), *found[1:])  # the only place where the host waits for the device

        computed, shapes, named, inside = within_memory(compute, self.device)
        logits, cells, found = (
            part.reshape(shape).numpy()
            for part, shape in zip(torch.split(computed, [math.prod(shape) for shape in shapes]), shapes)
        )
        return ClassMap(
            logits=logits,
            border=cells_of(inside, self.stride, (logits.shape[1], logits.shape[2])),
            classes=list(self.config.classes),
            sampling=self.config.sampling,
            skewness=skewness(cells, inside, self.sampling),
            flags=flags + [name for name, raised in zip(named, found) if raised],
        )

    def _compute(self, image: DeviceImage, inverted: bool) -> Computed:
        """Compute everything on the device, without waiting for it."""
        view, inside, seen = self._see(image, inverted)
        logits, flags = self._folded.classify_micrograph(seen, self.config.views)
        cells = contrast_cells(view, self.sampling)
        parts = [logits.float() / self.config.temperature, cells, *(raised.float()[None] for raised in flags.values())]
        shapes = [tuple(logits.shape), tuple(cells.shape), (len(flags),)]
        return torch.cat([part.flatten() for part in parts]), shapes, list(flags), inside

    @torch.inference_mode()
    def features(self, image: Image, pixel_size: float, border: Mask, inverted: bool = False) -> torch.Tensor:
        """Return what the last layer reads, shape (features, rows, columns) of the map, float32; of a tunable kind."""
        check_sampling(pixel_size, self.sampling)
        _, _, seen = self._see(DeviceImage(image, pixel_size, border, self.device), inverted)
        return self._folded.features_of_micrograph(seen)[0].float().cpu()

    def _see(self, image: DeviceImage, inverted: bool) -> Tuple[torch.Tensor, Mask, SeenMicrograph]:
        """Return the image at the model's sampling, its pixels that are not border, and what the network receives."""
        self._folded.prepare(image)
        view, inside = image.at(self.sampling)
        shape = grid_shape((int(view.shape[0]), int(view.shape[1])), self.stride)
        return view, inside, SeenMicrograph(image, normalise(view, inside, inverted), shape)


def within_memory(compute: Callable[[], Computed], device: torch.device) -> Computed:
    """Return what ``compute`` returns; if the memory of a GPU is too small, compute on half as much at once.

    Raises
    ------
    WorkerError
        When the memory is too small for the least amount.
    """
    while True:
        try:
            return compute()
        except torch.cuda.OutOfMemoryError:
            log.warning("%s is out of memory; from now on it works on half as much at once", device)
        # After the exception, which refers to what was in memory.
        if not halve_batches(device.type):
            reason = "is out of memory"
            raise WorkerError(str(device), reason, "use fewer workers on this GPU, or another device") from None
        torch.cuda.empty_cache()


def multiplies_bfloat16() -> bool:
    """Return whether this processor multiplies numbers in bfloat16, about twice as fast as in float32."""
    found: Callable[[], bool] = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # not in early versions
    return found()


def without_norms(network: Network) -> Network:
    """Return a copy whose convolutions include the batch normalisation that follows them: the same result, faster."""
    folded = copy.deepcopy(network)
    for layers in folded.modules():
        if isinstance(layers, nn.Sequential):
            parts = list(layers)
            for index, (layer, following) in enumerate(zip(parts, parts[1:])):
                if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                    layers[index], layers[index + 1] = fuse_conv_bn_eval(layer, following), nn.Identity()
    return folded


def load_network(
    build: Callable[[int, Sequence[str], Mapping[str, int]], Network], folder: Path, config: ModelConfig, device: str
) -> NetworkDetector:
    """Build the network of a model folder, load its weights, and return it as a detector.

    Parameters
    ----------
    build : callable
        Returns the untrained network from the number of classes, the views and the network's options.

    Raises
    ------
    ModelError
        When the weights do not fit the network that model.json names.
    """
    with fitting(folder, config):
        views = [view.kind for view in config.views]
        weights = read_weights(folder)
        network = with_weights(lambda: build(len(config.classes), views, config.network_options), weights)
        sampling = config.sampling / network.stride
        if not PIXEL_SIZES[0] <= sampling <= PIXEL_SIZES[1]:
            raise ValueError(f"it would see micrographs at {sampling:g} Å/px")
    return NetworkDetector(config, network, torch.device(device))


def read_weights(folder: Path) -> Dict[str, torch.Tensor]:
    """Return the weights in a model folder by name, those of earlier versions as the present one has them.

    Raises
    ------
    ValueError
        When a value is not finite.
    """
    weights = {re.sub(r"^judge\.", "refine.", key): value for key, value in load_file(str(folder / WEIGHTS)).items()}
    for name, value in weights.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name} is not finite")
    return with_present_features(weights)


def with_weights(build: Callable[[], AnyNetwork], weights: Mapping[str, torch.Tensor]) -> AnyNetwork:
    """Build a network and load weights into it.

    Raises
    ------
    ValueError, RuntimeError
        When the weights are not those of the network. No memory is taken for sizes that the weights do not have.
    """
    with torch.device("meta"):
        described = build().state_dict()
    for name, value in described.items():
        if value.numel() > 1 and (name not in weights or weights[name].shape != value.shape):
            raise ValueError(f"{name} is missing or has another shape")
    network = build()
    network.load_state_dict(weights)
    return network


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors."""
    state: Dict[str, torch.Tensor] = {
        key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
    }
    path.write_bytes(save(state))  # save_file makes a file that nobody else can read
