# SPDX-License-Identifier: GPL-3.0-or-later
"""Fit an autoencoder to crops of clean micrographs."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from tqdm import tqdm

from cryoice_scipion.core.detectors.autoencoder_network import Autoencoder
from cryoice_scipion.core.errors import counted
from cryoice_scipion.core.training.patches.fit import runaway
from cryoice_scipion.core.training.trainers import Epoch, TrainRequest

_CROP = 64  # px
_STEPS = 20  # of an epoch, at least


@dataclasses.dataclass
class CleanImage:
    """A clean micrograph as the network takes it."""

    values: torch.Tensor  # (channels, rows, columns)
    weights: torch.Tensor  # (rows, columns): 0 at the border


def fit(
    network: Autoencoder, training: Sequence[CleanImage], validation: Sequence[CleanImage], request: TrainRequest
) -> Tuple[List[Dict[str, float]], Optional[KeyboardInterrupt]]:
    """Train a network, which has the weights of the epoch with the lowest validation loss then.

    Returns
    -------
    history : list of dict
        One row an epoch.
    interrupted : KeyboardInterrupt or None
        The signal that ended the training early. It is raised again if no epoch is finished.

    Raises
    ------
    SettingsError
        When the loss becomes infinite.
    """
    config = request.config
    crops = _Crops(training, network.multiple, config.seed)
    steps = max(_STEPS, math.ceil(crops.number / config.batch))
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs * steps)
    history: List[Dict[str, float]] = []
    best, best_epoch = network.state_dict(), 0
    interrupted: Optional[KeyboardInterrupt] = None
    try:
        for epoch in tqdm(range(1, config.epochs + 1), desc="training", unit="epoch", disable=not request.progress):
            network.train()
            total = 0.0
            for _ in range(steps):
                loss = loss_of(network, *crops.batch(config.batch))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                total += float(loss.detach()) / steps
            row = {"epoch": float(epoch), "train_loss": total, "validation_loss": _validate(network, validation)}
            if not math.isfinite(row["validation_loss"]):
                raise runaway()
            history.append(row)
            if row["validation_loss"] <= min(item["validation_loss"] for item in history):
                best, best_epoch = copy.deepcopy(network.state_dict()), epoch
            request.on_epoch(Epoch(row))
            if epoch - best_epoch >= config.patience:
                break
    except KeyboardInterrupt as stop:
        if not history:
            raise
        interrupted = stop
        request.log(f"interrupted: the best weights of {counted(len(history), 'epoch')} are kept")
    network.load_state_dict(best)
    network.eval()
    return history, interrupted


def loss_of(network: Autoencoder, images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean over all pixels of the sum of the residuals: Charbonnier + SSIM + Sobel for images.

    Parameters
    ----------
    images : torch.Tensor, shape (n, channels, rows, columns)
    weights : torch.Tensor, shape (n, rows, columns)
    """
    device = network.level.device
    sums = network.residuals(images.to(device)).sum(dim=1)
    weights = weights.to(device)
    return (sums * weights).sum() / weights.sum().clamp_min(1e-6)


@torch.inference_mode()
def _validate(network: Autoencoder, images: Sequence[CleanImage]) -> float:
    network.eval()
    losses = [float(loss_of(network, image.values[None], image.weights[None])) for image in images]
    return sum(losses) / len(losses)


class _Crops:
    """Random crops of images, turned and mirrored."""

    def __init__(self, images: Sequence[CleanImage], multiple: int, seed: int) -> None:
        """Choose a side that fits into all images."""
        self.images = images
        smallest = min(min(image.weights.shape) for image in images)
        self.side = max(1, min(_CROP, smallest) // multiple * multiple)
        self.generator = torch.Generator().manual_seed(seed)

    @property
    def number(self) -> int:
        """Return how many crops cover all images."""
        return math.ceil(sum(image.weights.numel() for image in self.images) / self.side**2)

    def batch(self, number: int) -> Tuple[torch.Tensor, torch.Tensor]:
        """Return images (number, channels, side, side) and their weights."""
        pairs = [self._crop() for _ in range(number)]
        return torch.stack([values for values, _ in pairs]), torch.stack([weights for _, weights in pairs])

    def _crop(self) -> Tuple[torch.Tensor, torch.Tensor]:
        image = self.images[self._draw(len(self.images))]
        top, left = (self._draw(int(size) - self.side + 1) for size in image.weights.shape)
        turns, mirrored = self._draw(4), self._draw(2)
        parts = []
        for whole in (image.values, image.weights[None]):
            part = torch.rot90(whole[:, top : top + self.side, left : left + self.side], turns, (1, 2))
            parts.append(part.flip(2) if mirrored else part)
        return parts[0], parts[1][0]

    def _draw(self, number: int) -> int:
        return int(torch.randint(max(1, number), (1,), generator=self.generator))
