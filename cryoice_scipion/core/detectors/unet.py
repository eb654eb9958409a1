# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind ``unet``: a U-Net over whole micrographs that classifies every cell of 32 Å (the shipped model).

The network receives the image at 4 Å/px in two normalisations and pools it down to 512 Å, so that each cell is
classified by an area of thousands of Å. At 64 Å, features of local power spectra join the network.
Ronneberger, Fischer & Brox (2015), MICCAI.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import nn
from torch.nn import functional

from cryoice_scipion.core.config import ModelConfig, TrainConfig, ViewConfig
from cryoice_scipion.core.detectors.network_detector import (
    NO_FFT,
    Network,
    NetworkDetector,
    SeenMicrograph,
    load_network,
)
from cryoice_scipion.core.detectors.spectral_branch import SpectralBranch
from cryoice_scipion.core.views.micrograph import (
    SPECTRAL_FEATURES,
    SPOT_SCALES,
    DeviceImage,
    Flags,
    make_fine_view,
    spectral_view,
)
from cryoice_scipion.core.views.outlier_features import (
    CELL,
    OUTLIER_CHANNELS,
    RELATIVE,
    cell_means,
    outlier_features,
    relative_statistics,
)
from cryoice_scipion.core.views.patch_spectrum import local_view
from cryoice_scipion.core.views.patches import grid_shape
from cryoice_scipion.core.views.texture import TEXTURE_CHANNELS, texture_features
from cryoice_scipion.core.views.windows import FINEST

MULTIPLE = 128  # px of the context view: sizes are multiples of it, since the deepest layer has cells of 512 Å
SAMPLING = 4.0  # Å/px of the context view
EMBEDDING = "embedding"  # the view of labelled patches: the feature vector that the last layer reads
#: What the network takes of a micrograph, as model.json lists it; core/views/__init__.py describes each view.
VIEWS = (
    ViewConfig(kind="context", sampling=SAMPLING, window=None),
    ViewConfig(kind="local", sampling=SAMPLING, window=None),
    ViewConfig(kind="relative", sampling=SAMPLING * CELL, window=None),
    ViewConfig(kind="outliers", sampling=SAMPLING * CELL, window=None),
    ViewConfig(kind="spectrum", sampling=FINEST, window=round(256 / FINEST), required=False),
    *(ViewConfig(kind="spots", sampling=FINEST, window=round(scale / FINEST), required=False) for scale in SPOT_SCALES),
)
_TEXTURE = ViewConfig(kind="texture", sampling=SAMPLING * CELL, window=None)
SPECTRAL = 2  # map cells to one cell of the spectra
_STEPS = {"context": 1, "relative": CELL, "spectrum": CELL * SPECTRAL}  # px of the context view per cell of a view
# px: larger micrographs are processed in tiles with a margin around each, to bound the memory
_WHOLE, _TILE, _REACH = 2048, 1024, 512
# Of each map cell. These tell ice from particles best, and convolutions do not learn them well.
_STATISTICS = ("mean", "log deviation", "relative mean", "relative log deviation")
_FLOOR = 1e-3  # variance, of the micrograph's
FEATURES = 3  # times the width: length of the feature vector of a cell
# width factors of the channels at 8, 16, 32, 64, 128, 256 and 512 Å
_DOWN = (1, 2, 3, 4, 5, 6, 6)
_UP = (5, 5, 4, FEATURES)  # back at 256, 128, 64 and 32 Å


class UNet(Network):
    """Classify every cell of a micrograph at once."""

    views = (EMBEDDING,)
    stride = CELL

    def __init__(self, classes: int, width: int = 16, hidden: int = 0, texture: int = 0) -> None:
        """Build the network.

        Parameters
        ----------
        classes : int
            Number of classes; the first is good.
        width : int
            Channels of the first layer; the others are multiples of it.
        hidden : int
            Units of the refinement head, which reads the features of a cell and its outlier features; 0: there is
            no such layer, as while the U-Net is trained.
        texture : int
            1: the last layer also reads the texture of a cell, as in a fine-tuned network; 0: it does not.
        """
        super().__init__()
        sizes = [factor * width for factor in _DOWN]
        self.down = nn.ModuleList()
        channels = 2
        for level, size in enumerate(sizes):
            self.down.append(nn.Sequential(_layer(channels, size, 4, 2), _layer(size, size)))
            channels = size + (len(_STATISTICS) if level == 2 else 4 * width if level == 3 else 0)
        self.spectral = SpectralBranch(len(SPECTRAL_FEATURES), 4 * width)
        self.up = nn.ModuleList()
        for level, factor in enumerate(_UP):
            below = sizes[6] if level == 0 else _UP[level - 1] * width
            beside = sizes[5 - level] + (len(_STATISTICS) if level == 3 else 4 * width if level == 2 else 0)
            self.up.append(_layer(below + beside, factor * width))
        inner = FEATURES * width + OUTLIER_CHANNELS
        self.refine = nn.Sequential(nn.Conv2d(inner, hidden, 1), nn.ReLU()) if hidden else None
        self.texture = bool(texture)
        self.precision = torch.float32  # of the convolutions, except for those of single cells
        self.head = nn.Conv2d((hidden or FEATURES * width) + TEXTURE_CHANNELS * self.texture, classes, 1)

    def halve_precision(self) -> None:
        """Compute the convolutions in bfloat16: P(BAD) changes by less than 0.001 on average, 0.03 at most."""
        self.precision = torch.bfloat16
        for layers in (self.down, self.up):
            layers.to(self.precision)

    def prepare(self, image: DeviceImage) -> None:
        """Make the views of the spectra, which are finer than the context view."""
        make_fine_view(image)

    def classify_micrograph(self, seen: SeenMicrograph, views: Sequence[ViewConfig]) -> Tuple[torch.Tensor, Flags]:
        """Return logits of a whole micrograph; flags: ``no_fft`` without an ice ring, else those of the spot test."""
        features, flags = self.features_of_micrograph(seen)
        return self.classify(features), flags

    def features_of_micrograph(self, seen: SeenMicrograph) -> Tuple[torch.Tensor, Flags]:
        """Return what the last layer reads of every cell of a micrograph, (features, rows, columns), and flags."""
        size = (int(seen.scaled.shape[0]), int(seen.scaled.shape[1]))
        spectral = spectral_view(seen.image, grid_shape(size, CELL * SPECTRAL))
        context = torch.stack([seen.scaled, local_view(seen.scaled)])
        flags = {name: raised & spectral.sees_ice for name, raised in spectral.flags.items()}
        flags[NO_FFT] = ~spectral.sees_ice
        return self.map(context, spectral.features, seen.shape), flags

    def forward(self, views: Dict[str, torch.Tensor]) -> torch.Tensor:
        """Return logits (n, classes, rows / 8, columns / 8) of crops; a refinement head or texture is not possible.

        Of the view "embedding" (n, features), return the logits (n, classes) of single cells; of any network.
        """
        if EMBEDDING in views:
            single: torch.Tensor = self.head(views[EMBEDDING][:, :, None, None])[:, :, 0, 0]
            return single
        logits: torch.Tensor = self.head(functional.dropout2d(self.features(views), 0.1, self.training))
        return logits

    def features(self, views: Dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the feature vector of every map cell, shape (n, 3 width, rows / 8, columns / 8).

        Parameters
        ----------
        views : dict
            "context" (n, 2, rows, columns): both normalisations, rows and columns multiples of 128 px;
            "spectrum" (n, features, rows / 16, columns / 16), NaN where unknown; "relative" (n, 2, rows / 8,
            columns / 8): ``views.outlier_features.relative_statistics`` of the whole micrograph.
        """
        values = views["context"].to(self.precision).contiguous(memory_format=torch.channels_last)
        levels = []
        for level, layers in enumerate(self.down):
            values = layers(values)
            if level == 2:
                cells = torch.cat([_statistics(views["context"][:, :1]), views["relative"]], dim=1)
                values = torch.cat([values, cells.to(self.precision)], dim=1)
            elif level == 3:
                values = torch.cat([values, self.spectral(views["spectrum"]).to(self.precision)], dim=1)
            levels.append(values)
        for level, layer in enumerate(self.up):
            values = functional.interpolate(values, scale_factor=2.0, mode="nearest")
            values = layer(torch.cat([values, levels[5 - level]], dim=1))
        return values.float()

    def map(self, context: torch.Tensor, spectrum: torch.Tensor, shape: Tuple[int, int]) -> torch.Tensor:
        """Return the features of every cell, (features, rows, columns), that :meth:`classify` reads.

        Parameters
        ----------
        context : torch.Tensor, shape (2, rows, columns)
        spectrum : torch.Tensor, shape (features, rows / 16, columns / 16), rounded up
        shape : tuple
            (rows, columns) of the map.
        """
        rows, columns = (-(-int(size) // MULTIPLE) * MULTIPLE for size in context.shape[1:])
        beside = None if self.refine is None else outlier_features(context[0])
        relative = relative_statistics(context[0]) if beside is None else beside[RELATIVE]
        seen = {
            "context": _filled(context, rows, columns)[None],
            "spectrum": _filled(spectrum, rows // (CELL * SPECTRAL), columns // (CELL * SPECTRAL))[None],
            "relative": _filled(relative, rows // CELL, columns // CELL)[None],
        }
        features = self._whole(seen)[:, :, : shape[0], : shape[1]]
        if self.refine is not None and beside is not None:
            features = self.refine(torch.cat([features, beside[None, :, : shape[0], : shape[1]]], dim=1))
        if self.texture:
            features = torch.cat([features, texture_features(context[0])[None, :, : shape[0], : shape[1]]], dim=1)
        return features[0]

    def _whole(self, seen: Dict[str, torch.Tensor]) -> torch.Tensor:
        """Return :meth:`features` of one micrograph; a large one is processed in tiles."""
        rows, columns = (int(size) for size in seen["context"].shape[2:])
        bands = []
        for top, bottom, high, low in _tiles(rows):
            parts = []
            for left, right, near, far in _tiles(columns):
                window, inner = (top, bottom, left, right), (high - top, low - top, near - left, far - left)
                tile = {name: _part(view, window, _STEPS[name]) for name, view in seen.items()}
                parts.append(_part(self.features(tile), inner, CELL))
            bands.append(torch.cat(parts, dim=3))
        return torch.cat(bands, dim=2)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits (classes, rows, columns) of the features that :meth:`map` returns."""
        logits: torch.Tensor = self.head(features[None])[0]
        return logits


def load(folder: Path, config: ModelConfig, device: str) -> NetworkDetector:
    """Load a trained U-Net as a detector."""
    return load_network(build, folder, config, device)


def build(classes: int, views: Sequence[str], options: Mapping[str, int]) -> UNet:
    """Return an untrained U-Net; its views are always the same."""
    return UNet(classes, **options)


def with_texture(network: UNet) -> UNet:
    """Return a network whose last layer also reads the texture; the weights of a texture that is new to it are 0."""
    if network.texture:
        return network
    wider = copy.deepcopy(network)
    wider.texture = True
    old = network.head
    wider.head = nn.Conv2d(old.in_channels + TEXTURE_CHANNELS, old.out_channels, 1)
    wider.load_state_dict(
        {**network.state_dict(), "head.weight": functional.pad(old.weight, (0, 0, 0, 0, 0, TEXTURE_CHANNELS))}
    )
    return wider


def views_for(config: TrainConfig, base: Optional[ModelConfig], sampling: float) -> List[ViewConfig]:
    """Return the views of the U-Net; only a fine-tuned one, which has a base model, also takes the texture."""
    return [*VIEWS, *([_TEXTURE] if base else [])]


def _statistics(scaled: torch.Tensor) -> torch.Tensor:
    """Return mean and log deviation of every map cell, (n, 2, rows / 8, columns / 8), of (n, 1, rows, columns)."""
    mean = cell_means(scaled)
    variance = (cell_means(scaled.square()) - mean.square()).clamp(min=0.0)
    return torch.cat([mean, 0.5 * torch.log(variance + _FLOOR)], dim=1)


def _layer(channels: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


def _tiles(length: int) -> List[Tuple[int, int, int, int]]:
    """Return (first, last) px of windows along an axis and (first, last) px of the part of each that is kept.

    A short axis has one window.
    """
    if length <= _WHOLE:
        return [(0, length, 0, length)]
    starts = range(0, length, _TILE)
    return [
        (max(0, start - _REACH), min(length, start + _TILE + _REACH), start, min(length, start + _TILE))
        for start in starts
    ]


def _part(values: torch.Tensor, window: Tuple[int, int, int, int], step: int) -> torch.Tensor:
    """Return a window (top, bottom, left, right in px of the context view) of a grid of cells of ``step`` px."""
    top, bottom, left, right = (edge // step for edge in window)
    return values[:, :, top:bottom, left:right]


def _filled(values: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return values extended to (channels, rows, columns) by mirroring them at the bottom and at the right."""
    for axis, wanted in ((1, rows), (2, columns)):
        while int(values.shape[axis]) < wanted:
            have = int(values.shape[axis])
            number = min(have, wanted - have)
            values = torch.cat([values, values.narrow(axis, have - number, number).flip(axis)], dim=axis)
    return values
