# SPDX-License-Identifier: GPL-3.0-or-later
"""Extreme pixels are replaced when a micrograph is loaded, and nothing else is."""

import subprocess
import sys

import mrcfile
import numpy as np
import pytest
from PIL import Image

from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images.checks import check_pixels
from cryoice_scipion.core.images.extremes import LIMIT
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.images.reading import read_micrograph
from cryoice_scipion.core.simulation.config import SceneConfig
from cryoice_scipion.core.simulation.contaminants import KINDS
from cryoice_scipion.core.simulation.scene import simulate

SHAPE = (160, 192)


def noise(seed=0, mean=100.0, deviation=10.0):
    return np.random.default_rng(seed).normal(mean, deviation, SHAPE).astype(np.float32)


def write(path, image):
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(image)
        mrc.voxel_size = 2.0
    return str(path)


@pytest.mark.parametrize("exponent", range(3, 13))
@pytest.mark.parametrize("sign", [1, -1])
def test_one_extreme_pixel_takes_the_median_of_its_neighbours(exponent, sign):
    image = noise()
    hot = image.copy()
    hot[70, 90] += sign * 10.0 * 10.0**exponent
    cleaned, flags = check_pixels(hot, "a.mrc")
    assert flags == ["clipped_pixels=1"]
    assert abs(cleaned[70, 90] - np.median(image[67:74, 87:94])) < 1
    cleaned[70, 90] = image[70, 90]
    np.testing.assert_array_equal(cleaned, image)


def test_neighbours_and_corners_and_not_finite_ones():
    hot = noise()
    hot[0, 0] = hot[-1, -1] = 1e30
    hot[50:53, 60:62] = -1e9
    hot[100, 100] = np.nan
    cleaned, flags = check_pixels(hot, "a.mrc")
    assert flags == ["nan_pixels", "clipped_pixels=8"]
    assert np.abs(cleaned - 100).max() < 60


def test_an_area_of_extreme_pixels():
    hot = noise()
    hot[50:55, 60:65] = 1e9  # the middle one has 24 extreme neighbours and 24 others
    cleaned, _ = check_pixels(hot, "a.mrc")
    assert np.abs(cleaned[50:55, 60:65] - 100).max() < 15
    hot[20:60, 25:65] = 1e9
    cleaned, flags = check_pixels(hot, "a.mrc")
    assert flags == ["clipped_pixels=1600"]  # 5 % of the image
    assert np.abs(cleaned - 100).max() < 60


def test_nothing_below_the_limit_is_changed():
    hot = noise()
    hot[70, 90] = 100 + 0.9 * LIMIT * 10
    same, flags = check_pixels(hot, "a.mrc")
    assert same is hot and flags == []


def test_integers_and_halves_from_files(tmp_path):
    image = noise(1)
    for kind, hot in ((np.int16, 32767), (np.uint16, 65535), (np.float16, 65504), (np.float32, 3e38)):
        pixels = image.astype(kind)
        pixels[40, 50] = hot
        loaded = load_micrograph(write(tmp_path / "a.mrc", pixels))
        assert loaded.flags == ["clipped_pixels=1"], kind
        assert loaded.image.max() < 200
    pixels = image.astype(np.float16)
    pixels[40, 50] = np.inf
    assert load_micrograph(write(tmp_path / "a.mrc", pixels)).flags == ["nan_pixels"]
    pixels = np.full(SHAPE, 128, dtype=np.uint8) + (image > 100)  # a hot pixel took all the grey levels
    pixels[40, 50] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert load_micrograph(str(tmp_path / "a.png"), 2.0).flags == []  # 260 deviations: left as it is


def test_a_constant_border_far_from_the_data_is_no_extreme():
    image = noise(2, 6800, 9)
    image[:, :20] = 0
    same, flags = check_pixels(image, "a.mrc")
    assert same is image and flags == []
    image[60, 5], image[80, 100] = 1e12, 1e12
    cleaned, flags = check_pixels(image, "a.mrc")
    assert flags == ["clipped_pixels=2"]
    assert cleaned[60, 5] == 0 and 6700 < cleaned[80, 100] < 6900


def test_sparse_counts_are_left():
    counts = np.random.default_rng(3).poisson(0.02, SHAPE).astype(np.float32)
    same, flags = check_pixels(counts, "a.mrc")
    assert same is counts and flags == []


@pytest.mark.parametrize("number", [1, 5])
def test_constant_but_for_extreme_pixels_is_an_error(number):
    image = np.full(SHAPE, 7, dtype=np.float32)
    image.flat[np.arange(number) * 1013 + 5] = 1e6
    with pytest.raises(ImageError, match=f"a.mrc: all pixels but {number} are 7"):
        check_pixels(image, "a.mrc")


@pytest.mark.parametrize("pixel_size", [1.0, 4.0])
def test_simulated_micrographs_are_left(pixel_size):
    for number, kinds in enumerate([[], *([kind] for kind in KINDS)]):
        rng = np.random.default_rng([5, number])
        config = SceneConfig.random(rng, 256, 256, pixel_size, kinds)
        config = config.model_copy(update={"hot_pixels": 40, "dead_columns": 2})
        image = simulate(config, rng).pixels
        same, flags = check_pixels(image, "a.mrc")
        assert same is image and flags == [], (kinds, config)


def test_real_micrographs_are_left(real_data, tmp_path):
    subprocess.run([sys.executable, str(real_data / "prepare.py"), str(tmp_path)], check=True)
    paths = sorted(tmp_path.rglob("*.mrc"))
    assert len(paths) >= 19
    for path in paths:
        loaded = load_micrograph(str(path), 2.0)
        assert not any(flag.startswith("clipped") for flag in loaded.flags), path.name
        np.testing.assert_array_equal(loaded.image, read_micrograph(str(path)).as_float32())
