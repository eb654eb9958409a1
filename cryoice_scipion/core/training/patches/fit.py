# SPDX-License-Identifier: GPL-3.0-or-later
"""Fit a network to labelled patches, with early stopping."""

from __future__ import annotations

import dataclasses
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from cryoice_scipion.constants import BAD, BORDER, CLASSES, GOOD
from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.choice import kind_to_train, views_of
from cryoice_scipion.core.detectors.kinds import kind_of, module_of
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.detectors.network_detector import Network, read_weights
from cryoice_scipion.core.errors import ModelError, SettingsError, counted
from cryoice_scipion.core.training.metrics import measure
from cryoice_scipion.core.training.patches.augment import augment
from cryoice_scipion.core.training.splits import TRAIN, VALIDATION
from cryoice_scipion.core.training.trainers import Epoch, Log, Positions

Arrays = Mapping[str, NDArray[np.generic]]  # views by name, "patch" always among them
_PREDICT_BATCH = 256


@dataclasses.dataclass
class Fitted:
    """A network with the weights of its best epoch."""

    network: Network
    classes: List[str]
    history: List[Dict[str, float]]  # one row an epoch
    interrupted: Optional[KeyboardInterrupt] = None  # the signal that ended the training early
    options: Dict[str, int] = dataclasses.field(default_factory=dict)  # what the network is built with
    topics: Dict[str, str] = dataclasses.field(default_factory=dict)  # of the model card: how the network was fitted
    #: Rows of the table, and their logits from fits without their micrographs; None: validation is not trained on.
    crossed: Optional[Tuple[NDArray[np.int64], NDArray[np.float64]]] = None


def classes_of(labels: Sequence[str]) -> List[str]:
    """Return the classes of a model with these labels: good first; "bad" only if no other bad class occurs."""
    kinds = [name for name in CLASSES if name in set(labels) and name not in (GOOD, BAD, BORDER)]
    return [GOOD, *(kinds or [BAD])]


def allowed_classes(labels: Sequence[str], classes: Sequence[str]) -> NDArray[np.bool_]:
    """Return the classes that each label stands for, shape (n, classes): "bad" is any class but good."""
    table = np.zeros((len(labels), len(classes)), dtype=bool)
    for row, label in enumerate(labels):
        if label in classes:
            table[row, classes.index(label)] = True
        else:
            table[row, 1:] = True
    return table


def loss_of(logits: torch.Tensor, allowed: torch.Tensor, weights: Optional[torch.Tensor] = None) -> torch.Tensor:
    """Return the mean of -log P(an allowed class): cross-entropy for labels that stand for several classes.

    Parameters
    ----------
    logits : torch.Tensor, shape (n, classes)
    allowed : torch.Tensor, bool, same shape
    weights : torch.Tensor, shape (n,), optional
    """
    taken = torch.logsumexp(logits.masked_fill(~allowed, -torch.inf), dim=1)
    losses = torch.logsumexp(logits, dim=1) - taken
    return losses.mean() if weights is None else (losses * weights).sum() / weights.sum()


def bad_log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Return the log-odds of BAD (any class but the first) of logits (n, classes)."""
    return torch.logsumexp(logits[:, 1:], dim=1) - logits[:, 0]


def fit(
    views: Arrays,
    table: pd.DataFrame,
    config: TrainConfig,
    device: str,
    log: Log,
    progress: bool = True,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Fitted:
    """Train on the rows of split "train", stop on those of split "validation".

    Parameters
    ----------
    views : dict of numpy.ndarray
        The views of the network by name; "patch" (n, 64, 64) are the normalised patches.
    table : pandas.DataFrame
        One row a patch: label, micrograph, split, copy.
    config : TrainConfig
    device : str
        "cpu" or "cuda:N".
    log : callable
        Receives messages.
    progress : bool
        Whether to show a bar.
    on_epoch : callable
        Receives each epoch.

    Returns
    -------
    Fitted
        With the weights of the epoch with the lowest validation loss. A signal ends training early and keeps them.
        It is raised again if no epoch is finished.
    """
    torch.manual_seed(config.seed)
    torch.backends.cudnn.deterministic = True
    classes = classes_of(table["label"].tolist())
    options = {"width": config.width}
    network: Network = module_of(kind_to_train(config)).build(len(classes), views_of(config), options).to(device)
    allowed = torch.from_numpy(allowed_classes(table["label"].tolist(), classes))
    train = np.flatnonzero(table["split"] == TRAIN)
    validation = np.flatnonzero((table["split"] == VALIDATION) & (table["copy"] == 0))
    tensors = {name: torch.from_numpy(array) for name, array in views.items()}
    network.measure(tensors, torch.from_numpy(train))
    if config.base:
        log(start_from(network, config.base))
    run = _Run(network, tensors, allowed, config, device, _weights(allowed, train, config))
    history: List[Dict[str, float]] = []
    best, best_loss = _copy_state(network), np.inf
    interrupted: Optional[KeyboardInterrupt] = None
    bad = (table["label"] != GOOD).to_numpy()

    def embed() -> NDArray[np.float32]:
        return read_by_last_layer(network, views, validation, device)

    bar = tqdm(range(1, config.epochs + 1), desc="training", unit="epoch", disable=not progress)
    try:
        for epoch in bar:
            row = {"epoch": float(epoch), "train_loss": run.epoch(train)}
            row.update(run.validate(validation, bad))
            history.append(row)
            bar.set_postfix(loss=f"{row['validation_loss']:.3f}", auc=f"{row['validation_auc']:.3f}")
            if row["validation_loss"] < best_loss:
                best, best_loss = _copy_state(network), row["validation_loss"]
            on_epoch(Epoch(row, lambda: positions_of(run.p_bad, table, validation, views, embed)))
            if epoch - min(history, key=lambda item: item["validation_loss"])["epoch"] >= config.patience:
                break
    except KeyboardInterrupt as stop:
        if not history:  # there are no trained weights yet
            raise
        interrupted = stop
        log(f"interrupted: the best weights of {counted(len(history), 'epoch')} are kept")
    network.load_state_dict(best)
    return Fitted(network.eval(), classes, history, interrupted, options)


def runaway() -> SettingsError:
    """Return the error to raise when weights become infinite or NaN."""
    return SettingsError("training", "the loss became infinite", "give a smaller --learning-rate")


def start_from(network: Network, model: str) -> str:
    """Copy the weights of a model into a network wherever their shapes agree; return a message with their number.

    Raises
    ------
    ModelError
        When the model is missing or damaged, or has no weights.
    """
    folder = resolve_model(model)
    if not kind_of(load_config(folder).network, model).has_weights:
        raise ModelError(model, "has no weights", "start from a trained model, such as default")
    own = network.state_dict()
    taken = {key: value for key, value in read_weights(folder).items() if _fits(own, key, value)}
    network.load_state_dict({**own, **taken})
    return f"starting from {folder.name}: {len(taken)} of {len(own)} weight tensors taken over"


def _fits(own: Dict[str, torch.Tensor], key: str, value: torch.Tensor) -> bool:
    return key in own and own[key].shape == value.shape


def positions_of(
    p_bad: NDArray[np.float64],
    table: pd.DataFrame,
    rows: NDArray[np.int64],
    views: Arrays,
    features: Callable[[], NDArray[np.float32]],
) -> Positions:
    """Return the predictions on some rows of a table, with their patches and features."""
    chosen = table.iloc[rows].assign(p_bad=p_bad).reset_index(drop=True)
    return Positions(chosen, lambda some: np.asarray(views["patch"][rows[some]], dtype=np.float32), features)


def read_by_last_layer(network: Network, views: Arrays, rows: NDArray[np.int64], device: str) -> NDArray[np.float32]:
    """Return what the last layer of a network reads for some rows of the views, shape (n, features)."""
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    parts: List[NDArray[np.float32]] = []
    hook = layers[-1].register_forward_pre_hook(
        lambda _, given: parts.append(given[0].flatten(1).float().cpu().numpy())
    )
    try:
        predict(network, views, rows, device)
    finally:
        hook.remove()
    found: NDArray[np.float32] = np.concatenate(parts)
    return found


@torch.inference_mode()
def predict(network: Network, views: Arrays, rows: NDArray[np.int64], device: str) -> NDArray[np.float64]:
    """Return the logits (n, classes) of some rows of the views."""
    network = network.eval().to(device)
    tensors = {name: torch.from_numpy(array) for name, array in views.items()}
    parts = [
        network(batch_of(tensors, chosen, device)).double().cpu().numpy()
        for chosen in torch.split(torch.from_numpy(rows), _PREDICT_BATCH)
    ]
    logits: NDArray[np.float64] = np.concatenate(parts)
    return logits


def batch_of(tensors: Mapping[str, torch.Tensor], rows: torch.Tensor, device: str) -> Dict[str, torch.Tensor]:
    """Return some rows of the views as float32 on a device."""
    return {name: tensor[rows].float().to(device) for name, tensor in tensors.items()}


class _Run:
    """One training: the network, its data and its optimiser."""

    def __init__(
        self,
        network: Network,
        views: Dict[str, torch.Tensor],
        allowed: torch.Tensor,
        config: TrainConfig,
        device: str,
        weights: Optional[torch.Tensor],
    ) -> None:
        self.network, self.views, self.allowed, self.weights = network, views, allowed, weights
        self._arrays = {name: tensor.numpy() for name, tensor in views.items()}
        self.config, self.device = config, device
        self._good_or_bad = torch.cat([allowed[:, :1], (~allowed[:, :1]).expand(-1, allowed.shape[1] - 1)], dim=1)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.p_bad: NDArray[np.float64] = np.zeros(0)  # of the validation patches after the last epoch
        self.optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, config.epochs)

    def epoch(self, rows: NDArray[np.int64]) -> float:
        """Train once on all rows; return the mean loss."""
        self.network.train()
        order = torch.from_numpy(rows)[torch.randperm(len(rows), generator=self.generator)]
        total = 0.0
        for start in range(0, len(order), self.config.batch):
            chosen = order[start : start + self.config.batch]
            if len(chosen) < 2:  # batch normalisation needs two
                continue
            batch = augment(batch_of(self.views, chosen, "cpu"), self.config.augment, self.generator)
            loss = self._loss(batch, chosen)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += float(loss.detach()) * len(chosen)
        self.schedule.step()
        return total / max(1, len(rows))

    def validate(self, rows: NDArray[np.int64], bad: NDArray[np.bool_]) -> Dict[str, float]:
        """Return loss, AUC and AP on the validation patches.

        Raises
        ------
        SettingsError
            When the weights are infinite or NaN.
        """
        logits = torch.from_numpy(predict(self.network, self._arrays, rows, self.device))
        if not torch.isfinite(logits).all():
            raise runaway()
        self.p_bad = torch.sigmoid(bad_log_odds(logits)).numpy()
        values = measure(self.p_bad, bad[rows], 0.5)
        # The loss of BAD against GOOD, because bad classes are easily confused and only this decides.
        loss = float(loss_of(logits, self._good_or_bad[torch.from_numpy(rows)]))
        return {"validation_loss": loss, "validation_auc": values["auc"], "validation_ap": values["ap"]}

    def _loss(self, batch: Dict[str, torch.Tensor], chosen: torch.Tensor) -> torch.Tensor:
        logits = self.network({name: view.to(self.device) for name, view in batch.items()})
        weights = None if self.weights is None else self.weights[chosen].to(self.device)
        return loss_of(logits, self.allowed[chosen].to(self.device), weights)


def _weights(allowed: torch.Tensor, train: NDArray[np.int64], config: TrainConfig) -> Optional[torch.Tensor]:
    """Return a weight for each patch that gives GOOD and BAD the same total, if the settings ask for it."""
    if not config.class_weights:
        return None
    good = allowed[:, 0]
    share = float(good[torch.from_numpy(train)].float().mean())
    return torch.where(good, 0.5 / max(share, 1e-6), 0.5 / max(1.0 - share, 1e-6))


def _copy_state(network: Network) -> Dict[str, torch.Tensor]:
    return {key: value.detach().clone() for key, value in network.state_dict().items()}
