# SPDX-License-Identifier: GPL-3.0-or-later
"""Transform half-overlapping windows of a micrograph, and put the transforms of larger windows together from them."""

from __future__ import annotations

import functools
from typing import Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from numpy.typing import NDArray

from cryoice_scipion.core.views.patches import at_once, power_of, uploaded
from cryoice_scipion.core.views.windows import Starts

_REGULAR = 0.75  # of half a window: windows with a smaller step between them were moved into the frame
_TOGETHER = 4  # larger windows of a row that are made at once: more would be multiplied by more zeros


def transformed_windows(view: torch.Tensor, side: int, starts: List[Starts]) -> Iterator[Tuple[int, torch.Tensor]]:
    """Yield the row and the transforms (windows, side * (side // 2 + 1)) of a few windows at a time, row by row.

    A window loses its mean and gets a periodic Hann window.

    Parameters
    ----------
    view : torch.Tensor, shape (rows, columns), float32
    side : int
        Of a window, px; even.
    starts : list of numpy.ndarray
        First rows and first columns of the windows.
    """
    taper = hann(side, view)
    number = max(2, at_once(view.device) // side**2)
    for row, top in enumerate(starts[0].tolist()):
        strip = view[top : top + side]
        for first in range(0, len(starts[1]), number):
            some = starts[1][first : first + number].tolist()
            yield row, transformed(torch.stack([strip[:, left : left + side] for left in some]), taper)


def hann(side: int, like: torch.Tensor) -> torch.Tensor:
    """Return the periodic Hann window of ``side`` × ``side`` px, on the device of another tensor."""
    line = torch.hann_window(side, periodic=True, device=like.device, dtype=like.dtype)
    return line[:, None] * line


def transformed(windows: torch.Tensor, taper: torch.Tensor) -> torch.Tensor:
    """Return the transforms (n, frequencies) of windows (n, side, side) without their means. Changes the windows."""
    transforms: torch.Tensor = torch.fft.rfft2(windows.sub_(windows.mean(dim=(-2, -1), keepdim=True)).mul_(taper))
    return transforms.flatten(1)


class KeptWindows(NamedTuple):
    """The transforms of all windows at some frequencies, as if all windows began at the corner of the view."""

    transforms: torch.Tensor  # (rows of windows, columns of windows, frequencies), complex64
    power: torch.Tensor  # (windows, frequencies) at some of these frequencies
    starts: List[Starts]  # first rows, and columns, of the windows, px
    side: int  # of a window, px


class WindowKeeper:
    """Collects the transforms of the windows of a micrograph at some frequencies.

    Parameters
    ----------
    frequencies : tuple of int
        Places of the frequencies in the flattened half plane.
    measured : torch.Tensor, int64
        Which of these frequencies the power is taken of.
    side : int
        Of a window, px.
    starts : list of numpy.ndarray
        First rows, and columns, of the windows.
    """

    def __init__(self, frequencies: Tuple[int, ...], measured: torch.Tensor, side: int, starts: List[Starts]) -> None:
        self.side, self.starts, self._measured = side, starts, measured
        self._frequencies = _places(frequencies, measured.device)
        rows, columns = (tuple(numbers.tolist()) for numbers in np.divmod(frequencies, side // 2 + 1))
        self._down, self._across = (
            _phases(tuple(some.tolist()), numbers, side, measured.device)
            for some, numbers in zip(starts, (rows, columns))
        )
        number = len(starts[0]) * len(starts[1])
        self._transforms = self._down.new_empty((number, len(frequencies)))
        self._power = measured.new_empty((number, len(measured)), dtype=torch.float32)
        self._number = 0  # of windows that were added

    def add(self, row: int, transforms: torch.Tensor) -> None:
        """Take the next few windows, as :func:`transformed_windows` yields them."""
        column, new = self._number % len(self.starts[1]), slice(self._number, self._number + len(transforms))
        self._number += len(transforms)
        kept = transforms.index_select(1, self._frequencies)
        torch.mul(kept, self._across[column : column + len(kept)], out=self._transforms[new]).mul_(self._down[row])
        torch.index_select(power_of(kept), 1, self._measured, out=self._power[new])

    def kept(self) -> KeptWindows:
        """Return what was collected."""
        transforms = self._transforms.view(len(self.starts[0]), len(self.starts[1]), -1)
        return KeptWindows(transforms, self._power, self.starts, self.side)


def kept_windows(view: torch.Tensor, keeper: WindowKeeper) -> KeptWindows:
    """Return the transforms of all windows of a view at the frequencies that the keeper wants."""
    for row, transforms in transformed_windows(view, keeper.side, keeper.starts):
        keeper.add(row, transforms)
    return keeper.kept()


@functools.lru_cache(maxsize=16)
def _places(frequencies: Tuple[int, ...], device: torch.device) -> torch.Tensor:
    return uploaded(np.array(frequencies), device)


@functools.lru_cache(maxsize=16)
def _phases(starts: Tuple[int, ...], frequencies: Tuple[int, ...], side: int, device: torch.device) -> torch.Tensor:
    """Return the factors (starts, frequencies) that move windows to pixel 0 of an axis."""
    turns = np.multiply.outer(starts, frequencies) % side / side
    return uploaded(np.exp(-2j * np.pi * turns).astype(np.complex64), device)


class Joining(NamedTuple):
    """How small windows along one axis make larger ones."""

    starts: Starts  # px, of the larger windows
    ends: Starts
    #: First small window, the one after the last, and the weights (larger windows × factor, small ones) between.
    groups: List[Tuple[int, int, torch.Tensor]]


@functools.lru_cache(maxsize=16)
def joining(starts: Tuple[int, ...], side: int, factor: int, together: int, device: torch.device) -> Optional[Joining]:
    """Return how small windows make windows that are ``factor`` times as large; None if they are too few.

    A larger window is a sum of small ones with weights of a Hann window; both overlap by half. The outermost small
    windows, which were moved into the frame, are left out. The phase from window to window tells finer frequencies
    apart: ``factor`` of them around each frequency of a small window, at -(factor - 1) / 2, ..., (factor - 1) / 2 steps
    (a filter bank; Crochiere and Rabiner 1983, Multirate Digital Signal Processing, chapter 7).

    Parameters
    ----------
    starts : tuple of int
        First px of the small windows, in steps of half of their side.
    side : int
        Of a small window, px.
    factor : int
        An even number.
    together : int
        How many larger windows are a group, for which one matrix (larger windows × factor, small windows) is made.
    device : torch.device
        Of the matrices.
    """
    regular = np.flatnonzero(np.diff(starts) > _REGULAR * side / 2)
    if len(regular) + 1 < 2 * factor:
        return None
    number = -(-len(starts) // factor)
    first = (np.arange(number) * factor - factor // 2).clip(regular[0], regular[-1] + 2 - 2 * factor)
    members = np.array(starts)[first[:, None] + np.arange(2 * factor)]
    centres = (members - (members[:, :1] + members[:, -1:]) / 2.0) / (factor * side)
    taper = 0.5 + 0.5 * np.cos(2.0 * np.pi * centres)
    weights = taper[:, None] * np.exp(-2j * np.pi * finer_frequencies(factor)[:, None] * centres[:, None])
    groups = []
    for begin in range(0, number, together):
        some = slice(begin, begin + together)
        low = int(first[some][0])
        matrix = np.zeros((*weights[some].shape[:2], int(first[some][-1]) + 2 * factor - low), dtype=np.complex64)
        for rows, left, weight in zip(matrix, first[some] - low, weights[some]):
            rows[:, left : left + 2 * factor] = weight
        groups.append((low, low + matrix.shape[2], uploaded(matrix.reshape(-1, matrix.shape[2]), device)))
    return Joining(members[:, 0], members[:, -1] + side, groups)


def finer_frequencies(factor: int) -> NDArray[np.float64]:
    """Return the distances of the finer frequencies from that of a small window, in steps of the larger window."""
    distances: NDArray[np.float64] = np.arange(factor) - (factor - 1) / 2.0
    return distances


def joinings(kept: KeptWindows, factor: int) -> Optional[List[Joining]]:
    """Return how windows that are ``factor`` times as large are made, along y and along x; None if there are none."""
    axes = [
        joining(tuple(starts.tolist()), kept.side, factor, together, kept.transforms.device)
        for starts, together in zip(kept.starts, (1, _TOGETHER))
    ]
    found = [axis for axis in axes if axis is not None]
    return found if len(found) == 2 else None


def joined_windows(kept: KeptWindows, factor: int, axes: List[Joining]) -> Iterator[torch.Tensor]:
    """Yield a few windows at a time that are ``factor`` times as large, (windows, finer frequencies), complex.

    Finer frequencies are flattened: (factor along y, factor along x, kept frequencies).
    """
    _, columns, frequencies = kept.transforms.shape
    for top, bottom, down in axes[0].groups:
        rows = (down @ kept.transforms[top:bottom].flatten(1)).view(factor, columns, frequencies)
        for left, right, across in axes[1].groups:
            joined = (across @ rows[:, left:right]).view(factor, -1, factor, frequencies)
            yield joined.transpose(0, 1).flatten(1)
