# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers that describe the average power spectrum of a micrograph, which graders were tried with."""

from __future__ import annotations

import functools
from typing import Any, Dict, Tuple

import numpy as np

from cryoice_scipion.core.views.power_spectrum import HALF, WINDOW

#: Å⁻¹: hexagonal ice at 1/3.90, 1/3.67 and 1/3.44 Å, and the background on both sides.
RING, BELOW, ABOVE = (0.250, 0.297), (0.205, 0.235), (0.312, 0.340)
#: Å⁻¹, of the bands whose powers are compared: noise of the detector is flat, particles and films are not.
EDGES = (0.004, 0.008, 0.014, 0.022, 0.034, 0.05, 0.0625, 0.09, 0.13, 0.18, 0.235)
_STEP = 1.0 / WINDOW  # Å⁻¹
_SPOTS = 0.999  # quantile of the power in the ring
POWER = (*(f"slope_{number}" for number in range(1, len(EDGES) - 1)), "ring_energy", "ring_sharpness", "ring_spots")


def power_evidence(power: Any) -> Dict[str, float]:
    """Return numbers that describe a spectrum of :func:`average_power`; those beyond its resolution are left out.

    Returns
    -------
    dict
        ``ring_energy``, ``ring_sharpness``, ``ring_spots``: of the ring of ice near 3.7 Å; its power relative to both
        sides (thick ice has a strong diffuse ring), its strongest line, and its spots (crystals have lines and spots).
        ``slope_1`` to ``slope_9``: by how much the logarithm of the power falls from one band to the next.
    """
    profile = _profile(power)
    levels = [float(_part(profile, band).mean()) for band in zip(EDGES, EDGES[1:])]
    found = {f"slope_{number}": one - next_one for number, (one, next_one) in enumerate(zip(levels, levels[1:]), 1)}
    ring = _part(profile, RING)
    sides = np.concatenate([_part(profile, BELOW), _part(profile, ABOVE)])
    frequency = _frequencies()
    inside = (frequency >= RING[0]) & (frequency <= RING[1])
    whitened = power[inside] - profile[np.round(frequency[inside] / _STEP).astype(int)]
    found["ring_energy"] = float(ring.mean() - sides.mean())
    found["ring_sharpness"] = float(ring.max() - np.median(ring))
    found["ring_spots"] = float(np.quantile(whitened, _SPOTS))
    return {name: round(value, 4) for name, value in found.items() if np.isfinite(value)}


@functools.lru_cache(maxsize=1)
def _frequencies() -> Any:
    """Return the frequency of each value of a spectrum, Å⁻¹."""
    return np.hypot(np.arange(-HALF, HALF)[:, None], np.arange(HALF)[None, :]) * _STEP


def _profile(power: Any) -> Any:
    """Return the radial mean of a spectrum by steps of 1/256 Å⁻¹; NaN where it is not known all round."""
    lines = np.round(_frequencies() / _STEP).astype(int).ravel()
    values = power.ravel().astype(np.float64)
    values[HALF * HALF] = 0.0  # the mean of the image: not known
    return np.asarray(np.bincount(lines, values) / np.bincount(lines))


def _part(profile: Any, limits: Tuple[float, float]) -> Any:
    """Return the part of a radial profile between two frequencies, Å⁻¹."""
    return profile[int(np.ceil(limits[0] / _STEP)) : int(limits[1] / _STEP) + 1]
