# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind ``autoencoder``: how unlike those of clean micrographs the residuals of a reconstruction are.

An autoencoder is trained on clean micrographs only. The residuals of each cell are features, and the kind ``one_class``
does the rest: residuals that are too large and ones that are too small are unlike those of clean cells. Clean noise is
what an autoencoder reconstructs worst, so large residuals alone would rank smooth contamination as the cleanest area.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import List, Mapping, Optional, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch.nn import functional

from cryoice_scipion.core.config import ModelConfig, TrainConfig, ViewConfig
from cryoice_scipion.core.detectors import one_class
from cryoice_scipion.core.detectors.autoencoder_network import Autoencoder
from cryoice_scipion.core.detectors.choice import selected_views
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.detectors.model_folder import fitting
from cryoice_scipion.core.detectors.network_detector import read_weights, with_weights
from cryoice_scipion.core.detectors.tail import Tail
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.images.grid import is_same_pixel_size
from cryoice_scipion.core.records import OneClass
from cryoice_scipion.core.views.micrograph import check_sampling, micrograph_view
from cryoice_scipion.core.views.patches import CLIP, grid_shape
from cryoice_scipion.core.views.session_features import SessionFeatures, session_features

NAME = "autoencoder"
PIXELS, FEATURES = VIEWS = ("pixels", "features")
CELL = 128.0  # Å
SCORE = 0.95  # the score of a micrograph is this quantile of the log-odds of its interior cells
_FITTED = "clean."  # before the names of what is known of clean cells, in the file of weights
_SMALLEST = 1e-6  # residual
_CPU = torch.device("cpu")

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclasses.dataclass
class InputView:
    """A micrograph as the autoencoder receives it, before the grey levels are scaled."""

    values: torch.Tensor  # (channels, rows, columns)
    inside: torch.Tensor  # (rows, columns), bool: not border
    stride: int  # px of a cell
    sampling: float  # Å, side of a cell


def input_view(
    image: Array, pixel_size: float, border: Mask, view: ViewConfig, device: torch.device = _CPU
) -> InputView:
    """Return one of the two views of a micrograph: its low-passed pixels, or the features of its cells."""
    if view.kind == PIXELS:
        pixels, inside = micrograph_view(image, pixel_size, border, view.sampling, device)
        stride = max(1, round(CELL / view.sampling))
        return InputView(pixels[None], inside, stride, stride * view.sampling)
    cells = session_features(image, pixel_size, border)
    values = torch.from_numpy(cells.values).to(device).movedim(-1, 0)
    return InputView(values, values.isfinite().all(dim=0), 1, cells.sampling)


class AutoencoderDetector(one_class.OneClassDetector):
    """The residuals of an autoencoder, compared with those of clean micrographs, as a detector; see ``Detector``."""

    def __init__(
        self, config: ModelConfig, network: Autoencoder, fitted: OneClass, tail: Tail, device: str = "cpu"
    ) -> None:
        """Put the network on a device, in evaluation mode."""
        super().__init__(config, fitted, tail)
        self.device = torch.device(device)
        self.network: Autoencoder = network.eval().to(self.device)

    def features(self, image: Array, pixel_size: float, border: Mask) -> SessionFeatures:
        """Return the logarithms of the residuals of each cell."""
        if not is_same_pixel_size(pixel_size, float(self.network.pixel_size)):
            raise one_class.wrong_pixel_size(NAME, pixel_size)
        return residual_features(self.network, input_view(image, pixel_size, border, self.config.views[0], self.device))

    def map(self, image: Array, pixel_size: float, border: Mask, inverted: bool = False) -> ClassMap:
        """Return the log-odds of bad against good.

        The flag ``residual_score=N`` marks a micrograph whose score is above that of every clean one of the training.
        """
        classmap = super().map(image, pixel_size, border, inverted)
        if self.config.views[0].kind == PIXELS:
            classmap.flags += check_sampling(pixel_size, self.config.views[0].sampling)
        score = self.score(classmap)
        if score > float(self.network.highest):
            classmap.flags.append(f"residual_score={score:.1f}")
        return classmap

    def score(self, classmap: ClassMap) -> float:
        """Return the score of a micrograph: the 95th percentile of the log-odds of its interior cells."""
        odds = classmap.log_odds[interior_cells(classmap.border, self.network.rim(self.config.stride))]
        return float(np.quantile(odds, SCORE)) if odds.size else float("nan")


@torch.inference_mode()
def residual_features(network: Autoencoder, seen: InputView) -> SessionFeatures:
    """Return the logarithms of the mean residuals of the pixels of each cell that are not border; NaN without any."""
    device = network.level.device
    scaled = scale(network, seen).to(device)
    inside = seen.inside.to(device)
    maps = network.residuals(scaled[None])[0]
    rows, columns = grid_shape((int(inside.shape[0]), int(inside.shape[1])), seen.stride)
    below, right = rows * seen.stride - int(inside.shape[0]), columns * seen.stride - int(inside.shape[1])
    known = torch.cat([maps * inside, inside[None].to(maps.dtype), torch.ones_like(maps[:1])])
    pooled = functional.avg_pool2d(functional.pad(known[None], (0, right, 0, below)), seen.stride)[0]
    share = pooled[-2] / pooled[-1]  # of the cell's part that is within the frame
    values = (pooled[:-2] / pooled[-2].clamp_min(_SMALLEST)).clamp_min(_SMALLEST).log()
    values = values.where(share > 0, torch.nan)
    return SessionFeatures(values.movedim(0, -1).cpu().numpy(), seen.sampling, (1 - share).cpu().numpy())


def scale(network: Autoencoder, seen: InputView) -> torch.Tensor:
    """Return the view in units of the clean micrographs, (channels, rows, columns); border of features is 0."""
    device = seen.values.device
    level, deviation = (value.to(device)[:, None, None] for value in (network.level, network.deviation))
    scaled = ((seen.values - level) / deviation).clamp(-CLIP, CLIP)
    return torch.nan_to_num(scaled)


def interior_cells(border: Mask, rim: int) -> Mask:
    """Return which cells are neither border nor within ``rim`` cells of it or of the edge; all, if none were left.

    The residuals of the others depend on pixels that were mirrored outwards.
    """
    around = np.pad(border, rim, constant_values=True)
    windows = np.lib.stride_tricks.sliding_window_view(around, (2 * rim + 1,) * 2)
    interior: Mask = ~windows.any(axis=(2, 3))
    return interior if interior.any() else ~border


def views_for(config: TrainConfig, base: Optional[ModelConfig], sampling: float) -> List[ViewConfig]:
    """Return the one view that a training takes: the requested one, or the pixels.

    Raises
    ------
    SettingsError
        When both are requested, or another one.
    """
    if config.views == TrainConfig().views:
        return [ViewConfig(kind=PIXELS, sampling=sampling, window=None)]
    (kind, *more) = selected_views(config, NAME, list(VIEWS))
    if more:
        raise SettingsError("views", f"{' '.join(config.views)}: the {NAME} network takes one view", "give one of them")
    if kind == PIXELS:
        return [ViewConfig(kind=PIXELS, sampling=sampling, window=None)]
    return [ViewConfig(kind=FEATURES, sampling=1.0, window=round(CELL))]


def build(classes: int, views: Sequence[str], options: Mapping[str, int]) -> Autoencoder:
    """Return an untrained network."""
    return Autoencoder(**options)


def save_weights(path: Path, network: Autoencoder, fitted: OneClass, tail: Tail) -> None:
    """Write the network and what is known of clean cells as safetensors."""
    known = {_FITTED + name: torch.from_numpy(values) for name, values in one_class.to_arrays(fitted, tail).items()}
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    path.write_bytes(save({**state, **known}))


def load(folder: Path, config: ModelConfig, device: str) -> AutoencoderDetector:
    """Load the model of a folder.

    Raises
    ------
    ModelError
        When the weights are not those of the network that model.json describes.
    """
    with fitting(folder, config):
        stored = read_weights(folder)
        known = {name[len(_FITTED) :]: stored.pop(name).numpy() for name in list(stored) if name.startswith(_FITTED)}
        network = with_weights(lambda: Autoencoder(**config.network_options), stored)
        clean = one_class.from_arrays(known)
    return AutoencoderDetector(config, network, *clean, device)
