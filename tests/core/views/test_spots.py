# SPDX-License-Identifier: GPL-3.0-or-later
"""The spot test keeps its false-alarm rate whatever the noise, and finds fringes down to what the dose allows."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from cryoice_scipion.core.views.patches import window_px
from cryoice_scipion.core.views.spot_statistics import (
    clustering,
    combine,
    log_bayes_factor,
    log_p_of_tail,
    tail_of_ratio,
)
from cryoice_scipion.core.views.spots import BAND, NO_SIGNAL, REDUCED, SCALES, UNAVAILABLE, spot_evidence

WAVELENGTH, CS = 0.0197, 2.7e7  # Å, 300 kV


def coloured(side, seed, pixel_size, kind):
    """Gaussian noise of a power spectrum that amorphous material and optics can have."""
    noise = np.random.default_rng(seed).standard_normal((side, side)).astype(np.float32)
    if kind == "white":
        return noise
    down, across = np.fft.fftfreq(side, pixel_size)[:, None], np.fft.rfftfreq(side, pixel_size)[None]
    k, angle = np.hypot(down, across), np.arctan2(down, across)
    if kind == "vitreous":  # the diffuse maxima of water at 3.7 and 2.15 Å, on falling noise
        power = np.exp(-2 * k) * (1 + sum(np.exp(-((k - 1 / d) ** 2) / 2 / 0.025**2) for d in (3.7, 2.15)))
    else:
        defocus = 15000 + (400 * np.cos(2 * (angle - 0.6)) if kind == "astigmatic" else 0)
        phase = np.pi * WAVELENGTH * defocus * k**2 - np.pi / 2 * CS * WAVELENGTH**3 * k**4
        power = np.exp(-2 * k) * (1 + 0.3 * np.sin(phase) ** 2)
    return np.fft.irfft2(np.fft.rfft2(noise) * np.sqrt(power), s=noise.shape).astype(np.float32)


def evidence(image, pixel_size=1.0, border=None):
    return spot_evidence(torch.from_numpy(np.asarray(image, dtype=np.float32)), pixel_size, border)


def windows_of(log_p):
    """p-values, one a window: cells of one window of 256 or 512 Å have the same."""
    return [np.exp(plane[::step, ::step]) for plane, step in zip(log_p, (1, 2, 4))]


def fringes(side, contrast, spacing=3.7, angle=0.7, dose=40.0, pixel_size=1.0, seed=0):
    y, x = np.mgrid[:side, :side] * pixel_size
    wave = np.cos(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / spacing)
    return np.random.default_rng(seed).poisson(dose * pixel_size**2 * (1 + contrast * wave))


@pytest.mark.parametrize("pixel_size", [1.0, 1.4])
@pytest.mark.parametrize("kind", ["white", "vitreous", "thon", "astigmatic"])
def test_false_alarm_rate_is_the_nominal_one(kind, pixel_size):
    found = [windows_of(evidence(coloured(1024, seed, pixel_size, kind), pixel_size).log_p) for seed in range(5)]
    for scale, planes in enumerate(zip(*found)):
        p = np.concatenate([plane.ravel() for plane in planes])
        for nominal in (1e-2, 1e-3):
            # Neighbouring windows share half of their pixels: counts scatter a little more than binomially.
            assert (p < nominal).sum() <= binom.ppf(0.9995, p.size, nominal) + 1, (SCALES[scale], nominal)
        if scale == 0:  # enough windows to see that it is not far too careful either
            assert (p < 0.1).sum() >= binom.ppf(0.001, p.size, 0.075)


@pytest.mark.parametrize(("scale", "contrast"), [(0, 0.0135), (1, 0.0071), (2, 0.0037)])
def test_detection_limits_are_those_of_the_dose(scale, contrast):
    """1.35 % at 128 Å, 0.71 % at 256, 0.37 % at 512 (40 e/Å², false alarms 1e-3), on a bin of the spectrum.

    Between bins the Hann window takes up to half of a spot's power: a third more contrast is needed there.
    """
    shares = []
    for strength in (1.5, 0.7):
        found = []
        for k in range(2):
            image = np.random.default_rng(k).poisson(40.0, (1536, 1536))
            image[:1024, :1024] = fringes(1024, strength * contrast, 3.5 + 0.15 * k, 0.3 + 0.2 * k, seed=k + 10)
            found.append(evidence(image).log_p[scale][4:12, 4:12] < np.log(1e-3))
        shares.append(np.mean(found))
    assert shares[0] > 0.6 and shares[1] < 0.2, shares


@pytest.mark.parametrize(("pixel_size", "spacing"), [(1.0, 3.9), (1.0, 3.44), (1.4, 3.67), (1.7, 3.9)])
def test_a_crystal_that_fills_the_micrograph_is_found(pixel_size, spacing):
    side = round(1200 / pixel_size)
    result = evidence(fringes(side, 0.03, spacing, pixel_size=pixel_size), pixel_size)
    assert (result.flags == [REDUCED]) == (pixel_size > 1.57)
    assert (combine(result.log_p) < np.log(1e-6)).all()


def test_a_small_crystal_is_localised():
    image = fringes(1024, 0.0).astype(np.float32)
    image[512:640, 256:384] = fringes(128, 0.06)
    log_p = evidence(image).log_p[0]
    assert log_p[8:10, 4:6].max() < np.log(1e-4)
    away = np.ones(log_p.shape, dtype=bool)
    away[7:11, 3:7] = False
    assert (log_p[away] < np.log(1e-3)).sum() <= 3


def test_other_spacings_are_not_called():
    for spacing in (2.35, 2.25, 2.04, 5.0, 2.9):
        p = np.exp(evidence(fringes(1024, 0.08, spacing)).log_p)
        assert (p < 1e-3).mean() < 0.02, spacing


def test_hot_pixels_and_dead_columns_and_an_edge_are_not_called():
    image = np.random.default_rng(1).standard_normal((1024, 1024)).astype(np.float32)
    image[:, 300] = -10
    image[700, :] = 10
    image[:, 511::512] += 2
    places = np.random.default_rng(2).integers(0, 1024, (2, 60))
    image[places[0], places[1]] = 10
    image[:, 620:] -= 3  # the edge of a film
    image += np.linspace(0, 20, 1024, dtype=np.float32)[:, None]
    p = np.exp(evidence(image).log_p)
    assert (p < 1e-3).mean() < 0.01
    assert (p < 1e-2).mean() < 0.03


def test_what_cannot_be_tested_is_said_and_not_called():
    image = fringes(512, 0.2)
    coarse = evidence(image, 2.0)
    assert coarse.flags == [UNAVAILABLE] and np.isnan(coarse.log_p).all() and coarse.log_p.shape == (3, 16, 16)
    assert evidence(image[:100, :300]).flags == [UNAVAILABLE]
    small = evidence(image[:200, :300])
    assert small.flags == [] and np.isnan(small.log_p[1:]).all() and small.log_p[0].max() < np.log(1e-3)


def test_a_strip_beside_a_border_is_too_small_to_be_tested():
    border = np.zeros((512, 512), dtype=bool)
    border[:, 100:] = True
    result = evidence(fringes(512, 0.2), border=border)
    assert np.isnan(result.log_p).all()


@pytest.mark.parametrize("resolution", [6, 10, 20, 35])
def test_a_band_that_was_filtered_away_is_no_evidence(resolution):
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft2(rng.standard_normal((768, 768)))
    k = np.hypot(np.fft.fftfreq(768)[:, None], np.fft.rfftfreq(768)[None])
    smooth = np.fft.irfft2(spectrum * np.exp(-0.5 * (k * resolution) ** 4), s=(768, 768))
    eight_bit = np.round(128 + 30 * smooth / smooth.std())
    for image in (smooth, eight_bit):
        result = evidence(image)
        assert result.flags == [NO_SIGNAL]
        assert np.isnan(result.log_p).all()


def test_windows_keep_out_of_the_border():
    border = torch.zeros(1024, 1024, dtype=torch.bool)
    border[:, :200] = True  # a frame: windows move inwards
    image = coloured(1024, 0, 1.0, "white")
    image[:, :200] = image[:, 200:201]
    log_p = evidence(image, border=border).log_p
    assert np.isfinite(log_p).all() and (log_p < np.log(1e-3)).mean() < 0.02
    border[500:600, 600:700] = True  # an island: windows on it are not tested
    log_p = evidence(image, border=border).log_p
    assert np.isnan(log_p[0, 8:9, 9:11]).all() and np.isfinite(log_p[0, :6]).all()


def test_windows_are_quick_sizes_near_their_length():
    for pixel_size in (0.8, 0.83, 1.0, 1.06, 1.35, 1.72):
        for scale in SCALES:
            side = window_px(scale, pixel_size)
            assert side % 2 == 0 and abs(side * pixel_size / scale - 1) < 0.04


def test_clustering_is_that_of_hann_windows():
    torch.manual_seed(0)
    side, number = 64, 3000
    hann = torch.hann_window(side, periodic=True)
    taper = hann[:, None] * hann
    power = torch.fft.rfft2(torch.randn(number, side, side) * taper).abs().square() / taper.square().sum()
    inner = power[:, 4:28, 4:28].flatten(1)
    bins = inner.shape[1]
    for level in (6.0, 7.0, 8.0):
        share = (inner.max(dim=1).values > level).double().mean().item()
        rate = -np.log1p(-share)
        # Simulated to about 4 %; at the rim of the patch bins lack neighbours, which makes it 2 % more.
        share = float(clustering(torch.tensor(float(level)).double()))
        assert rate / (bins * np.exp(-level)) == pytest.approx(share, rel=0.12)


def test_p_values_in_closed_form():
    assert tail_of_ratio(torch.tensor(3.0).double(), torch.tensor(1e9).double()) == pytest.approx(3.0, rel=1e-6)
    draws = np.random.default_rng(0)
    ratio = draws.exponential(size=200_000) / draws.gamma(20, 1 / 20, size=200_000)
    chance = float(torch.exp(-tail_of_ratio(torch.tensor(4.0), torch.tensor(20.0))))
    assert chance == pytest.approx((ratio > 4).mean(), rel=0.03)
    assert log_p_of_tail(torch.tensor(700.0).double(), 1000) == pytest.approx(np.log(1000) - 700)  # no underflow
    assert combine(np.log(np.array([[0.01], [0.5], [np.nan]])))[0] == pytest.approx(np.log(1 - 0.99**2))
    assert combine(np.full((3, 2), np.nan)).tolist() == [0, 0]
    assert combine(np.array([[-1000.0], [-1.0]]))[0] == pytest.approx(np.log(2) - 1000)
    assert np.exp(log_bayes_factor(np.log(np.array([0.05, 0.01, 0.9])))) == pytest.approx([2.456, 7.988, 1], rel=1e-3)
    assert BAND[0] < 1 / 3.9 < 1 / 3.44 < BAND[1]
