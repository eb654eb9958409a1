# SPDX-License-Identifier: GPL-3.0-or-later
"""The convolutional autoencoder of the kind ``autoencoder``."""

from __future__ import annotations

import math
from typing import List

import torch
from torch import nn
from torch.nn import functional

from cryoice_scipion.core.detectors import residuals

HALVINGS = 2  # of the rows and columns of an image, in the encoder
_WIDEST = 2  # times the width: channels of the deepest layer


class Autoencoder(nn.Module):
    """Reconstruct an image, or the features of cells, through a layer of few channels.

    An image is also halved twice in rows and columns. Features are reconstructed cell by cell.
    """

    level: torch.Tensor  # (channels,): median of the clean micrographs
    deviation: torch.Tensor  # (channels,): their robust standard deviation
    pixel_size: torch.Tensor  # Å/px of the clean micrographs
    highest: torch.Tensor  # highest score of a clean micrograph that was left out of the training

    def __init__(self, channels: int = 1, width: int = 16) -> None:
        """Build the network.

        Parameters
        ----------
        channels : int
            1: an image. More: the features of cells.
        width : int
            Channels of the first layer; the narrowest has a quarter of it.
        """
        super().__init__()
        self.is_image = channels == 1
        halved = [self.is_image] * HALVINGS
        sizes = [channels, width, _WIDEST * width]
        layers: List[nn.Module] = []
        for before, size, half in zip(sizes, sizes[1:], halved):
            layers += [self._layer(before, size, stride=2 if half else 1), nn.ReLU()]
        layers.append(nn.Conv2d(sizes[-1], max(1, width // 4), 1))
        for before, size, half in zip([max(1, width // 4), sizes[2]], sizes[:0:-1], halved):
            layers += [self._layer(before, size), nn.ReLU(), *([nn.Upsample(scale_factor=2.0)] if half else [])]
        layers.append(self._layer(width, channels))
        self.layers = nn.Sequential(*layers)
        self.register_buffer("level", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.register_buffer("pixel_size", torch.ones(()))
        self.register_buffer("highest", torch.zeros(()))

    @property
    def multiple(self) -> int:
        """Return the px that the sizes of its input are padded to a multiple of."""
        return int(2**HALVINGS) if self.is_image else 1

    @property
    def reach(self) -> int:
        """Return the px around a pixel that its residuals depend on, at most."""
        # The encoder and the upsampling reach multiple - 1 px each, the layers of the decoder twice that and one more.
        return 4 * (self.multiple - 1) + 1 + residuals.REACH if self.is_image else 0

    def rim(self, stride: int) -> int:
        """Return the cells of ``stride`` px around a cell that its residuals depend on."""
        return math.ceil(self.reach / stride)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction of images (n, channels, rows, columns)."""
        rows, columns = int(image.shape[2]), int(image.shape[3])
        below, right = -rows % self.multiple, -columns % self.multiple
        padded = functional.pad(image, (0, right, 0, below), mode="replicate")
        reconstruction: torch.Tensor = self.layers(padded)[..., :rows, :columns]
        return reconstruction

    def residuals(self, image: torch.Tensor) -> torch.Tensor:
        """Return the residuals of each pixel of images, shape (n, terms, rows, columns); features have one term."""
        reconstruction = self(image)
        if self.is_image:
            return residuals.residuals(image, reconstruction)
        return residuals.charbonnier(image, reconstruction).mean(dim=1, keepdim=True)

    def _layer(self, channels: int, size: int, stride: int = 1) -> nn.Conv2d:
        if not self.is_image:
            return nn.Conv2d(channels, size, 1)
        return nn.Conv2d(channels, size, 3, stride=stride, padding=1, padding_mode="replicate")
