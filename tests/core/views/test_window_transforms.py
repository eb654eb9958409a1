# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows of 256 and 512 Å, put together from those of 128 Å, hold what a larger Hann window holds, at its place."""

import numpy as np
import pytest
import torch

from cryoice_scipion.core.views.window_transforms import (
    WindowKeeper,
    finer_frequencies,
    joined_windows,
    joinings,
    kept_windows,
)
from cryoice_scipion.core.views.windows import starts_on_tiles

SIDE, COLUMNS = 84, 43  # px of a small window; frequencies of its half plane along x


def joined(image, factor, frequencies, sampling=64 / 42):
    """Power (windows along y, along x, finer along y, along x, frequencies), and the joinings."""
    shape = image.shape
    tiles = [int(np.ceil(n * sampling / 64 - 1e-6)) for n in shape]
    starts = starts_on_tiles(tiles, 128.0, sampling, SIDE, [(0, n) for n in shape])
    keeper = WindowKeeper(tuple(frequencies), torch.arange(len(frequencies)), SIDE, starts)
    kept = kept_windows(torch.from_numpy(image), keeper)
    axes = joinings(kept, factor)
    rows = torch.cat(list(joined_windows(kept, factor, axes))).abs().square()
    return rows.reshape(len(axes[0].starts), len(axes[1].starts), factor, factor, -1).numpy(), axes


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("sampling", [64 / 42, 1.5, 1.6])
def test_a_wave_is_found_at_its_frequency_in_all_windows(factor, sampling):
    row, column = 20, 17  # of the small windows
    image_side = 700
    y, x = np.mgrid[:image_side, :image_side]
    frequencies = [row * COLUMNS + column, (SIDE - row) * COLUMNS + column]
    for sign, place in ((1, 0), (-1, 1)):
        for i, down in enumerate(finer_frequencies(factor)):
            for j, across in enumerate(finer_frequencies(factor)):
                v, u = sign * row + down / factor, column + across / factor  # cycles per small window
                wave = np.cos(2 * np.pi * (v * y + u * x) / SIDE + 0.4).astype(np.float32)
                power, _ = joined(wave, factor, frequencies, sampling)
                for window in (power[0, 0], power[-1, -1], power[1, 1]):
                    at = window[:, :, place]
                    assert np.unravel_index(at.argmax(), at.shape) == (i, j)
                # A Hann window of the larger side has a quarter of its pixels along each axis; between frequencies of
                # the small windows, these see less.
                ideal = (factor * SIDE / 2) ** 4 / 4
                assert 0.4 * ideal < power[..., i, j, place].min() <= power[..., i, j, place].max() < 1.2 * ideal


def test_noise_has_the_same_power_in_all_windows():
    image = np.random.default_rng(0).standard_normal((900, 800)).astype(np.float32)
    power, _ = joined(image, 4, [row * COLUMNS + column for row in (15, 60, 70) for column in range(10, 35)])
    means = power.mean(axis=(2, 3, 4))
    assert means.max() / means.min() < 1.35


def test_a_dead_column_does_not_leak_into_other_frequencies():
    image = np.random.default_rng(0).standard_normal((700, 700)).astype(np.float32)
    frequencies = [row * COLUMNS + column for row in range(1, 6) for column in range(20, 30)]
    before, _ = joined(image, 2, frequencies)
    image[:, 300] = 30.0
    after, _ = joined(image, 2, frequencies)
    # Beyond the frequencies beside the axis, which are not searched.
    inner = [k for k, at in enumerate(frequencies) if at // COLUMNS >= 3]
    assert np.abs(after[..., inner].mean() / before[..., inner].mean() - 1) < 0.1


def test_few_windows_make_no_larger_one():
    starts = [np.arange(7) * 42] * 2
    keeper = WindowKeeper((900,), torch.arange(1), SIDE, starts)
    kept = kept_windows(torch.randn(400, 400), keeper)
    assert joinings(kept, 4) is None
    assert joinings(kept, 2) is not None
