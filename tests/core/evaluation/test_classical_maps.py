# SPDX-License-Identifier: GPL-3.0-or-later
"""The classical maps of the benchmarks find on toy images what each is there for."""

import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
import classical  # noqa: E402

SIDE, CELL = 512, 16.0
NO_BORDER = np.zeros((SIDE, SIDE), dtype=bool)


def noise(seed=0):
    return np.random.default_rng(seed).normal(size=(SIDE, SIDE)).astype(np.float32)


def right_half(shape):
    bad = np.zeros(shape, dtype=bool)
    bad[:, shape[1] // 2 :] = True
    return bad


def score(name, image, pixel_size):
    cells = int(np.ceil(SIDE * pixel_size / CELL))
    scaled = classical.scaled(image, NO_BORDER)
    maps = classical.local_maps(scaled, pixel_size, (cells, cells), CELL)
    if name == classical.ICINESS:
        spectra = classical.local_spectra(scaled, pixel_size)
        maps[name] = classical.at_cells(spectra.iciness, spectra.first, spectra.stride, (cells, cells), CELL)
    return roc_auc_score(right_half((cells, cells)).ravel(), maps[name].ravel())


def test_what_is_dark_is_found_by_the_local_mean():
    image = noise()
    image[:, SIDE // 2 :] -= 1.0
    assert score(classical.LOCAL_MEAN, image, 4.0) > 0.98
    assert 0.3 < score(classical.LOCAL_DEVIATION, image, 4.0) < 0.85  # only its edge


def test_what_is_rough_is_found_by_the_local_deviation():
    image = noise()
    image[:, SIDE // 2 :] *= 2
    assert score(classical.LOCAL_DEVIATION, image, 4.0) > 0.98
    assert 0.3 < score(classical.LOCAL_MEAN, image, 4.0) < 0.7


def test_iciness_finds_the_ring_at_3_7_angstrom():
    pixel_size = 1.0
    frequency = np.hypot(np.fft.fftfreq(SIDE, pixel_size)[:, None], np.fft.rfftfreq(SIDE, pixel_size)[None])
    ring = np.fft.irfft2(np.fft.rfft2(noise(1)) * (np.abs(frequency - 1 / 3.7) < 0.01), (SIDE, SIDE))
    image = noise()
    image[:, SIDE // 2 :] += (ring / ring.std())[:, SIDE // 2 :].astype(np.float32)
    assert score(classical.ICINESS, image, pixel_size) > 0.95


def test_iciness_is_not_there_where_pixels_are_too_coarse():
    assert classical.local_spectra(noise(), 1.7).iciness is not None
    assert classical.local_spectra(noise(), 1.8).iciness is None


def test_the_distance_to_clean_windows_finds_a_spectrum_it_has_not_seen():
    spectra = [classical.local_spectra(classical.scaled(noise(seed), NO_BORDER), 4.0) for seed in range(3)]
    assert spectra[0].features.shape[-1] == 32
    distance = classical.Mahalanobis(np.concatenate([item.features.reshape(-1, 32) for item in spectra]))
    image = noise(9)
    blurred = (image + np.roll(image, 1, 0) + np.roll(image, 1, 1)) / np.sqrt(3)  # the same mean and deviation
    image[:, SIDE // 2 :] = blurred[:, SIDE // 2 :]
    found = distance.log_distance(classical.local_spectra(classical.scaled(image, NO_BORDER), 4.0).features)
    assert roc_auc_score(right_half(found.shape).ravel(), found.ravel()) > 0.97


def test_values_are_taken_from_the_window_nearest_to_a_cell():
    values = np.arange(4, dtype=np.float32)[None, :]  # centred on 64, 96, 128, 160 Å
    cells = classical.at_cells(values, 64.0, 32.0, (1, 14), 16.0)
    assert cells[0, 0] == 0 and cells[0, 5] == 1 and cells[0, 13] == 3


@pytest.mark.parametrize(
    ("clean", "shares", "chosen"),
    [([9, 5, 7, 1], [0.5, 1.0, 1.0, 0.9], [2, 1, 3]), ([0, 3], [0.0, 0.1], [1]), ([0], [0.0], [])],
)
def test_the_distance_is_fitted_on_the_cleanest(clean, shares, chosen):
    assert classical.cleanest(clean, shares) == chosen
