# SPDX-License-Identifier: GPL-3.0-or-later
"""Fit the refinement head: the last two layers of the U-Net, which also read the outlier features of each cell.

A small ice crystal among many particles covers a few of some thousands of cells. It has little influence on the
training with crops, although it is an outlier on its micrograph. Here, cells are drawn, the same number of each class
on each real micrograph, and only the last two layers are fitted to them. A correction of the probabilities for the
frequency of the classes was tried; it loses most of the small crystals again.
"""

from __future__ import annotations

from typing import List, Mapping, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from cryoice_scipion.core.detectors.unet import FEATURES, UNet
from cryoice_scipion.core.training.unet.crops import weights_of
from cryoice_scipion.core.training.unet.fit import map_loss
from cryoice_scipion.core.training.unet.training_micrographs import TrainingMicrograph
from cryoice_scipion.core.views.outlier_features import outlier_features
from cryoice_scipion.core.views.patch_spectrum import local_view

HIDDEN = 256
_DRAWN, _EACH, _CLEAN = 300, 1500, 4000  # cells: of a simulated micrograph; of a real one, of each bad class; good
_EPOCHS, _BATCH, _RATE = 8, 2048, 3e-3
# In standard deviations of the inputs. Without this noise, these layers rely on details that other microscopes do not
# share. It improves the ranking on real micrographs that are left out, and does not change it on simulated ones.
_NOISE = 0.3

Cells = Tuple[torch.Tensor, torch.Tensor]  # inputs of these two layers (n, features), and labels (n,)


def with_refinement_head(body: UNet) -> UNet:
    """Return a network with a new refinement head on the layers of a U-Net that has none."""
    network = UNet(body.head.out_channels, body.head.in_channels // FEATURES, HIDDEN)
    own = network.state_dict()
    taken = {key: value for key, value in body.state_dict().items() if not key.startswith("head.")}
    network.load_state_dict({**own, **taken})
    return network


def fit_refinement_head(
    body: UNet,
    loaded: Mapping[str, TrainingMicrograph],
    crops: Mapping[str, int],
    classes: List[str],
    seed: int,
    device: str,
    progress: bool,
) -> UNet:
    """Return the network with its last two layers fitted to cells of micrographs.

    Parameters
    ----------
    body : UNet
        Trained on crops.
    loaded : dict
        The micrographs to train on, by name.
    crops : dict
        Crops in an epoch by name; more than 1 means that a micrograph is of a small set of real ones.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    body = body.eval().to(device)
    names = tqdm(loaded, desc="cells", unit="mic", disable=not progress)
    parts = [
        cells_of_micrograph(body, loaded[name], drawn(loaded[name], crops[name] > 1, rng), device) for name in names
    ]
    network = with_refinement_head(body).to(device)
    fit_cells(network, parts, classes, rng, progress)
    return network


def last_layers(network: UNet) -> nn.Sequential:
    """Return the last two layers of a network, which read single cells, with dropout between them for training."""
    assert network.refine is not None
    return nn.Sequential(network.refine, nn.Dropout(0.1), network.head)


def fit_cells(
    network: UNet, parts: Sequence[Cells], classes: Sequence[str], rng: np.random.Generator, progress: bool
) -> None:
    """Fit the last two layers of a network, in place, to cells drawn from micrographs."""
    values, labels = (torch.cat([part[side] for part in parts]) for side in range(2))
    noise = _NOISE * values.std(dim=0, unbiased=False)
    device = next(network.parameters()).device
    last = last_layers(network)
    optimizer = torch.optim.AdamW(last.parameters(), _RATE, weight_decay=1e-2)
    steps = _EPOCHS * -(-len(values) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    last.train()
    for _ in tqdm(range(_EPOCHS), desc="refinement head", unit="epoch", disable=not progress):
        for some in torch.split(torch.from_numpy(rng.permutation(len(values))), _BATCH):
            seen = values[some] + noise * torch.randn(len(some), values.shape[1])
            logits = last(seen.to(device)[:, :, None, None])
            loss = map_loss(logits, labels[some][:, None, None], classes)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    network.eval()


def drawn(micrograph: TrainingMicrograph, real: bool, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the flat indices of the cells to train on; of a simulated micrograph, cells are drawn by weight."""
    labels = micrograph.labels.ravel()
    known = micrograph.labelled
    if not real:
        share = weights_of(micrograph.labels).ravel()[known]
        number = min(_DRAWN, len(known))
        return rng.choice(known, number, replace=False, p=share / share.sum()) if number else known
    parts = []
    for code in np.unique(labels[known]):
        cells = known[labels[known] == code]
        number = _EACH if code else _CLEAN
        # Cells of a rare class are drawn repeatedly, up to ten times each.
        parts.append(rng.choice(cells, min(number, 10 * len(cells)), replace=len(cells) < number))
    chosen: NDArray[np.int64] = np.concatenate(parts) if parts else known
    return chosen


def features_of_micrograph(network: UNet, micrograph: TrainingMicrograph, device: str) -> torch.Tensor:
    """Return the features that the last layer of a network reads, of every cell of a micrograph; see ``UNet.map``."""
    scaled = torch.from_numpy(micrograph.view.astype(np.float32)).to(device)
    spectrum = torch.from_numpy(micrograph.spectrum.astype(np.float32)).to(device)
    shape = (int(micrograph.labels.shape[0]), int(micrograph.labels.shape[1]))
    return network.map(torch.stack([scaled, local_view(scaled)]), spectrum, shape)


@torch.inference_mode()
def cells_of_micrograph(body: UNet, micrograph: TrainingMicrograph, indices: NDArray[np.int64], device: str) -> Cells:
    """Return the inputs of the refinement head for some cells (flat indices), and their labels.

    The body has no refinement head yet.
    """
    features = features_of_micrograph(body, micrograph, device)
    beside = outlier_features(torch.from_numpy(micrograph.view.astype(np.float32)).to(device))
    beside = beside[:, : micrograph.labels.shape[0], : micrograph.labels.shape[1]]
    stacked = torch.cat([features, beside]).flatten(1).T
    chosen = torch.from_numpy(indices)
    return stacked[chosen].cpu().clone(), torch.from_numpy(micrograph.labels.ravel()[indices].astype(np.int64))
