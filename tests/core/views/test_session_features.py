# SPDX-License-Identifier: GPL-3.0-or-later
"""Features in the grey levels of the micrograph."""

import numpy as np
import pytest

from cryoice_scipion.core.views.session_features import session_features


def noise(shape=(300, 420), seed=0):
    return np.random.default_rng(seed).normal(50, 3, shape).astype(np.float32)


def features(image, pixel_size=2.0, border=None):
    return session_features(image, pixel_size, np.zeros(image.shape, bool) if border is None else border)


def test_cells_of_128_angstrom_cover_the_micrograph():
    found = features(noise())
    assert found.sampling == 128.0
    assert found.values.shape[:2] == (5, 7)
    assert not found.border_share.any()


def test_grey_levels_are_not_normalised():
    one, other = features(noise()).values, features(2 * noise() + 5).values
    np.testing.assert_allclose(other[..., 0], 2 * one[..., 0] + 5, rtol=1e-4)
    np.testing.assert_allclose(other[..., 1:], one[..., 1:] + np.log(4), atol=1e-2)


def test_white_noise_has_its_variance_and_the_same_power_in_all_bands():
    found = np.exp(features(noise((1024, 1024))).values[..., 1:].astype(np.float64)).mean(axis=(0, 1))
    np.testing.assert_allclose(found, 9, rtol=0.15)


def test_a_wave_raises_the_band_of_its_frequency_only():
    image = noise((512, 512))
    wave = 3 * np.sin(2 * np.pi * np.arange(512) / 8).astype(np.float32)
    bands = (features(image + wave).values - features(image).values)[..., 2:].mean(axis=(0, 1))
    assert bands.max() > 1.5 and np.sum(bands > 0.5) <= 2


def test_cells_that_touch_the_border_have_no_features():
    border = np.zeros((256, 256), bool)
    border[:10] = True
    found = features(noise((256, 256)), border=border)
    assert np.isnan(found.values[0]).all() and np.isfinite(found.values[1:]).all()
    assert found.border_share[0] == pytest.approx(10 / 64) and not found.border_share[1:].any()


def test_fine_micrographs_are_binned_and_small_ones_are_one_cell():
    assert features(noise((1000, 1000)), 0.5).values.shape[:2] == (4, 4)
    assert features(noise((1000, 1000)), 0.5).sampling == 128.0
    assert features(noise((20, 30))).values.shape[:2] == (1, 2)
    assert features(noise((64, 96)), 8.0).sampling == 256.0
