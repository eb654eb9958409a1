# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest

from cryoice_scipion.core.simulation import fields, ice


def test_noise_has_the_variance_of_its_spectrum():
    rng = np.random.default_rng(0)
    noise = fields.noise_with_spectrum((256, 320), 2.0, lambda k: np.full_like(k, 3.0), rng)
    assert noise.var() == pytest.approx(3.0 / 4, rel=0.03)  # the plane of frequencies has 1 / 2² Å⁻²


def test_noise_has_the_colour_of_its_spectrum():
    noise = fields.noise_with_spectrum((256, 256), 1.0, lambda k: (k < 0.1).astype(float), np.random.default_rng(0))
    power = np.abs(np.fft.rfft2(noise)) ** 2
    k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None, :])
    assert power[k > 0.105].max() < 1e-3 * power[(k < 0.095) & (k > 0)].mean()


@pytest.mark.parametrize("length", [3.0, 40.0])
def test_smooth_field_is_standard_and_smooth(length):
    field = fields.smooth_field((700, 900), length, np.random.default_rng(1))
    assert field.shape == (700, 900)
    assert field.std() == pytest.approx(1, abs=0.25)
    assert np.abs(np.diff(field, axis=0)).std() < 2 / length


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_soft_region_covers_its_share(share):
    mask = fields.soft_region((300, 400), share, 60, np.random.default_rng(2))
    assert (mask > 0.5).mean() == pytest.approx(share, abs=0.05)
    assert mask.min() >= 0
    assert mask.max() <= 1


def test_spline_keeps_planes_and_never_overshoots():
    y, x = np.mgrid[:20, :30].astype(np.float32)
    fine = fields.Spline((20, 30), (80, 120), 0.25)(y + 2 * x)
    yy, xx = np.mgrid[:80, :120]
    expected = (yy + 0.5) / 4 - 0.5 + 2 * ((xx + 0.5) / 4 - 0.5)
    np.testing.assert_allclose(fine[12:-12, 12:-12], expected[12:-12, 12:-12], atol=1e-3)
    step = fields.Spline((20, 30), (80, 120), 0.25)((x > 12).astype(np.float32))
    assert step.min() >= 0
    assert step.max() <= 1 + 1e-6


def test_part_of_a_spline_is_the_part_of_the_whole():
    spline = fields.Spline((20, 30), (80, 120), 0.25)
    values = np.random.default_rng(0).random((20, 30))
    box = (slice(10, 33), slice(50, 77))
    np.testing.assert_array_equal(spline(values, box), spline(values)[box])


def test_vitreous_water_has_its_maxima_where_measured():
    k = np.linspace(0.2, 0.32, 1000)
    assert 1 / k[ice.water_structure_factor(k).argmax()] == pytest.approx(3.65, abs=0.1)
    k = np.linspace(0.4, 0.55, 1000)
    assert 1 / k[ice.water_structure_factor(k).argmax()] == pytest.approx(2.15, abs=0.05)


def test_dose_averages_the_fine_structure_of_water_and_not_the_coarse():
    k = np.array([0.01, 0.27])
    low, high = (ice.water_spectrum(k, 300, dose, 6.5e-4) for dose in (1, 40))
    assert high[0] / low[0] > 0.9
    assert high[1] / low[1] < 0.1
