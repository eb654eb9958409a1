# SPDX-License-Identifier: GPL-3.0-or-later
"""The patch + spectrum network: context at 4 and 16 Å/px beside spectra at the micrograph's own sampling, joined late.

Each branch is a map on the same grid of 64 Å cells: the convolutional ones have unpadded convolutions whose strides
multiply to the cell and whose receptive field is the patch, the spectral one works cell by cell. So the map of a
whole micrograph is what the network says of its patches (docs/explanation/method.md).
"""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

import torch
from torch import nn

from cryoice_scipion.core.detectors.patch_fft import fft_rows, fourier_branch, real_branch
from cryoice_scipion.core.detectors.spectral_branch import SpectralBranch
from cryoice_scipion.core.views.patch_spectrum import COARSE, STRIDE, WINDOW
from cryoice_scipion.core.views.patches import fft_view
from cryoice_scipion.core.views.spectrum import FEATURES

VIEWS = ("patch", "local", "spectrum")
# kernel, stride, width factor of the coarse branch; window 64 -> 31 -> 29 -> 14 -> 12 -> 8 -> 4 -> 1
_COARSE = ((4, 2, 0.5), (3, 1, 1), (3, 2, 1), (3, 1, 1.5), (5, 1, 1.5), (5, 1, 2), (4, 1, 2))


class PatchSpectrumNet(nn.Module):
    """P(class) from several views, at single positions or as a map."""

    def __init__(self, classes: int, views: Sequence[str] = VIEWS, width: int = 16) -> None:
        """Build the network.

        Parameters
        ----------
        classes : int
            Number of classes; the first is good.
        views : sequence of str
            Of "patch", "local", "coarse", "spectrum", and "fft" (of the patch, as the seed has it).
        width : int
            Channels of the first layer; the others are multiples of it.
        """
        super().__init__()
        self.views = tuple(views)
        self.context = [name for name in ("patch", "local") if name in self.views]
        joined = 0
        if self.context:
            self.real = real_branch(width, len(self.context))
            joined += 8 * width
        if "fft" in self.views:
            self.fourier = fourier_branch(width)
            joined += 6 * width
        if "coarse" in self.views:
            self.wide = _coarse_branch(width)
            joined += 2 * width
        if "spectrum" in self.views:
            self.spectral = SpectralBranch(len(FEATURES), 4 * width)
            joined += 4 * width
        self.head = nn.Sequential(
            nn.Conv2d(joined, 4 * width, 1), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(4 * width, classes, 1)
        )

    def measure(self, batch: Dict[str, torch.Tensor]) -> None:
        """Take the unit of each spectral feature from training examples."""
        if "spectrum" in self.views:
            self.spectral.measure(batch["spectrum"])

    def forward(self, batch: Dict[str, torch.Tensor]) -> torch.Tensor:
        """Return logits (n, classes) of views by kind: (n, 64, 64), coarse (n, 2, 64, 64), spectrum (n, features)."""
        parts = []
        if self.context:
            parts.append(self.real(torch.stack([batch[name] for name in self.context], dim=1)))
        if "fft" in self.views:
            parts.append(self.fourier(fft_view(batch["patch"])[:, None]))
        if "coarse" in self.views:
            parts.append(self.wide(batch["coarse"]))
        if "spectrum" in self.views:
            parts.append(self.spectral(batch["spectrum"][:, :, None, None]))
        logits: torch.Tensor = self.head(torch.cat(parts, dim=1))
        return logits[:, :, 0, 0]

    def map(self, padded: Dict[str, torch.Tensor], shape: Tuple[int, int], strip: int = 16) -> torch.Tensor:
        """Return logits (classes, rows, columns) of a whole micrograph, equal to :meth:`forward` of each cell.

        Parameters
        ----------
        padded : dict
            ``MicrographViews.padded``.
        shape : tuple
            (rows, columns) of the grid.
        strip : int
            Grid rows that are worked on at once: bounds the memory.
        """
        strips = [self._strip(padded, row, min(strip, shape[0] - row), shape) for row in range(0, shape[0], strip)]
        return torch.cat(strips, dim=1)

    def _strip(self, padded: Dict[str, torch.Tensor], row: int, number: int, shape: Tuple[int, int]) -> torch.Tensor:
        parts = []
        if self.context:
            lines = slice(row * STRIDE, (row + number - 1) * STRIDE + WINDOW)
            view = torch.stack([padded[name][lines] for name in self.context])[None]
            # channels last is twice as fast on a CPU for this branch (benchmarks/bench_map.py)
            parts.append(self.real(view.contiguous(memory_format=torch.channels_last)))
        if "fft" in self.views:
            parts.append(fft_rows(self.fourier, padded["patch"], row, number))
        if "coarse" in self.views:
            step = STRIDE // COARSE
            parts.append(self.wide(padded["coarse"][None, :, row * step : (row + number - 1) * step + WINDOW]))
        if "spectrum" in self.views:
            rows = padded["spectrum"][None, :, row : row + number, : shape[1]]
            parts.append(self.spectral(rows))
        logits: torch.Tensor = self.head(torch.cat(parts, dim=1))
        return logits[0]


def _coarse_branch(width: int) -> nn.Sequential:
    layers = []
    channels = 2
    for kernel, stride, factor in _COARSE:
        out = max(1, int(factor * width))
        layers += [nn.Conv2d(channels, out, kernel, stride, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        channels = out
    return nn.Sequential(*layers)
