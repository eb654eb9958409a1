# SPDX-License-Identifier: GPL-3.0-or-later
"""Fit the dense network to whole labelled micrographs: crops, unweighted loss, averaged weights, one seed."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from tqdm import tqdm

from cryoice_scipion.constants import BAD, BORDER, CLASSES, GOOD
from cryoice_scipion.core.config import AugmentConfig, TrainConfig
from cryoice_scipion.core.data.augment import CUTS, NOTHING_LEFT
from cryoice_scipion.core.data.fields import Field
from cryoice_scipion.core.evaluation.labels import LEFT_OUT
from cryoice_scipion.core.networks.dense import CELL, MULTIPLE, SPECTRAL, DenseNet
from cryoice_scipion.core.views.micrograph import relative_statistics, spectral_frequencies
from cryoice_scipion.core.views.spectrum import BANDS, dropped
from cryoice_scipion.core.views.two_scale import BOX, local_view

_MARGIN = BOX // 2  # px around a crop, for the local mean and deviation at its edges
_LARGEST = 768  # px, side of a crop: 3000 Å, as far as the network sees
_SPREAD = 0.1  # standard deviation added to spectral features, natural logarithms
_FILTERED = 0.3  # the same of the curve that imitates other detectors and filters
_BLURRED = 0.15  # share of crops that are low-passed, as detectors and filters do
_SOUGHT = 0.75  # share of the crops of a small set that hold something bad
_AVERAGE = 0.995  # share of the averaged weights that stays at each step (Polyak & Juditsky 1992)


@dataclasses.dataclass
class Crop:
    """A piece of a field: view with a margin around it, spectra, labels."""

    view: torch.Tensor  # (side + 2 margin, side + 2 margin)
    spectrum: torch.Tensor  # (features, side / 16, side / 16)
    relative: torch.Tensor  # (2, side / 8, side / 8)
    labels: torch.Tensor  # (side / 8, side / 8), int64


class Cropper:
    """Random crops of one field."""

    def __init__(self, name: str, field: Field, seek_bad: bool = False) -> None:
        """Mirror the field outwards so that every crop, its margin too, lies inside.

        ``seek_bad``: three of four crops hold a bad cell where there are any, of each class alike; for fields of which
        bad is a small part.
        """
        self.name = name
        cell = CELL * SPECTRAL
        rows, columns = (-(-size // cell) * cell for size in field.view.shape)
        self.side = min(_LARGEST, -(-max(rows, columns) // MULTIPLE) * MULTIPLE)
        self.rows, self.columns = max(rows, self.side), max(columns, self.side)
        self.view = _mirrored(field.view, self.rows, self.columns, _MARGIN)
        self.spectrum = _mirrored(field.spectrum, self.rows // cell, self.columns // cell)
        relative = relative_statistics(torch.from_numpy(field.view.astype(np.float32))).numpy()
        self.relative = _mirrored(relative.astype(np.float16), self.rows // CELL, self.columns // CELL)
        labels = np.full((self.rows // CELL, self.columns // CELL), LEFT_OUT, np.uint8)
        labels[: field.labels.shape[0], : field.labels.shape[1]] = field.labels[: labels.shape[0], : labels.shape[1]]
        self.labels = labels
        bad = (labels != CLASSES.index(GOOD)) & (labels != CLASSES.index(BORDER)) & (labels < len(CLASSES))
        self.bad = [np.argwhere(labels == code) for code in np.unique(labels[bad])] if seek_bad else []

    def cut(self, rng: np.random.Generator) -> Crop:
        """Return a crop anywhere on the field, turned and mirrored by chance."""
        cell = CELL * SPECTRAL
        last = np.array([self.rows - self.side, self.columns - self.side]) // cell
        top, left = (int(rng.integers(0, end + 1)) * cell for end in last)
        if self.bad and rng.random() < _SOUGHT:
            cells = self.bad[rng.integers(len(self.bad))]
            corner = cells[rng.integers(len(cells))] // SPECTRAL - rng.integers(0, self.side // cell, 2)
            top, left = (int(place) * cell for place in np.clip(corner, 0, last))
        wide, turns, flip = self.side + 2 * _MARGIN, int(rng.integers(4)), bool(rng.integers(2))

        def turned(values: NDArray[np.generic], step: int, size: int) -> torch.Tensor:
            y, x = top // step, left // step
            part = np.rot90(values[..., y : y + size, x : x + size], turns, (-2, -1))
            return torch.from_numpy(np.ascontiguousarray(part[..., ::-1] if flip else part))

        return Crop(
            turned(self.view, 1, wide).float(),
            turned(self.spectrum, cell, self.side // cell).float(),
            turned(self.relative, CELL, self.side // CELL).float(),
            turned(self.labels, CELL, self.side // CELL).long(),
        )


def _mirrored(values: NDArray[np.generic], rows: int, columns: int, margin: int = 0) -> NDArray[np.generic]:
    """Return the last two axes lengthened by mirroring, as often as it takes, with a margin on all sides."""
    for axis, size in ((values.ndim - 2, rows), (values.ndim - 1, columns)):
        have = values.shape[axis]
        index = np.arange(-margin, size + margin) % (2 * have)
        values = np.take(values, np.minimum(index, 2 * have - 1 - index), axis=axis)
    return values


def views_of_crops(
    crops: Sequence[Crop], config: AugmentConfig, rng: np.random.Generator
) -> Tuple[Dict[str, torch.Tensor], torch.Tensor]:
    """Return the network's views of crops of one size, changed by chance, and their labels (n, rows, columns)."""
    context, spectra = [], []
    for crop in crops:
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        scaled = crop.view
        if rng.random() < _BLURRED:
            scaled = _blurred(scaled, float(rng.uniform(0.4, 1.5)))
        noise = torch.randn(scaled.shape, generator=generator) * float(rng.uniform(0, config.noise))
        scaled = scaled * float(rng.uniform(1 - config.scale, 1 + config.scale)) + noise
        scaled = scaled + float(rng.uniform(-config.shift, config.shift))
        inner = slice(_MARGIN, -_MARGIN)
        context.append(torch.stack([scaled, local_view(scaled)])[:, inner, inner])
        spectra.append(_cut_spectrum(crop.spectrum, config.spectrum_dropout, rng, generator))
    relative = torch.stack([crop.relative for crop in crops])
    views = {"context": torch.stack(context), "spectrum": torch.stack(spectra), "relative": relative}
    return views, torch.stack([crop.labels for crop in crops])


def _blurred(view: torch.Tensor, sigma: float) -> torch.Tensor:
    steps = torch.arange(-4, 5, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (steps / sigma).square())
    kernel = kernel / kernel.sum()
    padded = functional.pad(view[None, None], (4, 4, 4, 4), mode="reflect")
    return functional.conv2d(functional.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])[0, 0]


def _cut_spectrum(
    spectrum: torch.Tensor, share: float, rng: np.random.Generator, generator: torch.Generator
) -> torch.Tensor:
    """Return spectral features (features, rows, columns), sometimes only up to a limit of resolution, or none."""
    limit = np.inf
    if rng.random() < share:
        limit = 0.0 if rng.random() < NOTHING_LEFT else float(rng.uniform(*CUTS))
    spectrum = spectrum + _SPREAD * torch.randn(spectrum.shape[0], 1, 1, generator=generator)
    # Other detectors and filters: a smooth curve added to the logarithm of the power, not to what is relative.
    place = torch.linspace(-1, 1, len(BANDS))
    low, middle, high = (_FILTERED * torch.randn(3, generator=generator)).tolist()
    spectrum[: len(BANDS)] += (low + middle * place + high * place.square())[:, None, None]
    flat = spectrum.flatten(1).T
    kept = dropped(flat, torch.full((len(flat),), limit), spectral_frequencies())
    return kept.T.reshape(spectrum.shape)


def dense_loss(logits: torch.Tensor, labels: torch.Tensor, classes: Sequence[str]) -> torch.Tensor:
    """Return the mean of -log P(class) over the cells that have a label; "bad" means any class but good.

    Parameters
    ----------
    logits : torch.Tensor, shape (n, classes, rows, columns)
    labels : torch.Tensor, int64, shape (n, rows, columns)
        Places in ``CLASSES``; any other value, and classes that the network does not have: left out.
    classes : sequence of str
        The network's; good first.
    """
    table = torch.full((256,), -1, dtype=torch.long)
    for place, name in enumerate(classes):
        table[CLASSES.index(name)] = place
    wanted = table[labels].to(logits.device)
    any_bad = (labels == CLASSES.index(BAD)).to(logits.device)
    known = (wanted >= 0) | any_bad
    logarithms = functional.log_softmax(logits, dim=1)
    one = logarithms.gather(1, wanted.clamp(min=0)[:, None])[:, 0]
    taken = torch.where(any_bad, torch.logsumexp(logarithms[:, 1:], dim=1), one)
    return -(taken * known).sum() / known.sum().clamp(min=1)


class DenseRun:
    """One training of the dense network."""

    def __init__(self, network: DenseNet, croppers: Sequence[Cropper], classes: List[str], config: TrainConfig,
                 repeats: Dict[str, int], device: str) -> None:  # fmt: skip
        """Take the fields to train on.

        Parameters
        ----------
        repeats : dict
            Crops an epoch of the fields by name; 1 of the others.
        """
        self.network, self.classes, self.config, self.device = network.to(device), classes, config, device
        self.averaged = copy.deepcopy(network)
        self.croppers = [item for item in croppers for _ in range(repeats.get(item.name, 1))]
        self.rng = np.random.default_rng()  # of its own for each epoch
        self.optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        self.steps = config.epochs * len(self._batches())
        self.step = 0

    def _batches(self) -> List[List[Cropper]]:
        """Return the fields of an epoch, shuffled, in batches of one crop size."""
        order = self.rng.permutation(len(self.croppers))
        batches: List[List[Cropper]] = []
        for side in sorted({item.side for item in self.croppers}):
            same = [self.croppers[place] for place in order if self.croppers[place].side == side]
            batches += [same[start : start + self.config.batch] for start in range(0, len(same), self.config.batch)]
        return [batches[place] for place in self.rng.permutation(len(batches))]

    def state_dict(self) -> Dict[str, Any]:
        """Return all that the next epoch depends on."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def epoch(self, number: int, progress: bool) -> float:
        """Train once on all fields; return the mean loss. The same number gives the same crops."""
        torch.manual_seed(1000 * self.config.seed + number)  # of dropout
        self.rng = np.random.default_rng([self.config.seed, number])
        self.network.train()
        total, count = 0.0, 0
        for batch in tqdm(self._batches(), desc="steps", unit="batch", leave=False, disable=not progress):
            crops = [cropper.cut(self.rng) for cropper in batch]
            views, labels = views_of_crops(crops, self.config.augment, self.rng)
            kind = torch.device(self.device).type
            with torch.autocast(kind, torch.bfloat16, enabled=self.config.mixed_precision):
                logits = self.network({name: view.to(self.device) for name, view in views.items()})
            loss = dense_loss(logits.float(), labels, self.classes)
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
        """Return the share of the learning rate: rising for a twentieth of the steps, then falling as a cosine."""
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
