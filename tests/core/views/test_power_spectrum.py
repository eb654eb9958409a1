# SPDX-License-Identifier: GPL-3.0-or-later
"""The average power spectrum and the numbers that describe it."""

import numpy as np
import pytest

from cryoice_scipion.core.views.power_spectrum import HALF, WINDOW, average_power, power_evidence


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


def test_rings_of_ice_are_told_from_noise_by_energy_and_crystals_by_spots():
    plain = noise(512)
    flat = power_evidence(average_power(plain, 1.0, inside(plain)))
    spotted = plain + 0.25 * waves(512, 1.0, 1 / 3.67, 0.5)
    crystals = power_evidence(average_power(spotted, 1.0, inside(plain)))
    transform = np.fft.rfft2(plain)
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None])
    transform *= 1 + np.exp(-(((frequency - 0.273) / 0.02) ** 2))
    ring = np.fft.irfft2(transform).astype(np.float32)
    vitreous = power_evidence(average_power(ring, 1.0, inside(plain)))
    assert abs(flat["ring_energy"]) < 0.05
    assert vitreous["ring_energy"] > 0.5 > crystals["ring_energy"]
    assert crystals["ring_spots"] > flat["ring_spots"] + 0.2
    assert vitreous["ring_spots"] < flat["ring_spots"] + 0.1


def test_what_is_beyond_the_resolution_is_left_out():
    image = noise(512)
    assert set(power_evidence(average_power(image, 8.0, inside(image)))) == {f"slope_{n}" for n in range(1, 5)}
    assert "ring_energy" not in power_evidence(average_power(image, 1.8, inside(image)))


def test_coarse_structure_makes_the_first_slope_steep():
    rng = np.random.default_rng(1)
    coarse = np.kron(rng.normal(size=(32, 32)), np.ones((16, 16))).astype(np.float32)
    found = power_evidence(average_power(coarse + noise(512), 2.0, inside(coarse)))
    assert found["slope_4"] > 1
    assert found["slope_1"] == pytest.approx(
        power_evidence(average_power(3 * (coarse + noise(512)), 2.0, inside(coarse)))["slope_1"], abs=1e-3
    )
