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


@pytest.mark.parametrize("kind", detector.SHADINGS)
def test_a_shading_falls_from_0_to_1_and_smoothly(kind):
    field = detector.shading((300, 200), 5.0, kind, np.random.default_rng(1))
    assert field.shape == (300, 200)
    assert (field.min(), field.max()) == (-1, 0)
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in (0, 1)) < 0.1
    corners = field[[0, 0, -1, -1], [0, -1, 0, -1]]
    if kind in ("edge", "corners"):
        assert field.min() in corners
        assert np.median(field) > -0.5  # most of the field is even


def test_the_darkest_place_is_as_many_deviations_of_the_image_below_the_brightest_as_asked_for():
    scene = {"rows": 512, "columns": 512, "pixel_size": 5.0, "coverage": 0, "thickness_variation": 0, "dose": 10.0}
    even, uneven = (
        simulate(SceneConfig(shading=shading, **scene), np.random.default_rng(0)).pixels for shading in (0.0, 2.0)
    )
    fall = (even - uneven).reshape(16, 32, 16, 32).mean((1, 3)) / even.std()
    assert fall.max() - fall.min() == pytest.approx(2, rel=0.25)


def test_a_gain_reference_leaves_blocks():
    image = np.random.default_rng(0).normal(50, 4, (256, 256)).astype(np.float32)
    before = image.copy()
    detector.add_gain_blocks(image, 0.5, np.random.default_rng(2))
    steps = image - before
    assert 2 <= len(np.unique(np.round(steps, 3))) <= 32
    assert 0.5 < np.abs(steps).max() < 6


def test_a_frame_has_the_mean_and_the_deviation_of_its_camera():
    config = SceneConfig(rows=128, columns=128, pixel_size=5.0, values="frame", frame_mean=6800, frame_deviation=9)
    pixels = simulate(config, np.random.default_rng(0)).pixels
    assert pixels.mean() == pytest.approx(6800, abs=0.1)
    assert pixels.std() == pytest.approx(9, rel=0.01)
