# SPDX-License-Identifier: GPL-3.0-or-later
"""Resampling keeps what is there, where it is, and nothing else."""

import numpy as np
import pytest
import torch

from cryoice_scipion.core.views.resample import resample, resampled_shape


def wave(shape, pixel_size, period_x, period_y):
    """A plane wave sampled at pixel centres, in Å."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    angle = (x + 0.5) * pixel_size / period_x + (y + 0.5) * pixel_size / period_y
    return torch.from_numpy(np.cos(2 * np.pi * angle)).float()


@pytest.mark.parametrize(
    ("shape", "pixel_size", "sampling"),
    [
        ((500, 700), 1.3, 4.0),
        ((511, 389), 1.77, 4.0),
        ((300, 300), 4.0, 4.0),
        ((240, 200), 6.0, 4.0),
        ((2048, 2048), 2.0, 4.0),
    ],
)
def test_a_wave_stays_where_it_is(shape, pixel_size, sampling):
    image = wave(shape, pixel_size, 90.0, 130.0)
    result = resample(image, pixel_size, sampling)
    expected = wave(result.shape, sampling, 90.0, 130.0)
    assert tuple(result.shape) == resampled_shape(shape, pixel_size, sampling)
    inner = (slice(12, -12), slice(12, -12))
    # The mirror at the edges bends the wave there; inside it must be the same wave at the same place.
    assert (result - expected)[inner].abs().max() < 0.03


def test_what_the_new_sampling_cannot_hold_is_taken_away_not_aliased():
    image = wave((600, 600), 1.0, 3.7, 1e9)  # the ice ring, beyond the 8 Å of 4 Å/px
    assert resample(image, 1.0, 4.0)[10:-10, 10:-10].abs().max() < 0.05


def test_against_numpys_transform():
    """A pure crop without padding would be periodic: a periodic image shows the same numbers as numpy's FFT."""
    rng = np.random.default_rng(0)
    coarse = np.zeros((64, 64), dtype=complex)
    coarse[:5, :5] = rng.normal(size=(5, 5)) + 1j * rng.normal(size=(5, 5))
    n = 256
    spectrum = np.zeros((n, n), dtype=complex)
    spectrum[:5, :5] = coarse[:5, :5]
    image = np.fft.ifft2(spectrum).real
    y = (np.arange(64) + 0.5) * 4 - 0.5  # centres of the coarse pixels in fine pixels
    basis = np.exp(2j * np.pi * np.outer(y, np.arange(5)) / n)
    expected = (basis @ coarse[:5, :5] @ basis.T).real / n**2
    result = resample(torch.from_numpy(image).float(), 1.0, 4.0).numpy()
    scale = np.abs(expected).max()
    assert np.abs(result - expected)[6:-6, 6:-6].max() < 0.02 * scale


def test_mirrored_image_gives_mirrored_view():
    image = torch.randn(400, 300, generator=torch.Generator().manual_seed(1))
    there = resample(image, 2.0, 4.0)
    back = resample(image.flip(0), 2.0, 4.0).flip(0)
    assert (there - back)[8:-8, 8:-8].abs().max() < 0.05


def test_large_power_of_two_is_scaled_rightly():
    """torch.fft.ifft2 of exactly 2048² was wrong by 1/N² in torch 2.13 (pytorch issue 169670)."""
    image = torch.ones(4080, 4080)
    assert torch.allclose(resample(image, 2.0, 4.0), torch.ones(2040, 2040), atol=1e-3)


def test_shapes_are_rounded_up():
    assert resampled_shape((4096, 4092), 1.77, 4.0) == (1813, 1811)
    assert resampled_shape((100, 100), 4.0, 4.0) == (100, 100)
