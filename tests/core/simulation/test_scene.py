# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest

from cryoice_scipion.constants import BORDER, CLASSES
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.simulation.config import SceneConfig
from cryoice_scipion.core.simulation.scene import simulate


def scene(seed=0, kinds=None, **values):
    rng = np.random.default_rng(seed)
    config = SceneConfig.random(rng, 256, 320, 4.0, kinds)
    return simulate(config.model_copy(update=values), rng)


@pytest.mark.parametrize("seed", range(6))
def test_a_random_scene_has_the_shapes_and_types_promised(seed):
    result = scene(seed)
    assert result.pixels.shape == result.labels.shape == (256, 320)
    assert result.pixels.dtype == np.float32
    assert result.labels.dtype == np.uint8
    assert result.labels.max() < len(CLASSES)
    assert np.isfinite(result.pixels).all()
    assert result.particles.shape[1:] == result.false_picks.shape[1:] == (2,)


def test_the_same_seed_gives_the_same_bytes():
    first, second = scene(7), scene(7)
    assert first.pixels.tobytes() == second.pixels.tobytes()
    assert first.labels.tobytes() == second.labels.tobytes()
    np.testing.assert_array_equal(first.particles, second.particles)
    np.testing.assert_array_equal(first.false_picks, second.false_picks)
    assert first.pixels.tobytes() != scene(8).pixels.tobytes()


@pytest.mark.parametrize("seed", range(4))
def test_true_particles_lie_wholly_on_good_areas(seed):
    result = scene(seed, ["dirt", "carbon", "aggregate"], coverage=0.4, particle_radius=50.0)
    assert len(result.particles)
    radius = 50.0 / 4
    y, x = np.mgrid[:256, :320]
    for px, py in result.particles:
        assert radius <= px <= 319 - radius
        assert radius <= py <= 255 - radius
        assert (result.labels[np.hypot(y - py, x - px) < radius - 1] == 0).all()


@pytest.mark.parametrize("kind", ["carbon", "ethane", "frost", "aggregate"])
def test_false_picks_lie_on_bad_areas(kind):
    result = scene(1, [kind], areas=[0.4], border="none", border_px=[0, 0, 0, 0])
    assert len(result.false_picks)
    for x, y in np.round(result.false_picks).astype(int):
        around = result.labels[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
        assert around.max() > 0


def test_a_clean_micrograph_has_no_false_picks_and_no_labels():
    result = scene(3, [], border="none", border_px=[0, 0, 0, 0])
    assert not result.labels.any()
    assert len(result.false_picks) == 0


def test_particles_are_dark_where_they_are_said_to_be():
    config = SceneConfig(rows=512, columns=512, pixel_size=4, particle_radius=80, coverage=0.15, defocus_um=2.5)
    result = simulate(config, np.random.default_rng(0))
    y, x = np.mgrid[:512, :512]
    inside = [result.pixels[np.hypot(y - py, x - px) < 12].mean() for px, py in result.particles]
    assert len(inside) > 10
    assert np.mean(inside) < result.pixels.mean() - 0.1 * result.pixels.std()


def test_inverted_contrast_mirrors_the_values():
    plain = scene(4, [], inverted=False, values="counts", low_pass=None, high_pass=None, border="none")
    mirrored = scene(4, [], inverted=True, values="counts", low_pass=None, high_pass=None, border="none")
    np.testing.assert_allclose(plain.pixels + mirrored.pixels, 2 * plain.pixels.mean(), rtol=1e-3)


def test_bytes_are_whole_numbers_from_0_to_255():
    pixels = scene(5, [], values="bytes").pixels
    assert pixels.min() >= 0
    assert pixels.max() <= 255
    np.testing.assert_array_equal(pixels, np.round(pixels))


@pytest.mark.parametrize("border", ["smeared", "constant"])
def test_borders_are_where_the_labels_say(border):
    result = scene(6, [], border=border, border_px=[10, 5, 0, 20], values="counts", inverted=False)
    expected = np.ones((256, 320), bool)
    expected[10:256, 5:300] = False
    np.testing.assert_array_equal(result.labels == CLASSES.index(BORDER), expected)
    if border == "constant":
        assert len(np.unique(result.pixels[expected])) == 1
    else:
        assert np.abs(np.diff(result.pixels[30:-30, :5], axis=1)).max() == 0


def test_a_low_pass_removes_fine_detail():
    fine = scene(9, [], low_pass=None, high_pass=None, values="counts", inverted=False)
    coarse = scene(9, [], low_pass=40.0, high_pass=None, values="counts", inverted=False)
    assert np.diff(coarse.pixels).std() < 0.3 * np.diff(fine.pixels).std()


@pytest.mark.parametrize(("pixel_size", "shape"), [(0.5, (200, 256)), (1.77, (300, 230)), (8.0, (128, 96))])
def test_any_pixel_size_and_shape(pixel_size, shape):
    rng = np.random.default_rng(0)
    config = SceneConfig.random(rng, *shape, pixel_size, ["frost", "gold"])
    result = simulate(config, rng)
    assert result.pixels.shape == shape
    assert np.isfinite(result.pixels).all()


def test_random_configurations_vary_widely():
    rng = np.random.default_rng(0)
    configs = [SceneConfig.random(rng, 512, 512, 1.0) for _ in range(200)]
    for name in ("defocus_um", "dose", "thickness", "particle_radius"):
        values = [getattr(config, name) for config in configs]
        assert max(values) > 2.5 * min(values)
    assert len({kind for config in configs for kind in config.kinds}) == 10
    assert {config.border for config in configs} == {"none", "smeared", "constant"}
    assert {config.values for config in configs} == {"counts", "standardised", "bytes"}
    assert any(config.inverted for config in configs)


@pytest.mark.parametrize(
    ("values", "words"),
    [({"kinds": ["snow"]}, "snow"), ({"kinds": ["dirt"], "areas": [0.1, 0.2]}, "areas"), ({"rows": 3}, "rows")],
)
def test_wrong_settings_are_said_in_one_line(values, words):
    with pytest.raises(SettingsError, match=words) as caught:
        SceneConfig.make(**values)
    assert "\n" not in str(caught.value)
