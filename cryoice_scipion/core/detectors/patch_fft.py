# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind ``patch_fft``: the patch + FFT network, a CNN on the image and one on its Fourier transform, joined late.

Joining them late lets the network map a whole micrograph without cutting it into patches. The branch of the image has
unpadded convolutions whose strides multiply to the stride and whose receptive field is the patch, so its map equals
the result patch by patch. The Fourier transform of a patch does not move with the patch, so that branch works window
by window.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import nn

from cryoice_scipion.core.config import ModelConfig, TrainConfig, ViewConfig
from cryoice_scipion.core.detectors.choice import selected_views
from cryoice_scipion.core.detectors.network_detector import Network, NetworkDetector, SeenMicrograph, load_network
from cryoice_scipion.core.views.micrograph import Flags
from cryoice_scipion.core.views.patches import fft_view, pad_for_grid, windows

WINDOW, STRIDE = 64, 16
# kernel, stride, width factor of the real branch; window 64 -> 31 -> 29 -> 14 -> 12 -> 5 -> 3 -> 1
_REAL = ((4, 2, 1), (3, 1, 2), (3, 2, 3), (3, 1, 4), (4, 2, 6), (3, 1, 8), (3, 2, 8))
_ROWS = 4  # grid rows whose spectra are computed at once; more do not fit into the cache of the processor
_FFT = (1, 2, 4, 6)  # width factors of the Fourier branch, each 3×3 of stride 2


class PatchFftNet(Network):
    """Classify patches of 64×64 px by the image and its Fourier transform, one by one or as a map."""

    stride = STRIDE

    def __init__(self, classes: int, views: Sequence[str] = ("patch", "fft"), width: int = 16) -> None:
        """Build the network.

        Parameters
        ----------
        classes : int
            Number of classes; the first is good.
        views : sequence of str
            "patch", "fft" or both.
        width : int
            Channels of the first layer; the others are multiples of it.
        """
        super().__init__()
        self.views = tuple(views)
        joined = 0
        if "patch" in self.views:
            self.real = real_branch(width)
            joined += _REAL[-1][2] * width
        if "fft" in self.views:
            self.fourier = fourier_branch(width)
            joined += _FFT[-1] * width
        self.head = nn.Sequential(
            nn.Conv2d(joined, 4 * width, 1), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(4 * width, classes, 1)
        )

    def forward(self, views: Union[torch.Tensor, Dict[str, torch.Tensor]]) -> torch.Tensor:
        """Return logits (n, classes) of normalised patches (n, 64, 64), or of the "patch" among views by kind."""
        patches = views["patch"] if isinstance(views, dict) else views
        parts = []
        if "patch" in self.views:
            parts.append(self.real(patches[:, None]))
        if "fft" in self.views:
            parts.append(self.fourier(fft_view(patches)[:, None]))
        logits: torch.Tensor = self.head(torch.cat(parts, dim=1))
        return logits[:, :, 0, 0]

    def classify_micrograph(self, seen: SeenMicrograph, views: Sequence[ViewConfig]) -> Tuple[torch.Tensor, Flags]:
        """Return logits of a whole micrograph; there are no flags."""
        return self.map(pad_for_grid(seen.scaled, WINDOW, STRIDE), seen.shape), {}

    def map(self, padded: torch.Tensor, shape: Tuple[int, int], strip: int = 16) -> torch.Tensor:
        """Return logits (classes, rows, columns) of a whole view, equal to :meth:`forward` of each window.

        Parameters
        ----------
        padded : torch.Tensor, shape ((rows - 1) * 16 + 64, (columns - 1) * 16 + 64)
            The normalised view, padded by ``pad_for_grid``.
        shape : tuple
            (rows, columns) of the grid.
        strip : int
            Grid rows that are processed at once; this bounds the memory.
        """
        strips = [self._strip(padded, row, min(strip, shape[0] - row)) for row in range(0, shape[0], strip)]
        return torch.cat(strips, dim=1)

    def _strip(self, padded: torch.Tensor, row: int, number: int) -> torch.Tensor:
        parts = []
        if "patch" in self.views:
            lines = padded[row * STRIDE : (row + number - 1) * STRIDE + WINDOW]
            # channels last is twice as fast on a CPU for this branch (benchmarks/bench_map.py)
            parts.append(self.real(lines[None, None].contiguous(memory_format=torch.channels_last)))
        if "fft" in self.views:
            parts.append(fft_rows(self.fourier, padded, row, number))
        logits: torch.Tensor = self.head(torch.cat(parts, dim=1))
        return logits[0]


def fft_rows(branch: nn.Module, padded: torch.Tensor, row: int, number: int) -> torch.Tensor:
    """Return the output of a Fourier branch for the windows of grid rows, shape (1, channels, number, columns)."""
    parts = []
    for first in range(row, row + number, _ROWS):
        patches = windows(padded, WINDOW, STRIDE, first, min(_ROWS, row + number - first))
        parts.append(branch(fft_view(patches)[:, None])[:, :, 0, 0])
    features = torch.cat(parts)
    return features.reshape(1, number, -1, int(features.shape[1])).permute(0, 3, 1, 2)


def real_branch(width: int, channels: int = 1) -> nn.Sequential:
    """Return the convolutions of the context view: 64 px in, one out, 16 px between outputs."""
    layers = []
    for kernel, stride, factor in _REAL:
        layers += [
            nn.Conv2d(channels, factor * width, kernel, stride, bias=False),
            nn.BatchNorm2d(factor * width),
            nn.ReLU(),
        ]
        channels = factor * width
    return nn.Sequential(*layers)


def fourier_branch(width: int) -> nn.Sequential:
    """Return the convolutions of a half-plane spectrum, averaged over the plane."""
    layers = []
    channels = 1
    for factor in _FFT:
        layers += [nn.Conv2d(channels, factor * width, 3, 2, 1, bias=False), nn.BatchNorm2d(factor * width), nn.ReLU()]
        channels = factor * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))


def load(folder: Path, config: ModelConfig, device: str) -> NetworkDetector:
    """Load a trained patch + FFT network as a detector."""
    return load_network(build, folder, config, device)


def build(classes: int, views: Sequence[str], options: Mapping[str, int]) -> PatchFftNet:
    """Return an untrained patch + FFT network."""
    return PatchFftNet(classes, views, **options)


def views_for(config: TrainConfig, base: Optional[ModelConfig], sampling: float) -> List[ViewConfig]:
    """Return the requested views: "patch", "fft" or both."""
    named = selected_views(config, "patch + FFT", ["patch", "fft"])
    return [ViewConfig(kind=name, sampling=sampling, window=WINDOW) for name in named]
