# SPDX-License-Identifier: GPL-3.0-or-later
"""Smaller images are means and Gaussian averages of the larger ones."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cryoice_scipion.core.images.reducing import average, low_passed, nearest

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_a_whole_factor_gives_the_means_of_blocks(factor):
    image = RNG.normal(0, 1, (36 * factor, 25 * factor)).astype(np.float32)
    means = image.reshape(36, factor, 25, factor).mean(axis=(1, 3))
    assert average(image, (36, 25)) == pytest.approx(means, abs=1e-5)


def test_each_pixel_counts_once_with_any_factor():
    image = RNG.random((101, 77), dtype=np.float32)
    small = average(image, (30, 30))
    assert small.shape == (30, 30) and small.dtype == np.float32
    assert small.mean() == pytest.approx(image.mean(), abs=0.02)
    slope = average(np.arange(101, dtype=np.float32)[:, None] * np.ones((1, 77), np.float32), (30, 30))
    assert slope[:, 0] == pytest.approx((np.arange(30) + 0.5) * 101 / 30 - 0.5, abs=0.6)


def test_the_low_pass_is_a_gaussian_filter_at_fewer_pixels():
    image = RNG.normal(0, 1, (120, 90)).astype(np.float32)
    smooth = gaussian_filter(image, 2.0)
    assert low_passed(image, image.shape, 2.0)[10:-10, 10:-10] == pytest.approx(smooth[10:-10, 10:-10], abs=0.01)
    third = low_passed(image, (40, 30), 2.0)
    assert third[5:-5, 5:-5] == pytest.approx(smooth[1::3, 1::3][5:-5, 5:-5], abs=0.01)
    assert low_passed(image, image.shape, 0.0) is image


def test_nearest_is_the_pixel_under_the_centre():
    assert nearest(np.arange(9).reshape(1, 9), (1, 3)).tolist() == [[1, 4, 7]]
