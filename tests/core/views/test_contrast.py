# SPDX-License-Identifier: GPL-3.0-or-later
"""Particles decide the contrast; a crystal, a film edge or its fringe does not."""

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.maps.session_baseline import BRIGHT
from cryoice_scipion.core.views import contrast
from cryoice_scipion.core.views.contrast import tile_skewness
from cryoice_scipion.core.views.micrograph import contrast_cells, micrograph_view, skewness

SAMPLING, SIDE = 8.0, 400  # Å/px and px


def field(seed=0, particles=150, height=3.0):
    """Return noise with dark particles of 140 Å."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(SIDE, SIDE))
    y, x = np.ogrid[:SIDE, :SIDE]
    for row, column in rng.uniform(0, SIDE, (particles, 2)):
        image -= height * (np.hypot(y - row, x - column) < 9)
    return image


def value(image, inside=None):
    inside = np.ones(image.shape, dtype=bool) if inside is None else inside
    cells = contrast_cells(torch.from_numpy(image.astype(np.float32)), SAMPLING)
    return skewness(cells.numpy(), inside, SAMPLING)


def disc(radius, centre=(200, 230)):
    y, x = np.ogrid[:SIDE, :SIDE]
    return np.hypot(y - centre[0], x - centre[1]) < radius


def with_crystal(image, radius=125, dark=6.0, bright=15.0):
    """Add a dark crystal of 2000 Å with a bright fringe that is 100 Å wide."""
    distance = ndimage.distance_transform_edt(~disc(radius)) * SAMPLING
    return image - dark * disc(radius) + bright * np.exp(-distance / 100) * (distance > 0)


def test_particles_decide():
    image = field()
    assert value(image) < -0.5 < 0.5 < value(-image)
    assert value(-image) == pytest.approx(-value(image), abs=1e-6)


def test_the_value_is_the_median_of_the_tiles_clipped_skewness(monkeypatch):
    rng = np.random.default_rng(0)
    cells, kept = rng.gamma(2.0, size=(70, 53)), rng.random((70, 53)) < 0.8
    cells[:20, :20] = 1.0  # a tile of one value
    kept[50:, 40:] = False
    monkeypatch.setattr(contrast, "_long_edges", lambda cells, kept: np.zeros(kept.shape, dtype=bool))
    monkeypatch.setattr(contrast, "_without_ground", lambda cells, kept: cells)
    values = []
    for rows in np.array_split(np.arange(70), np.linspace(0, 70, 5).astype(int)[1:-1]):
        for columns in np.array_split(np.arange(53), np.linspace(0, 53, 4).astype(int)[1:-1]):
            tile, inside = cells[rows][:, columns], kept[rows][:, columns]
            if inside.mean() >= 0.5:
                low, middle, high = np.percentile(tile[inside], [25, 50, 75])
                clipped = np.clip((tile[inside] - middle) / max((high - low) / 1.349, 1e-30), -4, 4)
                values.append(0.0 if np.ptp(clipped) == 0 else stats.skew(clipped))
    assert tile_skewness(cells, kept) == pytest.approx(np.median(values), abs=1e-9)


@pytest.mark.parametrize("radius", [60, 125, 170])
def test_a_crystal_with_a_bright_fringe_inverts_neither_particles_nor_empty_ice(radius):
    assert value(with_crystal(field(), radius)) < -0.3
    assert abs(value(with_crystal(field(particles=0), radius))) < 0.1
    assert value(with_crystal(-field(), radius)) > BRIGHT


def test_gradients_films_and_vacuum_do_not_count():
    image = field()
    image += np.linspace(0, 30, SIDE)[None, :]
    image[:, :120] += 20
    image[300:] -= 20
    assert value(image) < -0.3


def test_hot_pixels_do_not_count():
    image = field(particles=0)
    rng = np.random.default_rng(1)
    image[tuple(rng.integers(0, SIDE, (2, 40)))] += 200
    assert value(image) < BRIGHT


def test_borders_are_left_out_and_too_small_ones_say_nothing():
    image, inside = field(), np.ones((SIDE, SIDE), dtype=bool)
    inside[:, :150] = False
    image[:, :150] = 1e6
    assert value(image, inside) < -0.5
    assert value(image, np.zeros_like(inside)) == 0
    assert value(field()[:60, :60]) == 0


def test_real_micrographs_are_dark(real_data):
    for path in [*real_data.glob("empiar10017/micrographs/*.jpg"), *real_data.glob("micassess/*/*.png")]:
        pixel_size = 1.77 if path.suffix == ".jpg" else 8.0
        loaded = load_micrograph(str(path), pixel_size)
        view, inside = micrograph_view(loaded.image, pixel_size, loaded.border, 4.0, torch.device("cpu"))
        assert skewness(contrast_cells(view, 4.0).numpy(), inside.numpy(), 4.0) < BRIGHT / 2, path.name
