# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers that the confidence of a region is computed from. No torch."""

from __future__ import annotations

from typing import List, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import logit

from cryoice_scipion.constants import BORDER
from cryoice_scipion.core.maps.bad_area import Cells
from cryoice_scipion.core.regions.instances import EIGHT, Labels

EVIDENCE = (
    "odds_mean", "odds_highest", "odds_lowest", "rim_contrast", "area", "depth", "filled", "at_edge", "class_share",
    "class_margin", "bad_share", "regions", "cell",
)  # fmt: skip
_RIM = 2  # cells around a region
_MOST = 12.0  # log-odds
_TINY = 1e-6


def evidence_of_regions(cells: Cells, labels: Labels, classes: Sequence[str]) -> NDArray[np.float64]:
    """Return the evidence of each region, shape (regions, evidence), in the order of ``EVIDENCE``.

    Parameters
    ----------
    labels, classes
        From ``find_instances``.
    """
    odds = np.clip(logit(np.clip(cells.probability.astype(np.float64), _TINY, 1 - _TINY)), -_MOST, _MOST)
    inside = ~cells.border
    names = [name for name in cells.bad_classes if name != BORDER]
    bad_share = float(np.mean(labels[inside] > 0)) if inside.any() else 0.0
    shared = [bad_share, float(np.log(1 + len(classes))), float(np.log(cells.sampling))]
    depths = ndimage.distance_transform_edt(np.pad(labels > 0, 1))[1:-1, 1:-1]
    rows: List[List[float]] = []
    for number, (box, name) in enumerate(zip(ndimage.find_objects(labels, len(classes)), classes), 1):
        wide = tuple(slice(max(0, part.start - _RIM), part.stop + _RIM) for part in box)
        mask = labels[wide] == number
        rim = ndimage.binary_dilation(mask, EIGHT, _RIM) & (labels[wide] == 0) & inside[wide]
        values = odds[wide][mask]
        shares = cells.by_class[: len(names), wide[0], wide[1]][:, mask].sum(axis=1)
        shares = shares / max(float(shares.sum()), _TINY)
        own = names.index(name)
        others = np.delete(shares, own)
        sides = [part.stop - part.start for part in box]
        touches = any(part.start == 0 or part.stop == size for part, size in zip(box, labels.shape))
        rows.append(
            [
                float(values.mean()),
                float(values.max()),
                float(np.quantile(values, 0.1)),
                float(values.mean() - odds[wide][rim].mean()) if rim.any() else 0.0,
                float(np.log(mask.sum() * cells.sampling**2)),
                float(np.log(depths[wide][mask].max())),
                float(mask.sum() / (sides[0] * sides[1])),
                float(touches),
                float(shares[own]),
                float(shares[own] - others.max(initial=0.0)),
                *shared,
            ]
        )
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(EVIDENCE))
