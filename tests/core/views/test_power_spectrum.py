# SPDX-License-Identifier: GPL-3.0-or-later
"""The average power spectrum and the numbers that describe it."""

import numpy as np

from cryoice_scipion.core.views.power_spectrum import HALF, WINDOW, average_power


def noise(side, seed=0):
    return np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)


def inside(image):
    return np.zeros(image.shape, dtype=bool)


def waves(side, pixel_size, frequency, angle=0.0):
    y, x = np.mgrid[:side, :side] * pixel_size
    return np.sin(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle))).astype(np.float32)


def test_waves_are_at_their_frequency():
    frequency, angle = 40 / WINDOW, np.pi / 3
    power = average_power(noise(768) + waves(768, 1.0, frequency, angle), 1.0, inside(noise(768)))
    row, column = np.unravel_index(np.nanargmax(power), power.shape)
    assert (row - HALF, column) == (round(40 * np.sin(angle)), round(40 * np.cos(angle)))


def test_the_pixel_size_only_changes_how_far_it_reaches():
    fine, coarse = (average_power(noise(600), size, inside(noise(600))) for size in (1.0, 2.5))
    assert np.isfinite(fine).sum() == fine.size - 1  # all but the mean of the image
    known = np.isfinite(coarse)
    frequencies = np.hypot(np.arange(-HALF, HALF)[:, None], np.arange(HALF)[None]) / WINDOW
    assert frequencies[known].max() < 0.2 * 2**0.5
    assert known[frequencies < 0.19].sum() == (frequencies < 0.19).sum() - 1


def test_fine_pixels_are_binned():
    power = average_power(noise(600), 0.5, inside(noise(600)))
    assert np.isfinite(power).sum() == power.size - 1


def test_a_micrograph_smaller_than_a_window_has_a_spectrum():
    power = average_power(noise(100), 1.0, inside(noise(100)))
    assert np.isfinite(power).sum() > 0.9 * power.size


def test_windows_on_the_border_are_left_out():
    image, border = noise(512), inside(noise(512))
    image[:256] += waves(512, 1.0, 0.1)[:256] * 50
    border[:256] = True
    assert np.nanmax(average_power(image, 1.0, border)) < 2
    assert np.nanmax(average_power(image, 1.0, np.ones_like(border))) > 4  # nothing else is left
