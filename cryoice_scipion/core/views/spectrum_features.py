# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the features of a local spectrum, and compute them from the power of its frequencies.

Frequencies are in Å⁻¹, so that a model works at any pixel size. They reach up to the first three reflections of ice:
what lies above is filtered away before anything is computed.
"""

from __future__ import annotations

import functools
from typing import Dict, List, Optional, Tuple

import numpy as np
import torch
from numpy.typing import NDArray

from cryoice_scipion.core.views.patches import window_px

WINDOW = 128.0  # Å
# Å⁻¹. Between 0.24 and 0.31 as dense as a window resolves: hexagonal ice at 1/3.90, 1/3.67, 1/3.44 with its
# background on both sides.
BANDS = (
    0.012, 0.020, 0.030, 0.040, 0.052, 0.066, 0.082, 0.100, 0.120, 0.140, 0.160, 0.180, 0.200, 0.220,
    0.2350, 0.2445, 0.2564, 0.2645, 0.2725, 0.2816, 0.2907, 0.3000, 0.3100,
)  # fmt: skip
# Rings that are searched for spots; the three first orders of ice each have one of their own.
RINGS = (
    (0.05, 0.09), (0.09, 0.14), (0.14, 0.19), (0.19, 0.245), (0.245, 0.2645), (0.2645, 0.2816), (0.2816, 0.300),
)  # fmt: skip
ICE = 1 / 3.67
FEATURES = (
    [f"power {k}" for k in BANDS]
    + [f"relative power {k}" for k in BANDS]
    + [f"spot {low}-{high}" for low, high in RINGS]
    + [f"variance {low}-{high}" for low, high in RINGS]
)
_NEEDED = [*BANDS, *BANDS, *(high for _, high in RINGS), *(high for _, high in RINGS)]  # Å⁻¹, of each feature
_REACH = 0.98  # of Nyquist: the highest frequency that is used
_FLOOR = 1e-4  # of white noise with the micrograph's deviation: keeps logarithms finite
_EMPTY = 0.01  # a band with less than this share of the power at 1/20 to 1/8 Å⁻¹ was filtered away


def feature_frequencies() -> torch.Tensor:
    """Return the highest frequency (Å⁻¹) that each feature needs, shape (features,)."""
    return torch.tensor(_NEEDED)


class SpectrumPlan:
    """The window and the frequencies of each feature, for spectra of one sampling."""

    def __init__(self, sampling: float, device: torch.device) -> None:
        self.side = side = window_px(WINDOW, sampling)
        radius = np.hypot(np.fft.fftfreq(side, sampling)[:, None], np.fft.rfftfreq(side, sampling))
        limit = _REACH * 0.5 / sampling
        once = radius <= limit
        once[side // 2 :, 0] = once[0, 0] = False  # where x is zero, each pair of opposite frequencies is there twice
        chosen = np.flatnonzero(once)
        chosen = chosen[np.argsort(radius.ravel()[chosen], kind="stable")]  # by radius: a ring is one piece
        at = radius.ravel()[chosen]
        circle = np.round(at * side * sampling).astype(np.int64)  # one step of frequency wide
        circles = np.zeros((len(at), int(circle.max()) + 1))
        circles[np.arange(len(at)), circle] = 1.0 / np.bincount(circle)[circle]
        #: First and end of the frequencies of each ring; None above the limit.
        self.rings: List[Optional[Tuple[int, int]]] = []
        for low, high in RINGS:
            first, end = np.searchsorted(at, (low, high)).tolist()
            self.rings.append((first, end) if end > first and high <= limit else None)
        white = np.square(0.375 * side)  # power of white noise: the sum of the squares of a Hann window along each axis
        means = np.concatenate([_hats(at, limit) / white, circles], axis=1)  # of the bands, then along circles
        #: Places of the chosen frequencies in the flattened half plane, and the circle of each.
        self.chosen, self.circle = (torch.from_numpy(x).to(device) for x in (chosen, circle))
        self.means, self.centres, self.needs = (
            torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)
            for values in (means, np.array(BANDS), np.array(_NEEDED))
        )


@functools.lru_cache(maxsize=4)
def spectrum_plan(sampling: float, device: torch.device) -> SpectrumPlan:
    """Return the plan for a sampling; it is computed once."""
    return SpectrumPlan(sampling, device)


def _hats(at: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Return weights (frequencies, bands), linear from the centre of each band to its neighbours'; NaN beyond."""
    centres = np.array(BANDS)
    before, after = np.append(0.0, centres[:-1]), np.append(centres[1:], centres[-1] + 0.02)
    rising = (at[:, None] - before) / (centres - before)
    falling = (after - at[:, None]) / (after - centres)
    weights: NDArray[np.float64] = np.minimum(rising, falling).clip(min=0.0)
    weights /= weights.sum(axis=0).clip(min=1e-12)
    weights[:, centres > limit] = np.nan
    return weights


def profile_and_rings(plan: SpectrumPlan, power: torch.Tensor) -> torch.Tensor:
    """Return the profile of nine powers' sum, zeros for the relative profile, and the features of the rings.

    Parameters
    ----------
    power : torch.Tensor, shape (cells, frequencies)
        At the plan's frequencies; it is changed.

    Returns
    -------
    torch.Tensor, shape (cells, features)
    """
    means = power @ plan.means
    bands = torch.log(means[:, : len(BANDS)] / 9.0 + _FLOOR)
    return torch.cat([bands, torch.zeros_like(bands), _rings(plan, power, means[:, len(BANDS) :])], dim=1)


def _rings(plan: SpectrumPlan, power: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """Return, for each ring, log of the strongest frequency over the mean at its radius, and of the mean square."""
    white = power.mul_((1.0 / (means + 1e-12)).index_select(1, plan.circle))
    unknown = torch.full_like(power[:, 0], torch.nan)
    rings = [white[:, slice(*ring)] if ring else None for ring in plan.rings]
    strongest = [unknown if ring is None else ring.amax(dim=1) for ring in rings]
    squares = [unknown if ring is None else ring.square().mean(dim=1) for ring in rings]
    return torch.log(torch.stack([*strongest, *squares], dim=1) + 1e-3)


def resolution_of(profile: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Return the frequency (Å⁻¹) up to which a log profile holds signal: in low-passed micrographs below Nyquist."""
    power = torch.exp(profile) - _FLOOR
    measured = (centres >= 0.05) & (centres <= 0.125) & torch.isfinite(power)
    base = torch.where(measured, power, 0.0).sum() / measured.sum()  # NaN: nothing is measured, all bands are empty
    empty = ~(power >= _EMPTY * base) & (centres > 0.05)
    lowest = torch.where(empty, centres, 2.0).min()
    return torch.where(measured.any(), torch.where(lowest < 2.0, lowest - 1e-6, 1.0), 0.0)


def dropped(spectrum: torch.Tensor, limits: torch.Tensor, needs: torch.Tensor) -> torch.Tensor:
    """Return features (n, features), NaN where they need frequencies (features,) above the limit (n,) of their row."""
    beyond = needs.to(spectrum.device)[None, :] > limits[:, None].to(spectrum.device)
    return spectrum.masked_fill(beyond, torch.nan)


def named(features: torch.Tensor) -> Dict[str, float]:
    """Return one feature vector by the features' names."""
    return dict(zip(FEATURES, features.tolist()))
