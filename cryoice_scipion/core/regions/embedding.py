# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe a proposal by numbers: its log-odds, grey levels, difference from its rim, size and shape. No torch."""

from __future__ import annotations

from typing import List, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryoice_scipion.core.regions.instances import EIGHT
from cryoice_scipion.core.regions.layers import CLASSES, GROUPS, SESSION, Layers
from cryoice_scipion.core.regions.proposals import Proposal

_RIM = 2  # cells around a proposal


_SESSION = ("brightness", "variance", *(f"power_{number}" for number in range(1, GROUPS + 1)))
NAMES = (
    *(f"odds_{name}" for name in CLASSES), *(f"rim_{name}" for name in CLASSES),
    "odds", "odds_lowest", "odds_highest", "odds_rim", "odds_spread",
    "grey", "grey_rim", "grey_spread", "grey_size", "outlier", "outlier_rim",
    *_SESSION, *(f"rim_{name}" for name in _SESSION),
    "area", "share", "elongation", "filled", "roundness", "at_edge",
)  # fmt: skip


def embed(layers: Layers, proposals: Sequence[Proposal]) -> NDArray[np.float64]:
    """Return the numbers of each proposal, shape (proposals, numbers); ``NAMES`` names them."""
    stack = np.concatenate(
        [layers.by_class, layers.session, layers.odds[None], layers.grey[None], layers.outlier[None]]
    )
    rows = [_row(layers, stack, one) for one in proposals]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(NAMES))


def _row(layers: Layers, stack: NDArray[np.float64], proposal: Proposal) -> List[float]:
    shape = layers.odds.shape
    wide = tuple(
        slice(max(0, part.start - _RIM), min(size, part.stop + _RIM)) for part, size in zip(proposal.box, shape)
    )
    mask = np.zeros(tuple(part.stop - part.start for part in wide), dtype=bool)
    corner = tuple(part.start - outer.start for part, outer in zip(proposal.box, wide))
    mask[corner[0] : corner[0] + proposal.mask.shape[0], corner[1] : corner[1] + proposal.mask.shape[1]] = proposal.mask
    rim = ndimage.binary_dilation(mask, EIGHT, _RIM) & ~mask & layers.inside[wide]
    part = stack[(slice(None), *wide)]
    inner = part[:, mask]
    means = inner.mean(axis=1)
    contrast = means - part[:, rim].mean(axis=1) if rim.any() else np.zeros(len(means))
    number = len(layers.by_class)
    odds, grey = inner[number + SESSION], inner[number + SESSION + 1]
    area = float(mask.sum())
    height, width = proposal.mask.shape
    outline = area - float(ndimage.binary_erosion(mask, EIGHT).sum())
    touches = any(one.start == 0 or one.stop == size for one, size in zip(proposal.box, shape))
    return [
        *means[:number],
        *contrast[:number],
        means[-3],
        float(np.quantile(odds, 0.1)),
        float(odds.max()),
        contrast[-3],
        float(odds.std()),
        float(np.arcsinh(means[-2])),
        float(np.arcsinh(contrast[-2])),
        float(np.log1p(grey.std())),
        float(np.arcsinh(np.abs(means[-2]))),
        means[-1],
        contrast[-1],
        *means[number : number + SESSION],
        *contrast[number : number + SESSION],
        float(np.log(area * layers.sampling**2)),
        area / layers.odds.size,
        float(np.abs(np.log(height / width))),
        area / (height * width),
        float(np.log(outline**2 / area)),
        float(touches),
    ]
