# SPDX-License-Identifier: GPL-3.0-or-later
"""How much cells stand out of their micrograph."""

import numpy as np
import pytest
import torch

from cryoice_scipion.core.views.outlier_features import (
    OUTLIER_CHANNELS,
    RELATIVE,
    SCALES,
    SIGMA,
    outlier_features,
    relative_statistics,
)

SIDE, CELL = 512, 8
DARK, BRIGHT, VARIES = 2, 3, 4  # channels of one scale


def noise(seed=0, rows=SIDE, columns=SIDE):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32))


def of_scale(channels, scale):
    first = 5 * SCALES.index(scale)
    return channels[first : first + 5]


@pytest.mark.parametrize("scale", SCALES)
def test_what_is_darkest_and_varies_most_is_rarest(scale):
    view = noise()
    view[200:232, 304:336] = 4.0 * view[200:232, 304:336] - 6.0
    found = of_scale(outlier_features(view), scale)
    for channel in (DARK, VARIES):
        row, column = np.unravel_index(int(found[channel].argmax()), found[channel].shape)
        assert 25 <= row < 29
        assert 38 <= column < 42
    assert float(found[DARK].max()) == pytest.approx(np.log10((SIDE / CELL) ** 2))
    assert found[BRIGHT][27, 40] < 0.01


def test_one_dark_spot_is_rarer_than_one_of_many():
    places = np.random.default_rng(1).integers(0, SIDE - 32, (40, 2))
    alone, many = noise(2), noise(2)
    for view, spots in ((alone, [(240, 240)]), (many, [(240, 240), *places])):
        dark = torch.zeros_like(view)
        for row, column in spots:
            dark[row : row + 32, column : column + 32] = 6.0
        view -= dark
    lonely, crowded = (float(of_scale(outlier_features(view), SIGMA)[DARK][32, 32]) for view in (alone, many))
    assert lonely > crowded + 0.5


def test_ranks_do_not_depend_on_brightness_and_contrast():
    view = noise(3)
    ranks = [5 * scale + channel for scale in range(len(SCALES)) for channel in (DARK, BRIGHT)]
    assert torch.allclose(outlier_features(view)[ranks], outlier_features(3 * view + 7)[ranks], atol=1e-2)


def test_ranks_count_equal_cells_on_both_sides():
    cells = torch.from_numpy(np.random.default_rng(5).integers(0, 9, (12, 14)).astype(np.float32))
    found = outlier_features(cells.repeat_interleave(CELL, 0).repeat_interleave(CELL, 1))
    not_higher = (cells[:, :, None, None] >= cells).double().mean(dim=(2, 3))
    not_lower = (cells[:, :, None, None] <= cells).double().mean(dim=(2, 3))
    assert torch.allclose(found[DARK], -torch.log10(not_higher).float(), atol=1e-6)
    assert torch.allclose(found[BRIGHT], -torch.log10(not_lower).float(), atol=1e-6)


def test_a_micrograph_of_one_value_has_nothing_that_stands_out():
    found = outlier_features(torch.full((96, 160), 2.0))
    assert torch.isfinite(found).all()
    assert float(found.abs().max()) < 1e-3


def test_there_is_a_cell_for_every_32_angstroms_begun_and_one_scale_is_the_unets():
    view = noise(4, 203, 310)
    found = outlier_features(view)
    assert found.shape == (OUTLIER_CHANNELS, 26, 39)
    assert torch.equal(found[RELATIVE], relative_statistics(view))
