# SPDX-License-Identifier: GPL-3.0-or-later
"""Test windows for lattice fringes of ice, with calibrated p-values and without training.

Windows of 128 Å locate fringes; windows of 256 and 512 Å detect fringes that are too faint for these. The transforms
of larger windows are put together from those of 128 Å (see :mod:`~.window_transforms`). Each window is tapered, and
the power in the band of ice is divided by its expectation. The expectation is the mean over all windows of the
micrograph in that bin and along a short arc around it, times a smooth factor of the window. It therefore follows the
noise spectrum and Thon rings, also astigmatic ones. Without a crystal the quotient is exponentially distributed;
``spot_statistics`` computes the p-value of the largest. The power in an expectation is clipped, and the expectation is
bounded by the median over its ring, so that a crystal that fills the micrograph does not become the background.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from cryoice_scipion.core.views.patches import in_order, power_of, uploaded, window_px
from cryoice_scipion.core.views.spot_bins import REACH, SpotBins, spot_bins
from cryoice_scipion.core.views.spot_statistics import BINS_PER_ONE, WINDOWS_PER_ONE, log_p_of_tail, tail_of_ratio
from cryoice_scipion.core.views.window_transforms import (
    KeptWindows,
    WindowKeeper,
    joined_windows,
    joinings,
    kept_windows,
)
from cryoice_scipion.core.views.windows import CELL, COARSEST, Starts, frame_of, number_of_tiles, starts_on_tiles

SCALES = (128.0, 256.0, 512.0)  # Å
# Å⁻¹; ice 1/3.90, 1/3.67 and 1/3.44 (Dowell and Rinfret 1960) with room for a pixel size that is off by 5 %.
BAND = (1 / 4.10, 1 / 3.30)
FULL = REACH / 2 / BAND[1]  # Å/px, 1.57: above it the band is cut short
UNAVAILABLE, NO_SIGNAL, REDUCED = "spots_unavailable", "spots_no_signal", "spots_reduced"
_CLIP = 4.0  # times the expectation: what of a bin enters a mean
_CLIPPED_VARIANCE = 0.885  # of min(E, 4) / its mean, E exponential
_EXCESS = 1.3  # over the median of the ring: more than Thon rings do at these resolutions is no background
_FEW = 60.0  # degrees of freedom: with fewer, an expectation is taken over whole rings
_LEVEL_BINS = 400  # at most about twice as many measure the level of a window: more add little to it
_LEVEL_STEP = 4  # bins between them, at least: the taper correlates neighbours
_BORDER = 0.02  # share of a window that may be border
# Less than such a share of the power at 8 to 20 Å, or at 20 to 60 Å, means that the band was filtered away.
_SIGNAL = (((1 / 20, 1 / 8), 1e-2), ((1 / 60, 1 / 20), 1e-4))


@dataclasses.dataclass
class SpotEvidence:
    """Natural logarithm of the p-value of the strongest spot, by scale (``SCALES``) and cell; NaN: not tested."""

    log_p: NDArray[np.float64]  # (scales, rows, columns)
    flags: List[str]


@dataclasses.dataclass
class SpotMaps:
    """The same on the device of the micrograph; whether there is any signal is not known to the host yet."""

    log_p: torch.Tensor  # (scales, rows, columns), float64
    has_signal: torch.Tensor  # one value, bool: whether the band of ice was not filtered away
    flag: str = ""  # UNAVAILABLE or REDUCED

    def on_host(self) -> SpotEvidence:
        """Return the result in the memory of the host."""
        flags = [self.flag] if self.flag else []
        return SpotEvidence(self.log_p.cpu().numpy(), flags if bool(self.has_signal) else [NO_SIGNAL])


def spot_evidence(image: torch.Tensor, pixel_size: float, border: Optional[ArrayLike] = None) -> SpotEvidence:
    """Return the p-value of the strongest spot around each cell, at each scale; see :func:`spot_maps`."""
    return spot_maps(image, pixel_size, border).on_host()


def spot_maps(
    image: torch.Tensor,
    pixel_size: float,
    border: Optional[ArrayLike] = None,
    scales: Sequence[float] = SCALES,
    kept: Optional[KeptWindows] = None,
) -> SpotMaps:
    """Return the p-value of the strongest spot around each cell, at each scale.

    Parameters
    ----------
    image : torch.Tensor, shape (rows, columns), float32
        The micrograph at ``FINEST`` Å/px, or at its own sampling if that is coarser; border filled, in any units,
        without hot pixels.
    pixel_size : float
        Å/px.
    border : array_like, bool, same shape, optional
        Windows keep inside a frame of it; those that reach into any other are not tested.
    scales : sequence of float
        Those of ``SCALES`` that are tested.
    kept : KeptWindows, optional
        The transforms of the windows of 128 Å at the frequencies of :func:`searched`; by default they are computed.

    Returns
    -------
    SpotMaps
        Cell (i, j) of ``CELL`` Å takes the window that has it in its central half. No cell is tested when the pixels
        are too coarse (flag ``UNAVAILABLE``) or the band holds no signal (``NO_SIGNAL``).
    """
    shape = (int(image.shape[0]), int(image.shape[1]))
    if not is_tested(shape, pixel_size):
        return untested(shape, pixel_size, image.device, scales)
    has_signal = _has_signal(image, pixel_size)
    maps = untested(shape, pixel_size, image.device, scales)
    if image.device.type == "cpu" and not bool(has_signal):  # a GPU would have to wait for the answer
        return SpotMaps(maps.log_p, has_signal)
    search = searched(tuple(scales), pixel_size, image.device)
    outside = np.asarray(border) if border is not None and np.asarray(border).any() else None
    if kept is None:
        numbers, frame = grid_of(shape, pixel_size), frame_of(outside, shape)
        if min(end - first for first, end in frame) < search.side:  # nearly everything is border
            return SpotMaps(maps.log_p, has_signal)
        starts = starts_on_tiles(numbers, SCALES[0], pixel_size, search.side, frame)
        kept = kept_windows(image, search.keeper(starts))
    rows, columns = (torch.arange(size, device=image.device) for size in maps.log_p.shape[1:])
    for plane, length in zip(maps.log_p, scales):
        tiles = _log_p(kept, search, length, outside)
        if tiles is not None:
            step = round(length / 2 / CELL)
            row, column = (at.clamp(max=int(n) * step - 1) // step for at, n in zip((rows, columns), tiles.shape))
            plane.copy_(tiles[row[:, None], column])
    return SpotMaps(maps.log_p.masked_fill(~has_signal, torch.nan), has_signal, REDUCED if pixel_size > FULL else "")


def is_tested(shape: Tuple[int, int], pixel_size: float) -> bool:
    """Return whether a view of ``shape`` px is fine and large enough for the test."""
    return pixel_size <= COARSEST * (1 + 1e-6) and min(shape) >= window_px(SCALES[0], pixel_size)


class Search(NamedTuple):
    """Where the spot test looks at some scales, in the windows of 128 Å of one sampling."""

    side: int  # of these windows, px
    frequencies: Tuple[int, ...]  # places in the flattened half plane of a window of all that is needed
    bins: Dict[float, SpotBins]  # of each scale
    places: Dict[float, torch.Tensor]  # of these bins: in ``frequencies``, or among those of ``joined_windows``

    def keeper(self, starts: List[Starts]) -> WindowKeeper:
        """Return what collects what the test needs of the windows that start there."""
        return WindowKeeper(self.frequencies, self.places[SCALES[0]], self.side, starts)


@functools.lru_cache(maxsize=16)
def searched(scales: Tuple[float, ...], pixel_size: float, device: torch.device) -> Search:
    """Return where the spot test looks; it is computed once."""
    side = window_px(SCALES[0], pixel_size)
    bins = {scale: spot_bins(side, round(scale / SCALES[0]), pixel_size, BAND, device) for scale in scales}
    needed = np.unique(np.concatenate([one.places for one in bins.values()]))
    places = {}
    for scale, one in bins.items():
        place = one.finer * len(needed) + np.searchsorted(needed, one.places)
        places[scale] = torch.from_numpy(place).to(device)
    return Search(side, tuple(needed.tolist()), bins, places)


def grid_of(shape: Tuple[int, int], pixel_size: float) -> Tuple[int, int]:
    """Return the (rows, columns) of cells of an image of ``shape`` px."""
    rows, columns = (number_of_tiles(size, SCALES[0], pixel_size) for size in shape)
    return rows, columns


def untested(
    shape: Tuple[int, int], pixel_size: float, device: torch.device, scales: Sequence[float] = SCALES
) -> SpotMaps:
    """Return the result for a micrograph of ``shape`` px whose pixels are too coarse, or which is too small."""
    log_p = torch.full((len(scales), *grid_of(shape, pixel_size)), torch.nan, dtype=torch.float64, device=device)
    return SpotMaps(log_p, torch.ones((), dtype=torch.bool, device=device), UNAVAILABLE)


def _log_p(
    kept: KeptWindows, search: Search, length: float, border: Optional[NDArray[np.bool_]]
) -> Optional[torch.Tensor]:
    """Return the log p of each window of one scale; None when the image is smaller than a window."""
    bins, factor, side = search.bins[length], round(length / SCALES[0]), kept.side
    if factor == 1:
        starts, ends, power = kept.starts, [start + side for start in kept.starts], kept.power
    else:
        axes = joinings(kept, factor)
        if axes is None:
            return None
        starts, ends = [axis.starts for axis in axes], [axis.ends for axis in axes]
        joined = joined_windows(kept, factor, axes)
        power = torch.cat([power_of(some.index_select(1, search.places[length])) for some in joined])
    some = power[:, :: max(_LEVEL_STEP, power.shape[1] // _LEVEL_BINS)]
    middle = (some.shape[1] - 1) // 2
    level = in_order(some, [middle])[:, middle] / math.log(2.0)  # the median of an exponential
    usable = level > 1e-6 * level.median()  # not where the image is constant but for rounding
    if border is not None:
        usable &= uploaded(_share(border, starts, ends) <= _BORDER, power.device)
    ratio = torch.where(usable[:, None], power / level[:, None], 0.0)
    expected, freedom = _expectation(ratio, usable.sum(), bins)
    log_p = log_p_of_tail(_largest_tail(ratio / expected, bins, freedom), len(bins))
    return log_p.masked_fill(~usable, torch.nan).reshape(len(starts[0]), len(starts[1]))


def _has_signal(image: torch.Tensor, pixel_size: float) -> torch.Tensor:
    """Return whether the band of ice contains noise, and was not filtered away (8-bit, low-passed, upsampled).

    Rounding leaves a weak white noise in a band that was filtered away; a test of it would find nothing, and say so.
    """
    side = window_px(SCALES[0], pixel_size)
    starts = [np.unique(np.linspace(0, int(n) - side, 8).astype(np.int64)) for n in image.shape]
    bands = (BAND, *(band for band, _ in _SIGNAL))
    bins = [spot_bins(side, 1, pixel_size, band, image.device) for band in bands]
    frequencies = tuple(np.concatenate([one.places for one in bins]).tolist())
    everything = torch.arange(len(frequencies), device=image.device)
    power = kept_windows(image, WindowKeeper(frequencies, everything, side, starts)).power
    ice, *others = (part.median() for part in torch.split(power, [len(one) for one in bins], dim=1))
    return torch.stack([ice > share * other for other, (_, share) in zip(others, _SIGNAL)]).all()


def _share(border: NDArray[np.bool_], starts: Sequence[Starts], ends: Sequence[Starts]) -> NDArray[np.float64]:
    """Return the share of border in each window, by a summed-area table (Crow 1984)."""
    table = np.pad(border.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    rows = table[ends[0]] - table[starts[0]]
    area = np.multiply.outer(ends[0] - starts[0], ends[1] - starts[1])
    share: NDArray[np.float64] = ((rows[:, ends[1]] - rows[:, starts[1]]) / area).ravel()
    return share


def _largest_tail(ratio: torch.Tensor, bins: SpotBins, freedom: torch.Tensor) -> torch.Tensor:
    """Return -log of the probability of the least probable bin of each window.

    Each group's largest bin is compared with the mean over the rest of its group: what is correlated with it by the
    taper (two bins around) is left out, or a large value would raise the mean that it is compared with.
    """
    clipped = ratio.clamp(max=_CLIP)
    tails = []
    for first, end in bins.groups:
        largest, strongest = ratio[:, first:end].max(dim=1)
        strongest = strongest + first
        left_out = (clipped.gather(1, bins.around[strongest]) * bins.is_around[strongest]).sum(dim=1)
        number = (end - first - bins.is_around[strongest].sum(dim=1)).clamp_min(1)
        level = (clipped[:, first:end].sum(dim=1) - left_out) / number / (1.0 - math.exp(-_CLIP))
        own = (end - first) / (BINS_PER_ONE * _CLIPPED_VARIANCE)
        found = (largest / level.clamp_min(1e-6)).double()
        tails.append(tail_of_ratio(found, 1.0 / (1.0 / freedom + 1.0 / own)))
    return torch.stack(tails).amax(dim=0)


def _clipped_mean(ratio: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """Return the mean of exponentials that are clipped at ``_CLIP``, corrected: E min(E, c) = 1 - exp(-c)."""
    return ratio.sum(dim=0) / number / (1.0 - math.exp(-_CLIP))


def _expectation(ratio: torch.Tensor, number: torch.Tensor, bins: SpotBins) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return the expected power of each bin, relative to a window's level, and its degrees of freedom.

    Parameters
    ----------
    ratio : torch.Tensor, shape (windows, bins)
        Zero in windows that are not used.
    number : torch.Tensor
        How many windows are used.
    """
    mean = _clipped_mean(ratio.clamp(max=_CLIP), number)
    mean = mean * _clipped_mean((ratio / mean.clamp_min(1e-12)).clamp_(max=_CLIP), number)  # at what it found itself
    values = mean.double()
    rings = torch.cat([values, values.new_full((1,), torch.inf)])[bins.rings].sort(dim=1).values
    edges = [rings.gather(1, at[:, None])[:, 0] for at in ((bins.ring_sizes - 1) // 2, bins.ring_sizes // 2)]
    middle = ((edges[0] + edges[1]) / 2)[bins.ring]
    arcs = torch.cat([values, values.new_zeros(1)])[bins.arcs].sum(dim=1) / bins.arc_sizes
    windows = number / WINDOWS_PER_ONE
    freedom = windows * max(1.0, bins.median_arc / BINS_PER_ONE)
    few = freedom < _FEW
    freedom = torch.where(few, windows * bins.mean_ring / BINS_PER_ONE, freedom)
    expected = torch.minimum(torch.where(few, middle, arcs), _EXCESS * middle)
    return expected.to(ratio.dtype), freedom.double()
