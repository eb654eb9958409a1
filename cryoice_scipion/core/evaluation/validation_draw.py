# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the micrographs on which a training is validated. Imports no torch, so that forms can try it before a run."""

from __future__ import annotations

from typing import List, Mapping

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.core.errors import SettingsError

_TRIES = 200


def draw_validation(
    stems: List[str],
    counts: Mapping[str, NDArray[np.int64]],
    share: float,
    rng: np.random.Generator,
) -> List[str]:
    """Return the validation micrographs of the best of many seeded draws.

    Parameters
    ----------
    stems : list of str
        The micrographs that are not held out.
    counts : dict
        Numbers of good and of bad labels of each micrograph, shape (2,).
    share : float
        Share of the micrographs to draw; at least one.

    Raises
    ------
    SettingsError
        When no draw leaves good and bad labels on both sides.
    """
    number = min(max(1, round(share * len(stems))), len(stems) - 1)
    total = sum((counts[stem] for stem in stems), np.zeros(2))
    best: List[str] = []
    score = np.inf
    for _ in range(_TRIES if number > 0 else 0):
        draw = sorted(str(stem) for stem in rng.choice(stems, number, replace=False))
        part = sum((counts[stem] for stem in draw), np.zeros(2))
        if (part > 0).all() and (total - part > 0).all():
            far = float(np.abs(np.log(part / total / share)).sum())
            if far < score:
                best, score = draw, far
    if not best:
        raise SettingsError(
            "training set", "good and bad labels are needed on two micrographs at least, one of them to validate on",
            "label bad areas on more micrographs",
        )  # fmt: skip
    return best
