# SPDX-License-Identifier: GPL-3.0-or-later
"""Fit a ``resnet`` grader to the views of graded micrographs."""

from __future__ import annotations

import copy
import dataclasses
from typing import Callable, Dict, Iterator, List, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from cryoice_scipion.constants import GOOD_GRADES, GRADES
from cryoice_scipion.core.config import AugmentConfig, TrainConfig
from cryoice_scipion.core.grades.resnet import ResNet

_GOOD = [GRADES.index(name) for name in GOOD_GRADES]
_TEMPERATURES = np.geomspace(0.3, 5.0, 60)
_LEAST_RANGE = 0.15  # of the frequencies of a spectrum, of the highest one, that an augmented one has

Array = NDArray[np.float64]


@dataclasses.dataclass
class Example:
    """A graded micrograph."""

    name: str
    source: str  # the data set
    picture: NDArray[np.float32]  # the views of ``grades.resnet.grade_views``
    power: NDArray[np.float32]
    grade: int  # index into GRADES


def batches(examples: Sequence[Example], size: int, rng: np.random.Generator) -> Iterator[List[Example]]:
    """Yield batches of examples whose pictures have one size, in random order."""
    by_shape: Dict[object, List[Example]] = {}
    for index in rng.permutation(len(examples)):
        by_shape.setdefault(examples[index].picture.shape, []).append(examples[index])
    found = [group[start : start + size] for group in by_shape.values() for start in range(0, len(group), size)]
    for index in rng.permutation(len(found)):
        yield found[index]


def augmented(example: Example, config: AugmentConfig, rng: np.random.Generator) -> Example:
    """Return a randomly turned and mirrored example with other contrast, or with fewer frequencies."""
    picture, power = example.picture, example.power
    if config.rotations and picture.shape[1] == picture.shape[2]:
        picture = np.rot90(picture, rng.integers(4), axes=(1, 2))
    if config.flips:
        picture = picture[:, :: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
        power = power[:, :: rng.choice((-1, 1))]
    picture = picture * rng.uniform(1 - config.scale, 1 + config.scale) + rng.uniform(-config.shift, config.shift)
    if rng.random() < config.spectrum_dropout:
        rows, columns = power.shape[1:]
        reach = rng.uniform(_LEAST_RANGE, 1.0)
        known = (np.abs(np.arange(rows) - rows // 2)[:, None] < reach * rows / 2) & (
            np.arange(columns)[None] < reach * columns
        )
        power = power * known
    return dataclasses.replace(example, picture=picture.astype(np.float32), power=power.astype(np.float32))


def _stacked(batch: Sequence[Example], device: torch.device) -> List[torch.Tensor]:
    views = ([one.picture for one in batch], [one.power for one in batch])
    return [torch.from_numpy(np.stack([np.ascontiguousarray(view) for view in some])).to(device) for some in views]


@torch.inference_mode()
def logits_of(network: ResNet, examples: Sequence[Example], device: torch.device) -> Array:
    """Return the logits of examples, shape (n, grades)."""
    network.eval()
    logits: Array = torch.cat([network(*_stacked([one], device)) for one in examples]).cpu().numpy().astype(np.float64)
    return logits


def grades_of(examples: Sequence[Example]) -> NDArray[np.int64]:
    """Return the true grades, indices into GRADES."""
    return np.array([one.grade for one in examples], dtype=np.int64)


def is_bad(grades: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which grades, indices into GRADES, are bad."""
    return ~np.isin(grades, _GOOD)


def bad_probabilities(probabilities: Array) -> Array:
    """Return the probability of being bad from those of the grades (n, grades), shape (n,)."""
    values: Array = 1 - probabilities[:, _GOOD].sum(axis=1)
    return values


def measures(probabilities: Array, grades: NDArray[np.int64]) -> Dict[str, float]:
    """Return how good probabilities (n, grades) of the true grades are; ``auc`` is that of bad against good."""
    bad, p_bad = is_bad(grades), bad_probabilities(probabilities)
    both = bad.any() and not bad.all()
    return {
        "auc": float(roc_auc_score(bad, p_bad)) if both else float("nan"),
        "accuracy": float((probabilities.argmax(axis=1) == grades).mean()),
        "loss": float(-np.log(np.maximum(probabilities[np.arange(len(grades)), grades], 1e-9)).mean()),
    }


def temperature_of(logits: Array, grades: NDArray[np.int64]) -> float:
    """Return the temperature with the lowest loss (Guo et al. 2017, arXiv 1706.04599)."""
    rows = np.arange(len(grades))
    losses = [-log_softmax(logits / value, axis=1)[rows, grades].mean() for value in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def class_weights(grades: NDArray[np.int64]) -> torch.Tensor:
    """Return weights that give each grade that occurs the same total weight."""
    counts = np.bincount(grades, minlength=len(GRADES)).astype(np.float32)
    weights = np.where(counts > 0, counts.sum() / np.maximum(counts, 1) / (counts > 0).sum(), 0.0)
    return torch.from_numpy(weights.astype(np.float32))


def fit(
    network: ResNet,
    training: Sequence[Example],
    validation: Sequence[Example],
    config: TrainConfig,
    device: torch.device,
    on_epoch: Callable[[Dict[str, float]], None] = lambda row: None,
) -> List[Dict[str, float]]:
    """Fit a network, which ends with the weights of the epoch of the lowest validation loss; return the history.

    Parameters
    ----------
    training, validation : sequence of Example
    on_epoch : callable
        Receives the row of each epoch; may raise to end the training.
    """
    rng = np.random.default_rng(config.seed)
    steps = config.epochs * sum(1 for _ in batches(training, config.batch, rng))
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=max(steps, 2) + 8)
    weights = class_weights(grades_of(training)).to(device) if config.class_weights else None
    best, state, history = np.inf, copy.deepcopy(network.state_dict()), []  # type: float, Dict[str, torch.Tensor], List[Dict[str, float]]
    for epoch in range(1, config.epochs + 1):
        network.train()
        losses = []
        for batch in batches(training, config.batch, rng):
            changed = [augmented(one, config.augment, rng) for one in batch]
            loss = functional.cross_entropy(
                network(*_stacked(changed, device)), torch.from_numpy(grades_of(batch)).to(device), weights
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        found = measures(softmax(logits_of(network, validation, device), axis=1), grades_of(validation))
        row = {"epoch": float(epoch), "train_loss": float(np.mean(losses))}
        row.update({f"validation_{name}": value for name, value in found.items()})
        history.append(row)
        if found["loss"] < best:
            best, state = found["loss"], copy.deepcopy(network.state_dict())
        on_epoch(row)
    network.load_state_dict(state)
    return history
