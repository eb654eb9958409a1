# SPDX-License-Identifier: GPL-3.0-or-later
"""Fit the U-Net to crops of whole labelled micrographs, and average its weights."""

from __future__ import annotations

import copy
import math
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from cryoice_scipion.constants import BAD, CLASSES
from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.unet import UNet
from cryoice_scipion.core.training.unet.crops import Cropper, views_of_crops

_AVERAGE = 0.995  # share of the old averaged weights in each step (Polyak & Juditsky 1992)


def map_loss(
    logits: torch.Tensor, labels: torch.Tensor, classes: Sequence[str], weights: Optional[torch.Tensor] = None
) -> torch.Tensor:
    """Return the mean of -log P(class) over the cells that have a label; "bad" means any class but good.

    Parameters
    ----------
    logits : torch.Tensor, shape (n, classes, rows, columns)
    labels : torch.Tensor, int64, shape (n, rows, columns)
        Indices into ``CLASSES``. Other values, and classes that the network does not have, are left out.
    classes : sequence of str
        The network's; good first.
    weights : torch.Tensor, shape (n, rows, columns), optional
        Weight of each cell. Default: 1.
    """
    table = torch.full((256,), -1, dtype=torch.long)
    for index, name in enumerate(classes):
        table[CLASSES.index(name)] = index
    wanted = table[labels].to(logits.device)
    any_bad = (labels == CLASSES.index(BAD)).to(logits.device)
    known = (wanted >= 0) | any_bad
    logarithms = functional.log_softmax(logits, dim=1)
    one = logarithms.gather(1, wanted.clamp(min=0)[:, None])[:, 0]
    taken = torch.where(any_bad, torch.logsumexp(logarithms[:, 1:], dim=1), one)
    counted = known if weights is None else known * weights.to(logits.device)
    return -(taken * counted).sum() / counted.sum().clamp(min=1)


class UNetRun:
    """One training of the U-Net."""

    def __init__(self, network: UNet, croppers: Sequence[Cropper], classes: List[str], config: TrainConfig,
                 repeats: Dict[str, int], device: str) -> None:  # fmt: skip
        """Set the micrographs to train on.

        Parameters
        ----------
        repeats : dict
            Crops in an epoch by name of the micrograph; by default 1.
        """
        self.network, self.classes, self.config, self.device = network.to(device), classes, config, device
        self.averaged = copy.deepcopy(network)
        self.croppers = [item for item in croppers for _ in range(repeats.get(item.name, 1))]
        self.rng = np.random.default_rng()  # of its own for each epoch
        self.optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        self.steps = config.epochs * len(self._batches())
        self.step = 0

    def _batches(self) -> List[List[Cropper]]:
        """Return the micrographs of an epoch, shuffled, in batches of one crop size."""
        order = self.rng.permutation(len(self.croppers))
        batches: List[List[Cropper]] = []
        for side in sorted({item.side for item in self.croppers}):
            same = [self.croppers[index] for index in order if self.croppers[index].side == side]
            batches += [same[start : start + self.config.batch] for start in range(0, len(same), self.config.batch)]
        return [batches[index] for index in self.rng.permutation(len(batches))]

    def state_dict(self) -> Dict[str, Any]:
        """Return everything that the next epoch depends on."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Restore the state that :meth:`state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def epoch(self, number: int, progress: bool) -> float:
        """Train once on all micrographs; return the mean loss. The same number gives the same crops."""
        torch.manual_seed(1000 * self.config.seed + number)  # of dropout
        self.rng = np.random.default_rng([self.config.seed, number])
        self.network.train()
        total, count = 0.0, 0
        for batch in tqdm(self._batches(), desc="steps", unit="batch", leave=False, disable=not progress):
            crops = [cropper.cut(self.rng) for cropper in batch]
            views, labels, weights = views_of_crops(crops, self.config.augment, self.rng)
            kind = torch.device(self.device).type
            with torch.autocast(kind, torch.bfloat16, enabled=self.config.mixed_precision):
                logits = self.network({name: view.to(self.device) for name, view in views.items()})
            loss = map_loss(logits.float(), labels, self.classes, weights)
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * self._rate()
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self._average()
            total += float(loss.detach()) * len(batch)
            count += len(batch)
        return total / max(1, count)

    def _rate(self) -> float:
        """Return the factor of the learning rate: it rises for a twentieth of the steps, then falls as a cosine."""
        warm = max(1, self.steps // 20)
        done = min(1.0, self.step / self.steps)
        return min((self.step + 1) / warm, 0.5 * (1 + math.cos(math.pi * done)) + 1e-3)

    @torch.no_grad()
    def _average(self) -> None:
        self.step += 1
        keep = min(_AVERAGE, (1 + self.step) / (10 + self.step))
        for ours, new in zip(self.averaged.state_dict().values(), self.network.state_dict().values()):
            if ours.dtype.is_floating_point:
                ours.lerp_(new, 1 - keep)
            else:
                ours.copy_(new)
