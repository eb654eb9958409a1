# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute features of the power spectrum around every map cell, at fixed spatial frequencies.

A field of 256 Å is covered by 3 × 3 Hann windows of 128 Å, half overlapping, whose powers are averaged (Welch 1967);
one row of windows serves three rows of cells. Frequencies are in Å⁻¹, so a model works at
any pixel size. Features beyond the resolution of a micrograph are NaN, which networks handle as unknown.
"""

from __future__ import annotations

import functools
import math
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from cryoice_scipion.core.views.patches import batches, power_of, robust_scale, uploaded, window_px

FINEST = 1.0  # Å/px: finer micrographs are cropped to it in Fourier space
COARSEST = 1.72  # Å/px: with coarser pixels the rings of ice are beyond the resolution
CELL = 64.0  # Å between windows: half a window
WINDOW = 128.0  # Å
# Å⁻¹. Between 0.24 and 0.31 as dense as a window resolves: hexagonal ice at 1/3.90, 1/3.67, 1/3.44 with its
# background on both sides; above, ice at 1/2.67 and 1/2.25, gold at 1/2.35 and 1/2.04.
BANDS = (
    0.012, 0.020, 0.030, 0.040, 0.052, 0.066, 0.082, 0.100, 0.120, 0.140, 0.160, 0.180, 0.200, 0.220,
    0.2350, 0.2445, 0.2564, 0.2645, 0.2725, 0.2816, 0.2907, 0.3000, 0.3100,
    0.330, 0.350, 0.3745, 0.400, 0.4255, 0.4444, 0.466, 0.485,
)  # fmt: skip
# Rings that are searched for spots; the three first orders of ice each have one of their own.
RINGS = (
    (0.05, 0.09), (0.09, 0.14), (0.14, 0.19), (0.19, 0.245), (0.245, 0.2645), (0.2645, 0.2816), (0.2816, 0.300),
    (0.300, 0.355), (0.355, 0.39), (0.39, 0.435), (0.435, 0.456), (0.456, 0.490),
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
_CLIP = 20.0  # robust deviations: a hot pixel is white
_SAMPLE = 1_000_000  # pixels that the unit of power is taken from
_SPLIT = 1024  # windows whose spectra are computed at once


def feature_frequencies() -> torch.Tensor:
    """Return the highest frequency (Å⁻¹) that each feature needs, shape (features,)."""
    return torch.tensor(_NEEDED)


class Spectra:
    """The spectral features of one micrograph, anywhere on it.

    Parameters
    ----------
    view : torch.Tensor, shape (rows, columns)
        The micrograph at its own sampling, or at ``FINEST`` if that is coarser; its border filled.
    sampling : float
        Å/px of the view.
    inside : array_like, bool, same shape, optional
        False on the border: only the rest sets the unit of power. In the memory of the host.
    shape : tuple, optional
        (rows, columns) of the map; by default cells of 64 Å, rounded up.
    """

    def __init__(
        self,
        view: torch.Tensor,
        sampling: float,
        inside: Optional[ArrayLike] = None,
        shape: Optional[Tuple[int, int]] = None,
    ) -> None:
        step = max(1, int((view.numel() / _SAMPLE) ** 0.5))
        some = (slice(None, None, step), slice(None, None, step))
        self.inside = None if inside is None else np.asarray(inside)
        middle, deviation = robust_scale(view[some], None if self.inside is None else self.inside[some])
        self.view = view
        self._middle, self._per_deviation = middle, 1.0 / deviation
        self.sampling = sampling
        self.shape = shape or (_cells(int(view.shape[0]), sampling), _cells(int(view.shape[1]), sampling))
        self._plan = _plan(sampling, view.device)
        self._grid: Optional[torch.Tensor] = None

    def map(self) -> torch.Tensor:
        """Return the features of every map cell of 64 Å, shape (features, rows, columns), NaN where unknown."""
        if self._grid is None:
            self._grid = self._make_map()
        return self._grid

    def at(self, centres: torch.Tensor) -> torch.Tensor:
        """Return the features around positions (n, 2), x and y in px of the view; shape (n, features).

        At the centre of a cell they are those of :meth:`map`.
        """
        self.map()  # the reference is of the whole micrograph
        steps = torch.tensor([-1.0, 0.0, 1.0]) * (CELL / self.sampling)
        parts = []
        for some in torch.split(centres.double(), max(1, _SPLIT // 9)):
            x = (some[:, 0, None, None] + steps[None, None, :]).expand(-1, 3, -1)
            y = (some[:, 1, None, None] + steps[None, :, None]).expand(-1, -1, 3)
            power = self._power(self._scaled(self._cut(y.flatten(), x.flatten()))).reshape(len(some), 9, -1)
            parts.append(_profile_and_rings(self._plan, power.sum(dim=1)))
        if not parts:
            return self.view.new_zeros((0, len(FEATURES)))
        return self._relative(torch.cat(parts))

    @property
    def sees_ice(self) -> torch.Tensor:
        """Return whether the resolution of this micrograph includes the 3.67 Å ring of ice: one value, bool."""
        known = torch.isfinite(self.map()[BANDS.index(0.2725)]).any()
        return known & (self.sampling <= COARSEST * 1.001)

    def _make_map(self) -> torch.Tensor:
        """Return the features of the grid; also set the reference profile and the resolution limit."""
        rows, columns = self.shape
        lefts = self._starts(columns)
        kept: List[torch.Tensor] = []  # the last three rows of windows, summed over three columns
        features = []
        for top in self._starts(rows):
            power = torch.cat([self._power(some) for some in self._windows(top, lefts)])
            kept = [*kept[-2:], (power[:-2] + power[1:-1]).add_(power[2:])]
            if len(kept) == 3:
                features.append(_profile_and_rings(self._plan, (kept[0] + kept[1]).add_(kept[2])))
        grid = torch.stack(features)  # (rows, columns, features)
        profile = grid[..., : len(BANDS)].reshape(-1, len(BANDS))
        inner = self._inner_cells(rows, columns)
        if inner is not None:
            profile = profile[uploaded(inner, profile.device)]
        self._reference = torch.median(profile, dim=0).values
        self._limit = _resolution(self._reference, self._plan.centres)
        return self._relative(grid).permute(2, 0, 1).contiguous()

    def _starts(self, cells: int) -> List[int]:
        """Return the first pixels of the windows around the cells of an axis, and around one more at each end."""
        half = self._plan.side // 2
        return [math.floor((cell + 0.5) * CELL / self.sampling + 0.5) - half for cell in range(-1, cells + 1)]

    def _inner_cells(self, rows: int, columns: int) -> Optional[NDArray[np.int64]]:
        """Return the flat indices of the cells whose centre is not border; None if all or none of them are such."""
        if self.inside is None:
            return None
        y, x = (
            ((np.arange(number) + 0.5) * CELL / self.sampling).astype(np.int64).clip(max=length - 1)
            for number, length in zip((rows, columns), self.inside.shape)
        )
        inner = self.inside[y[:, None], x]
        return None if inner.all() or not inner.any() else np.flatnonzero(inner)

    def _relative(self, features: torch.Tensor) -> torch.Tensor:
        """Fill in the power relative to the micrograph's median, and NaN beyond its resolution."""
        number = len(BANDS)
        features[..., number : 2 * number] = features[..., :number] - self._reference
        return features.masked_fill_(self._plan.needs > self._limit, torch.nan)

    def _windows(self, top: int, lefts: Sequence[int]) -> Iterator[torch.Tensor]:
        """Yield the windows of one row (n, side, side), a few at a time; what lies outside the view is mirrored."""
        side, (rows, columns) = self._plan.side, self.view.shape
        strip = self.view[max(top, 0) : top + side]
        if len(strip) < side:
            strip = self.view.index_select(0, self._mirrored(top, top + side, rows))
        before, after = max(0, -lefts[0]), max(0, lefts[-1] + side - columns)
        outside = self._mirrored(-before, 0, columns), self._mirrored(columns, columns + after, columns)
        left, right = (strip.index_select(1, index) for index in outside)
        strip = self._scaled(torch.cat([left, strip, right], dim=1))
        return batches(strip, [left + before for left in lefts])

    def _mirrored(self, first: int, end: int, length: int) -> torch.Tensor:
        return _mirrored(torch.arange(first, end, device=self.view.device), length)

    def _cut(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return windows around positions (px of the view); what lies outside is mirrored."""
        side = self._plan.side
        steps = torch.arange(side) - side // 2
        row, column = (
            _mirrored(torch.floor(position + 0.5).long()[:, None] + steps, int(length)).to(self.view.device)
            for position, length in zip((y, x), self.view.shape)
        )
        return self.view[row[:, :, None], column[:, None, :]]

    def _scaled(self, values: torch.Tensor) -> torch.Tensor:
        """Return pixels in deviations of the micrograph, clipped."""
        return (values - self._middle).mul_(self._per_deviation).clamp_(-_CLIP, _CLIP)

    def _power(self, windows: torch.Tensor) -> torch.Tensor:
        """Return the power of windows, relative to white noise: (n, frequencies) of the half plane. Changes them."""
        centred = windows.sub_(windows.mean(dim=(-2, -1), keepdim=True)).mul_(self._plan.taper)
        return power_of(torch.fft.rfft2(centred)).flatten(1)


def _profile_and_rings(plan: _Plan, power: torch.Tensor) -> torch.Tensor:
    """Return the profile of nine powers' sum, zeros for the relative profile, and the features of the rings."""
    power = power.index_select(1, plan.chosen)
    means = power @ plan.means
    bands = torch.log(means[:, : len(BANDS)] / 9.0 + _FLOOR)
    return torch.cat([bands, torch.zeros_like(bands), _rings(plan, power, means[:, len(BANDS) :])], dim=1)


def _rings(plan: _Plan, power: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """Return, for each ring, log of the strongest frequency over the mean at its radius, and of the mean square."""
    white = power.mul_((1.0 / (means + 1e-12)).index_select(1, plan.circle))
    variances = torch.log(white.square() @ plan.rings + 1e-3)
    unknown = torch.full_like(power[:, 0], torch.nan)
    strongest = [white[:, first:end].amax(dim=1) if end > first else unknown for first, end in plan.ends]
    return torch.cat([torch.log(torch.stack(strongest, dim=1) + 1e-3), variances], dim=1)


class _Plan:
    """The window and the frequencies of each feature, for spectra of one sampling."""

    def __init__(self, sampling: float, device: torch.device) -> None:
        self.side = side = window_px(WINDOW, sampling)
        taper = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(side) / side)
        plane = taper[:, None] * taper
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
        self.ends: List[Tuple[int, int]] = []  # first and end of the frequencies of each ring
        rings = np.full((len(at), len(RINGS)), np.nan)
        for column, (low, high) in zip(rings.T, RINGS):
            first, end = np.searchsorted(at, (low, high)).tolist() if high <= limit else (0, 0)
            if end > first:
                column[:] = 0.0
                column[first:end] = 1.0 / (end - first)
            self.ends.append((first, end))
        self.chosen, self.circle = (torch.from_numpy(index).to(device) for index in (chosen, circle))
        self.taper, self.means, self.rings, self.centres, self.needs = (
            torch.from_numpy(values.astype(np.float32)).to(device)
            for values in (
                plane / np.sqrt(np.square(plane).sum()),
                np.concatenate([_hats(at, limit), circles], axis=1),  # of the bands, then along circles
                rings,
                np.array(BANDS),
                np.array(_NEEDED),
            )
        )


@functools.lru_cache(maxsize=4)
def _plan(sampling: float, device: torch.device) -> _Plan:
    """Return the plan for a sampling; it is computed once."""
    return _Plan(sampling, device)


def _hats(at: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Return weights (frequencies, bands), linear from the centre of each band to its neighbours'; NaN beyond."""
    centres = np.array(BANDS)
    before, after = np.append(0.0, centres[:-1]), np.append(centres[1:], centres[-1] + 0.015)
    rising = (at[:, None] - before) / (centres - before)
    falling = (after - at[:, None]) / (after - centres)
    weights: NDArray[np.float64] = np.minimum(rising, falling).clip(min=0.0)
    weights /= weights.sum(axis=0).clip(min=1e-12)
    weights[:, centres > limit] = np.nan
    return weights


def _resolution(profile: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Return the frequency (Å⁻¹) up to which a log profile holds signal: in low-passed micrographs below Nyquist."""
    power = torch.exp(profile) - _FLOOR
    measured = (centres >= 0.05) & (centres <= 0.125) & torch.isfinite(power)
    base = torch.where(measured, power, 0.0).sum() / measured.sum()  # NaN: nothing is measured, all bands are empty
    empty = ~(power >= _EMPTY * base) & (centres > 0.05)
    lowest = torch.where(empty, centres, 2.0).min()
    return torch.where(measured.any(), torch.where(lowest < 2.0, lowest - 1e-6, 1.0), 0.0)


def _cells(length: int, sampling: float) -> int:
    return max(1, math.ceil(length * sampling / CELL - 1e-6))


def _mirrored(index: torch.Tensor, length: int) -> torch.Tensor:
    """Return pixel indices, with those outside [0, length) reflected repeatedly."""
    period = max(1, 2 * (length - 1))
    folded = index.remainder(period)
    return torch.where(folded >= length, period - folded, folded)


def dropped(spectrum: torch.Tensor, limits: torch.Tensor, needs: torch.Tensor) -> torch.Tensor:
    """Return features (n, features), NaN where they need frequencies (features,) above the limit (n,) of their row."""
    beyond = needs.to(spectrum.device)[None, :] > limits[:, None].to(spectrum.device)
    return spectrum.masked_fill(beyond, torch.nan)


def named(features: torch.Tensor) -> Dict[str, float]:
    """Return one feature vector by the features' names."""
    return dict(zip(FEATURES, features.tolist()))
