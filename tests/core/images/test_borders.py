# SPDX-License-Identifier: GPL-3.0-or-later
"""A border is what the camera did not see; carbon, vacuum and ice at a side are not."""

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from cryoice_scipion.core.images import borders
from cryoice_scipion.core.images.borders import find_border
from cryoice_scipion.core.images.reading import read_micrograph

REAL = Path(__file__).resolve().parents[4] / "shared" / "real"


def noise(shape=(700, 900), seed=0, blur=0.0):
    image = np.random.default_rng(seed).normal(size=shape)
    return (100 + 10 * (ndimage.gaussian_filter(image, blur) if blur else image)).astype(np.float32)


def smeared(image, top, bottom, left, right):
    """Repeat the outermost seen line outwards on each side, as alignment programs do."""
    seen = image[top : image.shape[0] - bottom, left : image.shape[1] - right]
    return np.pad(seen, ((top, bottom), (left, right)), mode="edge")


def widths(border):
    """Return how many whole lines are marked at the top, bottom, left, right."""
    rows, columns = border.all(axis=1), border.all(axis=0)
    return [int(np.argmin(flags)) for flags in (rows, rows[::-1], columns, columns[::-1])]


@pytest.mark.parametrize("blur", [0, 1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_nothing_is_marked_on_plain_noise(blur, dtype):
    for seed in range(3):
        assert not find_border(noise(seed=seed, blur=blur).astype(dtype).astype(np.float32)).any()


@pytest.mark.parametrize("sides", [(40, 0, 0, 0), (0, 7, 0, 60), (30, 20, 25, 35), (1, 2, 3, 1)])
def test_smeared_lines_are_marked_exactly(sides):
    border = find_border(smeared(noise(), *sides))
    assert widths(border) == list(sides)
    inside = border[sides[0] : 700 - sides[1], sides[2] : 900 - sides[3]]
    assert not inside[1:-1, 1:-1].any() and inside.sum() <= 4  # the pixels that the corners repeat


def test_smear_that_was_low_passed_and_compressed_is_found_within_the_filters_width():
    image = ndimage.gaussian_filter(smeared(noise(blur=1), 50, 30, 40, 60), 3, mode="wrap")
    image = np.clip(128 + 40 * (image - image.mean()) / image.std(), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=75)
    border = find_border(np.asarray(Image.open(stream), dtype=np.float32))
    np.testing.assert_allclose(widths(border), [50, 30, 40, 60], atol=6)


def test_the_look_at_a_few_lines_misses_no_smear(monkeypatch):
    """Smears of all lengths begin at all lines, as after a filter that wraps around."""
    image = noise((256, 200))
    for first in range(30):
        for last in range(first + 5, min(2 * first + 9, 62)):
            smeared_inside = image.copy()
            smeared_inside[first : last + 1] = 0.1 * (image[first : last + 1] - 100) + image[last + 1]
            quick = find_border(smeared_inside)
            with monkeypatch.context() as patched:
                patched.setattr(borders, "_may_be_border", lambda *_: True)
                assert np.array_equal(quick, find_border(smeared_inside))
            assert quick[0].all() == (last - first + 1 >= max(first, 6))


@pytest.mark.parametrize("value", [0.0, 100.0, np.nan])
@pytest.mark.parametrize("sides", [(20, 0, 0, 0), (1, 3, 0, 2), (100, 100, 50, 80), (300, 0, 0, 0)])
def test_padding_is_marked_exactly(value, sides):
    top, bottom, left, right = sides
    image = np.full((700, 900), value, dtype=np.float32)
    inside = (slice(top, 700 - bottom), slice(left, 900 - right))
    image[inside] = noise()[inside]
    border = find_border(image)
    assert not border[inside].any()
    assert border.sum() == border.size - border[inside].size


def test_constant_rectangle_in_a_corner_is_marked():
    image = noise()
    image[500:, 650:] = 3.0
    border = find_border(image)
    assert border[500:, 650:].all() and border.sum() == 200 * 250


def test_constant_area_inside_is_no_border():
    image = noise()
    image[300:400, 300:400] = 3.0
    assert not find_border(image).any()


@pytest.mark.parametrize("contrast", [-80.0, 150.0], ids=["carbon", "vacuum"])
@pytest.mark.parametrize("blur", [0, 2])
def test_film_or_vacuum_at_a_side_is_no_border(contrast, blur):
    rows, columns = np.mgrid[:700, :900]
    for area in (rows < 90, columns > 800, (rows - 700) ** 2 + columns**2 < 300**2):
        quieter = np.where(area, 0.4, 1.0)
        image = 100 + contrast * area + quieter * (noise(blur=blur) - 100)
        assert not find_border(image.astype(np.float32)).any()


def test_detector_stripes_over_the_whole_image_are_no_border():
    stripes = np.random.default_rng(1).normal(scale=40, size=900)
    assert not find_border((noise() + stripes).astype(np.float32)).any()


def test_saturated_area_marks_only_what_is_constant():
    image = noise()
    image[:30, 200:700] = 255
    border = find_border(image)
    assert border[:30, 200:700].mean() > 0.95 and not border[:, :200].any() and not border[30:].any()


def test_images_too_small_or_constant_do_not_crash():
    for shape in ((1, 1), (16, 700), (64, 64), (65, 130)):
        assert find_border(np.random.default_rng(0).normal(size=shape).astype(np.float32)).shape == shape
    assert find_border(np.zeros((100, 100), dtype=np.float32)).shape == (100, 100)


def test_a_large_frame_takes_a_fraction_of_a_second():
    image = np.random.default_rng(0).normal(size=(4096, 4096)).astype(np.float32)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        find_border(image)
        times.append(time.perf_counter() - start)
    assert min(times) < 1.0  # about 0.1 s on a quiet machine


@pytest.mark.skipif(not REAL.is_dir(), reason="the real micrographs are not here (../shared/real)")
def test_real_smeared_borders():
    # Seen in the pictures: the soft ends of the stripes, about 97, 82, 62 and 109 px in MRC order.
    for path in sorted((REAL / "empiar10017" / "micrographs").glob("*.jpg"))[:3]:
        image = read_micrograph(path).as_float32()[::-1]
        np.testing.assert_allclose(widths(find_border(image)), [97, 82, 62, 109], atol=6)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real micrographs are not here (../shared/real)")
def test_real_micrographs_without_a_border():
    for path in sorted((REAL / "micassess").glob("*/*.png")):
        assert not find_border(read_micrograph(path).as_float32()).any(), path.name
