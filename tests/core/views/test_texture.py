# SPDX-License-Identifier: GPL-3.0-or-later
"""The texture of cells: power by octave, means and extremes."""

import numpy as np
import pytest
import torch

from cryoice_scipion.core.views.texture import TEXTURE_CHANNELS, texture_features

CELL = 8  # px
POWER = slice(0, 12)  # channels: of six octaves, the power at two scales
MEAN = slice(12, 16)
MAXIMA = [16 + 6 * level + reach for level in range(4) for reach in range(3)]  # of each level: within 1, 2, 4 cells
MINIMA = [channel + 3 for channel in MAXIMA]


def noise(rows=256, columns=256, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 9), (8, 33), (250, 131), (300, 1000)])
def test_every_cell_that_begins_has_a_texture(rows, columns):
    found = texture_features(noise(rows, columns))
    assert found.shape == (TEXTURE_CHANNELS, -(-rows // CELL), -(-columns // CELL))
    assert torch.isfinite(found).all()


@pytest.mark.parametrize(("period", "level"), [(12.0, 0), (24.0, 1), (48.0, 2), (96.0, 3), (192.0, 4), (384.0, 5)])
def test_waves_of_an_octave_have_their_power_in_it(period, level):
    """Periods in Å; octaves begin at 8 Å, twice the sampling."""
    wave = torch.sin(2 * np.pi * torch.arange(512) * 4.0 / period).expand(512, 512)
    middle = texture_features(wave.contiguous())[POWER, 24:40, 24:40].mean(dim=(1, 2)).reshape(6, 2)
    assert middle.argmax(dim=0).tolist() == [level, level]


def test_brightness_changes_means_and_extremes_and_no_power():
    before, after = (texture_features(noise() + shift) for shift in (0.0, 3.0))
    assert torch.allclose(after[POWER], before[POWER], atol=1e-3)
    assert torch.allclose(after[MEAN.start :], before[MEAN.start :] + 3.0, atol=1e-3)


def test_contrast_is_a_shift_of_all_power():
    before, after = (texture_features(factor * noise()) for factor in (1000.0, 2000.0))
    assert torch.allclose(after[POWER], before[POWER] + np.log(4.0), atol=1e-2)


def test_a_dark_speck_is_the_minimum_of_the_cells_around_it():
    view = torch.zeros(512, 512)
    view[34 * CELL + 2 : 34 * CELL + 6, 20 * CELL + 2 : 20 * CELL + 6] = -5.0
    found = texture_features(view)
    assert found[MAXIMA].max() == 0.0
    for channel, reach in zip(MINIMA, 4 * (1, 2, 4)):
        rows, columns = np.nonzero(found[channel].numpy() < 0.9 * float(found[channel].min()))
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (
            34 - reach,
            34 + reach,
            20 - reach,
            20 + reach,
        )
    assert found[MINIMA[0]].min() < found[MINIMA[3]].min() < found[MINIMA[6]].min() < 0.0  # the more blurred, the paler


def test_a_texture_moves_with_the_micrograph():
    view = noise(1024, 1024)
    moved = texture_features(view[64:, 128:].contiguous())
    there = texture_features(view)[:, 8:, 16:]
    assert torch.allclose(moved[:, 40:-40, 40:-40], there[:, 40:-40, 40:-40], atol=1e-4)


def test_a_texture_is_mirrored_and_turned_with_the_micrograph():
    """Bands of a coarse level are as well centred on the cells as those of a fine one."""
    view = noise(256, 512)
    found = texture_features(view)
    assert torch.allclose(texture_features(view.flip((0, 1))), found.flip((1, 2)), atol=1e-4)
    assert torch.allclose(texture_features(view.T.contiguous()), found.transpose(1, 2), atol=1e-4)
