# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute features of the power spectrum around every map cell.

A field of 256 Å is covered by 3 × 3 Hann windows of 128 Å, half overlapping, whose powers are averaged (Welch 1967);
one row of windows serves three rows of cells. Features beyond the resolution of a micrograph are NaN, which networks
handle as unknown.
"""

from __future__ import annotations

import collections
import itertools
from typing import Callable, Deque, Iterator, List, Optional, Tuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from cryoice_scipion.core.views.patches import CLIP, mirror, power_of, robust_scale, uploaded
from cryoice_scipion.core.views.spectrum_features import (
    BANDS,
    FEATURES,
    WINDOW,
    profile_and_rings,
    resolution_of,
    spectrum_plan,
)
from cryoice_scipion.core.views.window_transforms import (
    KeptWindows,
    WindowKeeper,
    hann,
    transformed,
    transformed_windows,
)
from cryoice_scipion.core.views.windows import (
    CELL,
    COARSEST,
    Ends,
    Starts,
    frame_of,
    number_of_tiles,
    starts_around,
    starts_on_tiles,
)

_SAMPLE = 1_000_000  # pixels that the unit of power is taken from
_SPLIT = 1024  # windows whose spectra are computed at once


class Spectra:
    """The spectral features of one micrograph, anywhere on it.

    Parameters
    ----------
    view : torch.Tensor, shape (rows, columns)
        The micrograph at its own sampling, or at ``FINEST`` if that is coarser; its border filled.
    sampling : float
        Å/px of the view.
    inside : array_like, bool, same shape, optional
        False on the border: only the rest sets the unit of power, and windows keep inside the frame of the border. In
        the memory of the host.
    shape : tuple, optional
        (rows, columns) of the map; by default cells of 64 Å, rounded up.
    keeper : callable, optional
        Returns, from the starts of the windows, what collects their transforms for :meth:`kept_windows`.
    """

    def __init__(
        self,
        view: torch.Tensor,
        sampling: float,
        inside: Optional[ArrayLike] = None,
        shape: Optional[Tuple[int, int]] = None,
        keeper: Optional[Callable[[List[Starts]], WindowKeeper]] = None,
    ) -> None:
        self.sampling = sampling
        rows, columns = (number_of_tiles(int(size), WINDOW, sampling) for size in view.shape)
        self.shape = shape or (rows, columns)
        self.inside = None if inside is None else np.asarray(inside)
        self._plan = spectrum_plan(sampling, view.device)
        step = max(1, int((view.numel() / _SAMPLE) ** 0.5))
        some = (slice(None, None, step), slice(None, None, step))
        middle, deviation = robust_scale(view[some], None if self.inside is None else self.inside[some])
        #: The view in deviations from its median, clipped; mirrored where it is smaller than a window.
        self.scaled = _at_least((view - middle).mul_(1.0 / deviation).clamp_(-CLIP, CLIP), self._plan.side)
        self._frame = self._frame_of_windows()
        starts = starts_on_tiles(self.shape, WINDOW, sampling, self._plan.side, self._frame)
        self._starts = starts  # first rows, and columns, of the windows around the cells
        self._keeper = None if keeper is None else keeper(starts)
        self._grid: Optional[torch.Tensor] = None

    def map(self) -> torch.Tensor:
        """Return the features of every map cell of 64 Å, shape (features, rows, columns), NaN where unknown."""
        if self._grid is None:
            self._grid = self._make_map()
        return self._grid

    def kept_windows(self) -> Optional[KeptWindows]:
        """Return what the keeper collected; None if there is none."""
        self.map()
        return None if self._keeper is None else self._keeper.kept()

    def at(self, centres: torch.Tensor) -> torch.Tensor:
        """Return the features around positions (n, 2), x and y in px of the view; shape (n, features).

        At the centre of a cell they are those of :meth:`map`.
        """
        self.map()  # the reference is of the whole micrograph
        steps, pixels = np.array([-1.0, 0.0, 1.0]) * (CELL / self.sampling), torch.arange(self._plan.side)
        parts = []
        for some in torch.split(centres.double(), max(1, _SPLIT // 9)):
            top, left = (
                torch.from_numpy(starts_around(some[:, axis, None].numpy() + steps, self._plan.side, ends))
                for axis, ends in zip((1, 0), self._frame)
            )
            row, column = top.repeat_interleave(3, dim=1).flatten(), left.repeat(1, 3).flatten()
            at_row, at_column = (start[:, None] + pixels for start in (row, column))
            windows = self.scaled[at_row[:, :, None].to(self.scaled.device), at_column[:, None].to(self.scaled.device)]
            power = power_of(transformed(windows, hann(self._plan.side, windows)))
            nine = power.view(len(some), 9, -1).sum(dim=1)
            parts.append(profile_and_rings(self._plan, nine.index_select(1, self._plan.chosen)))
        if not parts:
            return self.scaled.new_zeros((0, len(FEATURES)))
        return self._relative(torch.cat(parts))

    @property
    def sees_ice(self) -> torch.Tensor:
        """Return whether the resolution of this micrograph includes the 3.67 Å ring of ice: one value, bool."""
        known = torch.isfinite(self.map()[BANDS.index(0.2725)]).any()
        return known & (self.sampling <= COARSEST * 1.001)

    def _make_map(self) -> torch.Tensor:
        """Return the features of the grid; also set the reference profile and the resolution limit."""
        rows, columns = self.shape
        three: Deque[torch.Tensor] = collections.deque(maxlen=3)
        features = []
        for power in self._rows_of_power():
            three.append(power)
            if len(three) == 3:
                features.append(profile_and_rings(self._plan, (three[0] + three[1]).add_(three[2])))
        grid = torch.cat(features)  # (cells, features)
        profile = grid[:, : len(BANDS)]
        inner = self._inner_cells(rows, columns)
        if inner is not None:
            profile = profile[uploaded(inner, profile.device)]
        self._reference = torch.median(profile, dim=0).values
        self._limit = resolution_of(self._reference, self._plan.centres)
        return self._relative(grid).T.reshape(-1, rows, columns)

    def _rows_of_power(self) -> Iterator[torch.Tensor]:
        """Yield the power of each row of windows, summed over three columns: (columns, frequencies).

        The first and the last row, and columns, are there twice: the windows beyond would be moved to the same place.
        """
        last = len(self._starts[0]) - 1
        for number, parts in itertools.groupby(self._powers(), key=lambda part: part[0]):
            power = [part[1] for part in parts]
            wider = torch.cat([power[0][:1], *power, power[-1][-1:]])
            summed = (wider[:-2] + wider[1:-1]).add_(wider[2:])
            for _ in range(1 + (number == 0) + (number == last)):
                yield summed

    def _powers(self) -> Iterator[Tuple[int, torch.Tensor]]:
        """Yield the row and the power (windows, frequencies) of a few windows at a time."""
        for row, transforms in transformed_windows(self.scaled, self._plan.side, self._starts):
            if self._keeper is not None:
                self._keeper.add(row, transforms)
            yield row, power_of(transforms).index_select(1, self._plan.chosen)

    def _frame_of_windows(self) -> List[Ends]:
        """Return the ends of rows and columns that windows keep inside: not border, unless that is too small."""
        size = (int(self.scaled.shape[0]), int(self.scaled.shape[1]))
        frame = frame_of(None if self.inside is None or self.inside.all() else ~self.inside, size)
        return [ends if ends[1] - ends[0] >= self._plan.side else (0, n) for ends, n in zip(frame, size)]

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
        """Fill in the power relative to the micrograph's median, and NaN beyond its resolution: (cells, features)."""
        number = len(BANDS)
        features[:, number : 2 * number] = features[:, :number] - self._reference
        return features.masked_fill_(self._plan.needs > self._limit, torch.nan)


def _at_least(view: torch.Tensor, side: int) -> torch.Tensor:
    """Return a view, mirrored at its ends to at least ``side`` px along both axes."""
    rows, columns = (max(0, side - int(size)) for size in view.shape)
    return mirror(view, (0, columns, 0, rows)) if rows or columns else view
