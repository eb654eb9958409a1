# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectra and spot test, which work on strips and tables, equal their definition written window by window in numpy."""

import math

import numpy as np
import pytest
import torch

from cryoice_scipion.core.views import spot_statistics, spots
from cryoice_scipion.core.views.patches import quartiles, robust_scale, window_px
from cryoice_scipion.core.views.spectrum import Spectra
from cryoice_scipion.core.views.spectrum_features import BANDS, FEATURES, RINGS

CLIP, ARC, RING = 4.0, 0.115, 0.75


def micrograph(rows, columns, seed=0):
    """Noise on a slope, with a hot pixel and a faint lattice in one corner."""
    image = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    y, x = np.mgrid[:rows, :columns]
    image += 1e-3 * x + 0.4 * np.cos(2 * np.pi * (0.2 * x + 0.18 * y)) * ((y < 200) & (x < 220))
    image[rows // 2, columns // 3] = 300.0
    return image


def hann(side):
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / side)
    return taper[:, None] * taper


def clipped(view):
    middle, deviation = robust_scale(view)
    return (view - middle).clamp(-10 * deviation, 10 * deviation)


def plain_spectrum(image, sampling, row, column):
    """The profile and the rings of one cell of 64 Å."""
    side = window_px(128.0, sampling)
    middle, deviation = np.median(image), np.subtract(*np.percentile(image, [75, 25])) / 1.349
    clipped = np.clip(image.astype(float), middle - 10 * deviation, middle + 10 * deviation)
    plane = hann(side) / np.sqrt(np.square(hann(side)).sum())
    power = 0.0
    for i in (row - 1, row, row + 1):
        for j in (column - 1, column, column + 1):
            top, left = (
                min(max(round((k + 0.5) * 64 / sampling - side / 2), 0), n - side) for k, n in zip((i, j), image.shape)
            )
            window = clipped[top : top + side, left : left + side]
            power = power + np.abs(np.fft.rfft2((window - window.mean()) * plane)) ** 2 / deviation**2 / 9
    down, across = np.fft.fftfreq(side, sampling)[:, None], np.fft.rfftfreq(side, sampling)[None]
    radius = np.hypot(down, across)
    used = (radius <= 0.98 * 0.5 / sampling) & ((across > 0) | (down > 0))
    radius, power = radius[used], power[used]
    circle = np.round(radius * side * sampling)
    white = power / np.array([power[circle == one].mean() for one in circle])
    edges = [0.0, *BANDS, BANDS[-1] + 0.02]
    bands = []
    for low, centre, high in zip(edges, BANDS, edges[2:]):
        hat = np.minimum((radius - low) / (centre - low), (high - radius) / (high - centre)).clip(min=0)
        bands.append(np.log((power * hat).sum() / hat.sum() + 1e-4) if centre <= 0.49 / sampling else np.nan)
    rings = [white[(radius >= low) & (radius < high)] if high <= 0.49 / sampling else None for low, high in RINGS]
    strongest = [np.nan if ring is None else np.log(ring.max() + 1e-3) for ring in rings]
    variances = [np.nan if ring is None else np.log((ring**2).mean() + 1e-3) for ring in rings]
    return bands, strongest + variances


@pytest.mark.parametrize("sampling", [1.0, 1.3])
def test_spectra_are_those_of_single_windows(sampling):
    image = micrograph(420, 460)
    found = Spectra(torch.from_numpy(image), sampling).map().numpy()
    for row, column in ((0, 0), (2, 3), (found.shape[1] - 1, found.shape[2] - 1)):
        bands, rings = plain_spectrum(image, sampling, row, column)
        number = len(BANDS)
        assert np.allclose(found[:number, row, column], bands, atol=2e-4, equal_nan=True)
        assert np.allclose(found[2 * number :, row, column], rings, atol=2e-3, equal_nan=True)
        assert len(FEATURES) == found.shape[0]


def plain_log_p(image, pixel_size):
    """The log p of each window of 128 Å that lies inside the image."""
    side = window_px(128.0, pixel_size)
    middle, deviation = np.median(image), np.subtract(*np.percentile(image, [75, 25])) / 1.349
    image = np.clip((image - middle) / deviation, -10, 10)
    starts = []
    for length in image.shape:
        centres = (np.arange(math.ceil(length * pixel_size / 64 - 1e-6)) + 0.5) * 64 / pixel_size
        starts.append(np.clip(np.round(centres - side / 2), 0, length - side).astype(int))
    down, across = np.fft.fftfreq(side, 1 / side)[:, None], np.arange(side // 2 + 1)[None]
    radius, angle = np.hypot(down, across), np.arctan2(down + 0 * across, across + 0 * down)
    low, high = (edge * side * pixel_size for edge in spots.BAND)
    used = (abs(down) > 2) & (across > 2) & (radius <= 0.95 * side / 2) & (radius >= low) & (radius <= high)
    row, column = np.nonzero(used)
    radius, angle = radius[used], angle[used]
    number = max(1, round((high - low) / (side * pixel_size) * 128 / 4))
    group = np.floor((radius - low) / (high - low) * number).clip(0, number - 1)
    windows = [image[top : top + side, left : left + side] * hann(side) for top in starts[0] for left in starts[1]]
    power = np.array([np.abs(np.fft.rfft2(window))[used] ** 2 for window in windows])
    some = power[:, np.argsort(group, kind="stable")[::4]]
    ratio = power / (np.sort(some, axis=1)[:, (some.shape[1] - 1) // 2] / math.log(2))[:, None]
    unclipped = 1 - math.exp(-CLIP)
    mean = ratio.clip(max=CLIP).mean(axis=0) / unclipped
    mean = mean * (ratio / mean).clip(max=CLIP).mean(axis=0) / unclipped
    ring = np.round(radius)
    typical = np.array([np.median(mean[ring == one]) for one in ring])
    arc = ARC * np.median(radius)
    near = np.hypot((radius[:, None] - radius) / RING, (angle * radius)[:, None] / arc - angle * radius / arc) <= 1
    arcs = near @ mean / near.sum(axis=1)
    independent = len(windows) / spot_statistics.WINDOWS_PER_ONE
    freedom = independent * max(1.0, np.median(near.sum(axis=1)) / spot_statistics.BINS_PER_ONE)
    if freedom < 60:
        arcs = typical
        freedom = independent * np.mean([(ring == one).sum() for one in ring]) / spot_statistics.BINS_PER_ONE
    ratio = ratio / np.minimum(arcs, 1.3 * typical)
    tails = []
    for label in np.unique(group):
        members = np.flatnonzero(group == label)
        strongest = members[ratio[:, members].argmax(axis=1)]
        beside = (abs(row - row[strongest][:, None]) <= 2) & (abs(column - column[strongest][:, None]) <= 2)
        rest = ~beside & (group == label)
        level = (ratio.clip(max=CLIP) * rest).sum(axis=1) / rest.sum(axis=1).clip(min=1) / unclipped
        own = len(members) / (spot_statistics.BINS_PER_ONE * 0.885)
        k = 1 / (1 / freedom + 1 / own)
        tails.append(k * np.log1p(ratio[np.arange(len(ratio)), strongest] / level / k))
    tail = torch.from_numpy(np.max(tails, axis=0))
    return spot_statistics.log_p_of_tail(tail, len(radius)).reshape(len(starts[0]), len(starts[1]))


@pytest.mark.parametrize(("pixel_size", "shape"), [(1.0, (448, 512)), (1.1, (330, 300)), (1.4, (400, 420))])
def test_the_spot_test_is_that_of_single_windows(pixel_size, shape):
    image = micrograph(*shape)
    view = torch.from_numpy(image)
    found = spots.spot_maps(clipped(view), pixel_size)
    assert torch.allclose(found.log_p[0], plain_log_p(image, pixel_size), rtol=1e-3, atol=1e-3)


def test_quartiles_are_interpolated():
    values = torch.randn(1001)[:998]
    expected = torch.quantile(values, torch.tensor([0.25, 0.5, 0.75]))
    assert torch.allclose(torch.stack(quartiles(values)), expected, atol=1e-6)


def test_median_and_deviation_are_those_of_the_whole_image():
    ramp = torch.arange(1500 * 1075, dtype=torch.float32).reshape(1500, 1075)
    upper = np.zeros(ramp.shape, dtype=bool)
    upper[:1000] = True
    for valid, number in ((None, 1500 * 1075), (upper, 1000 * 1075)):
        middle, deviation = robust_scale(ramp, valid)
        assert float(middle) == pytest.approx(number / 2, rel=1e-3)
        assert float(deviation) == pytest.approx(number / 2 / 1.349, rel=1e-3)
