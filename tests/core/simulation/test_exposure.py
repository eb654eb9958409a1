# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest

from cryoice_scipion.core.simulation import detector
from cryoice_scipion.core.simulation.config import SceneConfig
from cryoice_scipion.core.simulation.optics import Optics
from cryoice_scipion.core.simulation.scene import simulate


@pytest.mark.parametrize(("dose", "pixel_size"), [(1.5, 1.0), (40, 1.0), (40, 4.0)])
def test_counts_in_vacuum_are_poisson_of_the_dose(dose, pixel_size):
    counts = detector.expose(np.ones((512, 512), np.float32), dose, pixel_size, np.random.default_rng(0))
    assert counts.dtype == np.float32
    assert counts.mean() == pytest.approx(dose * pixel_size**2, rel=0.01)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.02)


def test_transfer_is_one_at_zero_and_as_stated_at_nyquist():
    k = np.array([0, 0.25, 0.5], np.float32)
    values = detector.transfer(k, 1.0, 0.4)
    assert values[0] == 1
    assert values[2] == pytest.approx(0.4)
    assert np.all(np.diff(values) < 0)


def test_noise_filter_keeps_the_mean_and_lowers_the_variance():
    counts = np.random.default_rng(0).poisson(40, (256, 256)).astype(np.float32)
    spread = detector.spread_noise(counts, 1.0, 1.0, 0.6)
    assert spread.mean() == pytest.approx(counts.mean(), rel=1e-5)
    assert 0.4 < spread.var() / counts.var() < 0.95


def test_arriving_intensity_keeps_the_mean_and_takes_the_new_shape():
    intensity = 1 + 0.1 * np.random.default_rng(0).standard_normal((192, 288)).astype(np.float32)
    result = detector.arriving(intensity, 2.0, (128, 192), Optics(), 1.0, 0.7)
    assert result.shape == (128, 192)
    assert result.mean() == pytest.approx(intensity.mean(), rel=1e-4)


def test_thicker_ice_is_darker_by_the_mean_free_path():
    means = []
    for thickness in (200.0, 800.0):
        config = SceneConfig(
            rows=256, columns=256, pixel_size=4.0, coverage=0, thickness=thickness, thickness_variation=0
        )
        means.append(simulate(config, np.random.default_rng(0)).pixels.mean())
    assert means[1] / means[0] == pytest.approx(np.exp(-600 / 3300), rel=0.02)


def test_hot_pixels_and_dead_columns_are_few_and_extreme():
    image = np.full((64, 64), 10, np.float32) + np.random.default_rng(1).normal(0, 1, (64, 64)).astype(np.float32)
    detector.add_faulty_pixels(image, 3, 1, np.random.default_rng(0))
    assert 1 <= (image > 15).sum() <= 3
    assert (image == 0).all(axis=0).sum() == 1
