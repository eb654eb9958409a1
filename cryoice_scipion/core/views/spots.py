# SPDX-License-Identifier: GPL-3.0-or-later
"""Test windows for lattice fringes of ice, with calibrated p-values and without training.

Windows of 128 Å locate fringes; windows of 256 and 512 Å detect fringes that are too faint for these. Each window is
tapered, and the power in the band of ice is divided by its expectation. The expectation is the mean over all windows of
the micrograph in that bin and along a short arc around it, times a smooth factor of the window. It therefore follows
the noise spectrum and Thon rings, also astigmatic ones. Without a crystal the quotient is exponentially distributed;
``spot_statistics`` computes the p-value of the largest. The power in an expectation is clipped, and the expectation is
bounded by the median over its ring, so that a crystal that fills the micrograph does not become the background.
"""

from __future__ import annotations

import dataclasses
import math
from typing import List, Optional, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.spatial import cKDTree

from cryoice_scipion.core.views.spot_statistics import BINS_PER_ONE, WINDOWS_PER_ONE, log_p_of_tail, tail_of_ratio

CELL = 64.0  # Å: side of a cell of the result
SCALES = (128.0, 256.0, 512.0)  # Å
FINEST = 0.8  # Å/px: finer micrographs are to be cropped (not binned: that folds the ring) to 1.0 before
COARSEST = 1.72  # Å/px: the ring of 3.67 Å is then just inside what is believed of the spectrum
FULL = 1.5  # Å/px: above it the band is cut short
# Å⁻¹; ice 1/3.90, 1/3.67, 1/3.44, and 1/2.25 (Dowell and Rinfret 1960) with room for a pixel size that
# is off by 5 and 2 %. The second band keeps three bins of the smaller windows away from gold at 1/2.35.
BANDS = ((1 / 4.10, 1 / 3.30), (1 / 2.28, 1 / 2.20))
UNAVAILABLE, NO_SIGNAL, REDUCED = "spots_unavailable", "spots_no_signal", "spots_reduced"
_SECOND_BAND_FROM = 256.0  # Å
_REACH = 0.95  # of Nyquist
_CROSS = 2  # bins beside the axes left out: dead columns, gain stripes, and the window's own edges
_CLIP = 4.0  # times the expectation: what of a bin enters a mean
_ARC = 0.115  # rad: with astigmatism of 400 Å, Thon rings move by less than a seventh of their period over it
_CLIPPED_VARIANCE = 0.885  # of min(E, 4) / its mean, E exponential
_EXCESS = 1.3  # over the median of the ring: more than Thon rings do at these resolutions is no background
_RING = 0.75  # bins: half-width of the neighbourhood along the radius
_FEW = 60.0  # degrees of freedom: with fewer, an expectation is taken over whole rings
_BORDER = 0.02  # share of a window that may be border
# Less than such a share of the power at 8 to 20 Å, or at 20 to 60 Å, means that the band was filtered away.
_SIGNAL = (((1 / 20, 1 / 8), 1e-2), ((1 / 60, 1 / 20), 1e-4))
_BATCH = 2**22  # px of windows worked on at once


@dataclasses.dataclass
class SpotEvidence:
    """Natural logarithm of the p-value of the strongest spot, by scale (``SCALES``) and cell; NaN: not tested."""

    log_p: NDArray[np.float64]  # (scales, rows, columns)
    flags: List[str]


@dataclasses.dataclass
class _Bins:
    """The bins of a window's spectrum that are searched; Friedel pairs are one bin of the half plane."""

    index: torch.Tensor  # (bins,), int64: index into the flattened half plane
    radius: NDArray[np.float64]  # in bins
    angle: NDArray[np.float64]
    group: torch.Tensor  # (bins,), int64: the window's own level is taken by group
    groups: int
    around: torch.Tensor  # (bins, 25), int64: the bins up to two away; the number of bins where there is none

    def __len__(self) -> int:
        return len(self.radius)


def window_px(length: float, pixel_size: float) -> int:
    """Return the side in px of a window of about ``length`` Å: even, and quick to transform."""
    nearest = round(length / pixel_size)
    sizes = [n for n in range(int(0.93 * nearest), int(1.07 * nearest) + 2) if n % 2 == 0 and next_fast_len(n) == n]
    return min(sizes, key=lambda n: (abs(n - nearest), n))


def spot_evidence(image: torch.Tensor, pixel_size: float, border: Optional[torch.Tensor] = None) -> SpotEvidence:
    """Return the p-value of the strongest spot around each cell, at each scale.

    Parameters
    ----------
    image : torch.Tensor, shape (rows, columns), float32
        The micrograph at its own sampling, of at least about ``FINEST`` Å/px (else it takes long); border filled, hot
        pixels clipped, in any units.
    pixel_size : float
        Å/px.
    border : torch.Tensor, bool, same shape, optional
        Windows keep inside a frame of it; those that reach into any other are not tested.

    Returns
    -------
    SpotEvidence
        Cell (i, j) of ``CELL`` Å takes the window that has it in its central half. No cell is tested when the pixels
        are too coarse (flag ``UNAVAILABLE``) or the band holds no signal (``NO_SIGNAL``).
    """
    shape = (int(image.shape[0]), int(image.shape[1]))
    if pixel_size > COARSEST * (1 + 1e-6) or min(shape) < window_px(SCALES[0], pixel_size):
        return untested(shape, pixel_size, UNAVAILABLE)
    if not _has_signal(image, pixel_size):
        return untested(shape, pixel_size, NO_SIGNAL)
    evidence = untested(shape, pixel_size, REDUCED)
    evidence.flags = evidence.flags if pixel_size > FULL else []
    rows, columns = evidence.log_p.shape[1:]
    for plane, scale in zip(evidence.log_p, SCALES):
        tiles = _test(image, pixel_size, border, scale)
        if tiles is not None:
            step = round(scale / 2 / CELL)
            plane[...] = tiles.repeat(step, axis=0).repeat(step, axis=1)[:rows, :columns]
    return evidence


def untested(shape: Tuple[int, int], pixel_size: float, flag: str) -> SpotEvidence:
    """Return the result for a micrograph of ``shape`` px that is not tested, with a flag for the reason."""
    cells = [math.ceil(n * pixel_size / CELL - 1e-6) for n in shape]
    return SpotEvidence(np.full((len(SCALES), *cells), np.nan), [flag])


def _test(
    image: torch.Tensor, pixel_size: float, border: Optional[torch.Tensor], scale: float
) -> Optional[NDArray[np.float64]]:
    """Return the log p of each window of one scale; None when the image is smaller than a window."""
    side = window_px(scale, pixel_size)
    frame = _frame(image, border)
    if side > min(high - low for low, high in frame):
        return None
    starts = [_starts(int(n), side, pixel_size, scale, *ends) for n, ends in zip(image.shape, frame)]
    bins = _bins(side, pixel_size, scale, BANDS if scale >= _SECOND_BAND_FROM else BANDS[:1], image.device)
    power = _power(image, side, starts, bins.index)
    level = power.median(dim=1).values / math.log(2.0)  # the median of an exponential
    usable = level > 1e-6 * level.median()  # not where the image is constant but for rounding
    if border is not None and bool(border.any()):
        usable &= _share(border, side, starts) <= _BORDER
    log_p = np.full(len(power), np.nan)
    if bool(usable.any()):
        log_p[usable.cpu().numpy()] = _log_p(power[usable] / level[usable, None], bins)
    return log_p.reshape(len(starts[0]), len(starts[1]))


def _frame(image: torch.Tensor, border: Optional[torch.Tensor]) -> List[Tuple[int, int]]:
    """Return the first and the end of the rows, and of the columns, that are not completely border."""
    if border is None or bool(border.all()):
        return [(0, int(n)) for n in image.shape]
    kept = [(~border).any(dim=other).nonzero()[:, 0] for other in (1, 0)]
    return [(int(rows[0]), int(rows[-1]) + 1) for rows in kept]


def _starts(length: int, side: int, pixel_size: float, scale: float, low: int, high: int) -> NDArray[np.int64]:
    """Return the starts of windows along an axis, centred on tiles of half a window but inside the frame."""
    tile = scale / 2
    centres = (np.arange(math.ceil(length * pixel_size / tile - 1e-6)) + 0.5) * tile / pixel_size
    starts: NDArray[np.int64] = np.clip(np.round(centres - side / 2), low, high - side).astype(np.int64)
    return starts


def _bins(
    side: int, pixel_size: float, scale: float, bands: Tuple[Tuple[float, float], ...], device: torch.device
) -> _Bins:
    down, across = np.fft.fftfreq(side, 1 / side), np.arange(side // 2 + 1)
    radius = np.hypot(down[:, None], across[None, :])
    length = side * pixel_size
    inside = (np.abs(down)[:, None] > _CROSS) & (across > _CROSS)[None, :] & (radius <= _REACH * side / 2)
    group = np.full(radius.shape, -1)
    for low, high in bands:
        band = inside & (radius >= low * length) & (radius <= high * length)
        # Groups of about equal size: a ring's width in bins grows with the window, and so does their number.
        number = max(1, round((high - low) * scale / 4))
        part = np.floor((radius / length - low) / (high - low) * number).clip(0, number - 1).astype(int)
        group[band] = group.max() + 1 + part[band]
    indices = np.flatnonzero(group >= 0)
    _, labels = np.unique(group.ravel()[indices], return_inverse=True)
    return _Bins(
        index=torch.from_numpy(indices).to(device),
        radius=radius.ravel()[indices],
        angle=np.arctan2(*np.broadcast_arrays(down[:, None], across[None, :])).ravel()[indices],
        group=torch.from_numpy(labels.astype(np.int64)).to(device),
        groups=int(labels.max()) + 1,
        around=torch.from_numpy(_around(indices, radius.shape)).to(device),
    )


def _around(indices: NDArray[np.int64], shape: Tuple[int, ...]) -> NDArray[np.int64]:
    """Return the indices of the bins up to two away, shape (bins, 25); the number of bins stands for no bin."""
    numbers = np.full((shape[0] + 4, shape[1] + 4), len(indices))
    row, column = np.divmod(indices, shape[1])
    numbers[row + 2, column + 2] = np.arange(len(indices))
    steps = [(y, x) for y in range(5) for x in range(5)]
    return np.stack([numbers[row + y, column + x] for y, x in steps], axis=1)


def _power(image: torch.Tensor, side: int, starts: List[NDArray[np.int64]], index: torch.Tensor) -> torch.Tensor:
    """Return the power of each window (row by row) in the given bins, shape (windows, bins)."""
    hann = torch.hann_window(side, periodic=True, device=image.device, dtype=image.dtype)
    taper = hann[:, None] * hann[None, :]
    number = max(1, _BATCH // (side * side))
    rows = []
    for top in starts[0]:
        strip = image[int(top) : int(top) + side]
        for first in range(0, len(starts[1]), number):
            # Means stay in: under a periodic Hann window they reach one bin beside the origin, no farther.
            windows = torch.stack(
                [strip[:, int(left) : int(left) + side] for left in starts[1][first : first + number]]
            )
            spectrum = torch.fft.rfft2(windows.mul_(taper)).flatten(1).index_select(1, index)
            rows.append(spectrum.real.square() + spectrum.imag.square())
    return torch.cat(rows)


def _share(border: torch.Tensor, side: int, starts: List[NDArray[np.int64]]) -> torch.Tensor:
    """Return the share of border in each window, by a summed-area table (Crow 1984)."""
    table = torch.nn.functional.pad(border.double(), (1, 0, 1, 0)).cumsum(0).cumsum(1)
    top, left = (torch.from_numpy(start).to(border.device) for start in starts)
    rows = table[top + side] - table[top]
    return ((rows[:, left + side] - rows[:, left]) / side**2).flatten()


def _log_p(ratio: torch.Tensor, bins: _Bins) -> NDArray[np.float64]:
    """Return the log p of the strongest spot of each window from the power in its bins, relative to its own level."""
    expected, freedom = _expectation(ratio, bins)
    return log_p_of_tail(_largest_tail(ratio / expected, bins, freedom), len(bins))


def _largest_tail(ratio: torch.Tensor, bins: _Bins, freedom: float) -> NDArray[np.float64]:
    """Return -log of the probability of the least probable bin of each window.

    Each group's largest bin is compared with the mean over the rest of its group: what is correlated with it by the
    taper (two bins around) is left out, or a large value would raise the mean that it is compared with.
    """
    clipped = torch.nn.functional.pad(ratio.clamp(max=_CLIP), (0, 1))  # the last column stands for "no bin"
    tails = []
    for label in range(bins.groups):
        members = (bins.group == label).nonzero()[:, 0]
        largest, strongest = ratio[:, members].max(dim=1)
        around = bins.around[members[strongest]]
        inside = (around < len(bins)) & (torch.nn.functional.pad(bins.group, (0, 1), value=-1)[around] == label)
        left_out = (clipped.gather(1, around) * inside).sum(dim=1)
        number = (len(members) - inside.sum(dim=1)).clamp_min(1)
        level = (clipped[:, members].sum(dim=1) - left_out) / number / (1.0 - math.exp(-_CLIP))
        own = len(members) / (BINS_PER_ONE * _CLIPPED_VARIANCE)
        found = (largest / level.clamp_min(1e-6)).cpu().numpy().astype(np.float64)
        tails.append(tail_of_ratio(found, np.asarray(1.0 / (1.0 / freedom + 1.0 / own))))
    tail: NDArray[np.float64] = np.max(tails, axis=0)
    return tail


def _clipped_mean(ratio: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the mean of exponentials clipped at ``_CLIP``, corrected for the clip: E min(E, c) = 1 - exp(-c)."""
    return ratio.clamp(max=_CLIP).mean(dim=dim) / (1.0 - math.exp(-_CLIP))


def _expectation(ratio: torch.Tensor, bins: _Bins) -> Tuple[torch.Tensor, float]:
    """Return the expected power of each bin, relative to a window's level, and its degrees of freedom."""
    mean = _clipped_mean(ratio, 0)
    mean = mean * _clipped_mean(ratio / mean.clamp_min(1e-12), 0)  # clipped at what it found itself
    values = mean.cpu().numpy().astype(np.float64)
    ring = np.round(bins.radius).astype(int)
    middle = np.zeros_like(values)
    for one in np.unique(ring):
        middle[ring == one] = np.median(values[ring == one])
    windows = len(ratio) / WINDOWS_PER_ONE
    arcs, neighbours = _arc_means(values, bins)
    freedom = windows * max(1.0, neighbours / BINS_PER_ONE)
    if freedom < _FEW:
        arcs, freedom = middle, windows * np.bincount(ring)[ring].mean() / BINS_PER_ONE
    expected = np.minimum(arcs, _EXCESS * middle)
    return torch.from_numpy(expected).to(ratio), float(freedom)


def _arc_means(values: NDArray[np.float64], bins: _Bins) -> Tuple[NDArray[np.float64], float]:
    """Return the mean over a short arc around each bin, and the number of bins in it."""
    arc = _ARC * float(np.median(bins.radius))  # bins
    positions = np.column_stack([bins.radius / _RING, bins.angle * bins.radius / arc])
    tree = cKDTree(positions)
    pairs = tree.query_pairs(1.0, output_type="ndarray")
    count, total = np.ones(len(values)), values.copy()
    for one, other in ((pairs[:, 0], pairs[:, 1]), (pairs[:, 1], pairs[:, 0])):
        count += np.bincount(one, minlength=len(values))
        total += np.bincount(one, values[other], minlength=len(values))
    return total / count, float(np.median(count))


def _has_signal(image: torch.Tensor, pixel_size: float) -> bool:
    """Return whether the band of ice contains noise, and was not filtered away (8-bit, low-passed, upsampled).

    Rounding leaves a weak white noise in a band that was filtered away; a test of it would find nothing, and say so.
    """
    side = window_px(SCALES[0], pixel_size)
    starts = [np.unique(np.linspace(0, int(n) - side, 8).astype(np.int64)) for n in image.shape]

    def median_power(band: Tuple[float, float]) -> float:
        bins = _bins(side, pixel_size, SCALES[0], (band,), image.device)
        return float(_power(image, side, starts, bins.index).median())

    ice = median_power(BANDS[0])
    return all(ice > share * median_power(band) for band, share in _SIGNAL)
