# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers that a micrograph is graded by: areas, the session, and the shape of the power spectrum. No torch."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.constants import BORDER
from cryoice_scipion.core.detectors.one_class_fit import distribution_of, is_comparable, moments_of
from cryoice_scipion.core.maps.bad_area import Cells
from cryoice_scipion.core.records import OneClass

#: Classes of bad area that a grade needs; a model that does not tell them apart cannot grade.
AREAS = ("crystalline", "contamination", "thick", "support", "aggregate", "vacuum")
SESSION = ("outlier", "brightness", "variance", "fine_power")
POWER = ("slope_1", "slope_2", "slope_3", "ring_energy", "ring_sharpness", "ring_spots")
_SMALL = 0.002  # share of the area: keeps the logarithm of an area finite
_MOST = 4.0  # of a deviation from the session, after compression
_FINE = 4  # bands of the highest spatial frequencies


def evidence_of(
    cells: Cells,
    power: Mapping[str, float],
    features: Optional[NDArray[Any]] = None,
    sampling: float = 0.0,
    reference: Optional[OneClass] = None,
) -> Dict[str, float]:
    """Return the evidence of a micrograph; what is not known is left out.

    Parameters
    ----------
    cells : Cells
        P(BAD) by class.
    power : mapping
        From ``views.power_spectrum.power_evidence``.
    features : numpy.ndarray, shape (rows, columns, features), optional
        From ``views.session_features``; None: not measured.
    sampling : float
        Å, side of a cell of these features.
    reference : OneClass, optional
        The session; None: not known.

    Returns
    -------
    dict
        ``area_CLASS`` for each of AREAS: the decimal logarithm of the expected share of the area inside the border,
        0 for 0.2 % and less than it. Of SESSION: ``outlier``, the logarithm of the distance from the session; the
        others are deviations from the session's mean. Of POWER: as they are.
    """
    found = {f"area_{name}": float(np.log10(1 + share / _SMALL)) for name, share in shares_of(cells).items()}
    found.update({name: float(power[name]) for name in POWER if name in power})
    if features is not None and reference is not None:
        found.update(_session_evidence(features, sampling, reference))
    return found


def shares_of(cells: Cells) -> Dict[str, float]:
    """Return the expected share of the area inside the border that belongs to each of AREAS."""
    inside = ~cells.border
    names = [name for name in cells.bad_classes if name != BORDER]
    means = [float(cells.by_class[index][inside].mean()) if inside.any() else 0.0 for index in range(len(names))]
    return {name: share for name, share in zip(names, means) if name in AREAS}


def _session_evidence(features: NDArray[Any], sampling: float, reference: OneClass) -> Dict[str, float]:
    moments = moments_of(features) if is_comparable(reference, features, sampling) else None
    if moments is None:
        return {}
    fit = distribution_of(reference)
    distance = fit.of_micrograph(moments) / max(reference.unit, 1e-6)
    deviations = (moments.mean - fit.mean) / np.sqrt(np.diag(fit.between))
    values = {"brightness": deviations[0], "variance": deviations[1], "fine_power": deviations[-_FINE:].mean()}
    compressed = {name: float(np.clip(np.arcsinh(value), -_MOST, _MOST)) for name, value in values.items()}
    return {"outlier": float(np.log(max(distance, 1e-3))), **compressed}
