# SPDX-License-Identifier: GPL-3.0-or-later
"""Outlines and necks are those of scikit-image, which takes longer."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import measure, morphology

from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.regions import instances, outlines

FRAME = Frame((4096, 4096), 1.0)


def blobs(seed, smooth, share=0.8, shape=(60, 70)):
    """Return a random mask whose parts have about ``smooth`` cells."""
    values = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, shape), smooth)
    return values > np.quantile(values, share)


@pytest.mark.parametrize("smooth", [0.5, 1, 3, 6])
def test_all_outlines_at_once_are_the_same_as_one_by_one(smooth):
    mask = np.pad(blobs(1, smooth), 1).astype(np.float32)
    chains = measure.find_contours(mask, 0.5, fully_connected="high")
    expected = [measure.approximate_polygon(chain, 0.5) for chain in chains]
    for found, right in zip(outlines._simplified(chains), expected):
        assert np.array_equal(found, right)


def test_a_square_has_four_corners_in_px():
    mask = np.ones((20, 30), bool)
    (corners,) = outlines.outlines_of([mask], [(10, 5)], 4.0, FRAME)
    corner = [[20, 40], [140, 40], [140, 120], [20, 120]]
    assert len(corners) == 4
    assert np.array(sorted(corners)) == pytest.approx(np.array(sorted(corner)), abs=2), "half a cell"


@pytest.mark.parametrize("smooth", [0.7, 2, 5, 10])
@pytest.mark.parametrize("share", [0.2, 0.7, 0.95])
def test_peaks_are_the_h_maxima(smooth, share):
    mask = blobs(2, smooth, share)
    depth = np.log(2 + ndimage.distance_transform_edt(mask))
    expected = morphology.h_maxima(depth, np.log(2)) > 0
    assert np.array_equal(instances._peaks(depth, float(np.log(2))) & mask, expected & mask)
    assert not instances._peaks(np.ones((3, 4)), 1.0).any()
