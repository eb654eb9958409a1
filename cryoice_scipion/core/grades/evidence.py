# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers that a micrograph is graded by: its map, and how it differs from its session. No torch."""

from __future__ import annotations

from typing import Dict, Optional

import numpy as np
from scipy.special import logit

from cryoice_scipion.constants import BORDER
from cryoice_scipion.core.detectors.one_class_fit import Outlier
from cryoice_scipion.core.maps.bad_area import Cells

#: Classes of bad area that a grade needs; a model that does not tell them apart cannot grade.
AREAS = ("crystalline", "contamination", "thick", "support", "aggregate", "vacuum")
MAP = (*(f"area_{name}" for name in AREAS), "odds_low", "odds_middle", "odds_high")
_GROUPS_OF_BANDS, _GROUPS_OF_PATCHY = 5, 3
SESSION = (
    "outlier", "brightness", "variance", *(f"power_{number}" for number in range(1, _GROUPS_OF_BANDS + 1)),
    "patchy_brightness", "patchy_variance", *(f"patchy_power_{number}" for number in range(1, _GROUPS_OF_PATCHY + 1)),
    "cells_low", "cells_middle", "cells_high",
)  # fmt: skip
LEAST_SESSION = 10  # micrographs of a reference: fewer do not tell which differences are usual
_QUANTILES = (0.1, 0.5, 0.9)  # of cells: low, middle, high
_SMALL = 0.002  # share of the area: keeps the logarithm of an area finite
_TINY = 1e-6
_MOST = 12.0  # log-odds


def evidence_of(cells: Cells, outlier: Optional[Outlier] = None) -> Dict[str, float]:
    """Return the evidence of a micrograph; what is not known is left out.

    Parameters
    ----------
    cells : Cells
        P(BAD) by class.
    outlier : Outlier, optional
        How it differs from its session; None: not known. It does not count with a reference below ``LEAST_SESSION``.

    Returns
    -------
    dict
        Of MAP: ``area_CLASS``, the decimal logarithm of the expected share of the area inside the border (0 for 0.2 %
        and less), and quantiles of the log-odds of BAD over the cells.
        Of SESSION: ``outlier``, the logarithm of the distance from the session; deviations of the mean features from
        the session, from coarse to fine bands of power; ``patchy_…``, how much more they vary between cells; and
        quantiles of the logarithm of the distance of cells.
    """
    found = {f"area_{name}": float(np.log10(1 + share / _SMALL)) for name, share in shares_of(cells).items()}
    inside = cells.probability[~cells.border]
    if inside.size:
        odds = np.clip(logit(inside.astype(np.float64)), -_MOST, _MOST)
        found.update(zip(MAP[len(AREAS) :], np.quantile(odds, _QUANTILES).tolist()))
    if outlier is None or outlier.micrographs < LEAST_SESSION:
        return found
    return {**found, **_session_evidence(outlier)}


def shares_of(cells: Cells) -> Dict[str, float]:
    """Return the expected share of the area inside the border that belongs to each of AREAS."""
    inside = ~cells.border
    names = [name for name in cells.bad_classes if name != BORDER]
    means = [float(cells.by_class[index][inside].mean()) if inside.any() else 0.0 for index in range(len(names))]
    return {name: share for name, share in zip(names, means) if name in AREAS}


def _session_evidence(outlier: Outlier) -> Dict[str, float]:
    deviations, patchy = np.arcsinh(outlier.deviations), outlier.patchiness + _TINY
    values = [
        np.log(max(outlier.number, _TINY)),
        *deviations[:2],
        *(part.mean() for part in np.array_split(deviations[2:], _GROUPS_OF_BANDS)),
        *np.log(patchy[:2]),
        *(np.log(part.mean()) for part in np.array_split(patchy[2:], _GROUPS_OF_PATCHY)),
        *np.log(np.quantile(outlier.cells[outlier.cells > 0], _QUANTILES) + _TINY),
    ]
    return {name: float(value) for name, value in zip(SESSION, values)}
