# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest

from cryoice_scipion.core.simulation import optics
from cryoice_scipion.core.simulation.config import SceneConfig
from cryoice_scipion.core.simulation.scene import render


def radial_power(image, sampling, bins):
    power = np.abs(np.fft.rfft2(image - image.mean())) ** 2
    ky = np.fft.fftfreq(image.shape[0], sampling)[:, None]
    kx = np.fft.rfftfreq(image.shape[1], sampling)[None, :]
    index = np.digitize(np.hypot(ky, kx).ravel(), bins)
    total = np.bincount(index, power.ravel(), len(bins) + 1)
    return (total / np.maximum(np.bincount(index, minlength=len(bins) + 1), 1))[1:-1]


def test_constants_are_those_of_the_textbooks():
    assert optics.wavelength(300_000) == pytest.approx(0.019687, rel=1e-4)
    assert optics.wavelength(200_000) == pytest.approx(0.025079, rel=1e-4)
    assert optics.interaction_constant(300_000) == pytest.approx(6.526e-4, rel=1e-3)
    assert optics.interaction_constant(200_000) == pytest.approx(7.288e-4, rel=1e-3)


def test_nothing_in_the_beam_gives_intensity_one():
    image = optics.image_wave(np.ones((64, 96), np.complex64), 1.0, optics.Optics())
    np.testing.assert_allclose(image, 1, atol=1e-4)


def test_an_underfocused_phase_object_is_dark():
    y, x = np.mgrid[-64:64, -64:64] * 2.0
    phase = 0.2 * np.exp(-(y**2 + x**2) / (2 * 30**2))
    wave = np.exp(1j * phase).astype(np.complex64)
    assert optics.image_wave(wave.copy(), 2.0, optics.Optics(defocus=20_000))[64, 64] < 0.98
    assert optics.image_wave(wave.copy(), 2.0, optics.Optics(defocus=-20_000))[64, 64] > 1.02


@pytest.mark.parametrize("defocus_um", [0.8, 1.6])
def test_thon_rings_of_a_rendered_film_vanish_where_theory_says(defocus_um):
    config = SceneConfig(
        rows=1024, columns=1024, pixel_size=1.0, defocus_um=defocus_um, astigmatism=0, drift=0, b_factor=0,
        coverage=0, substrate=60, thickness=20, thickness_variation=0, amplitude_contrast=0.1,
    )  # fmt: skip
    image = render(config, np.random.default_rng(1)).intensity
    bins = np.arange(0.02, 0.30, 0.001)
    power = radial_power(image, 1.0, bins)
    middle = (bins[1:] + bins[:-1]) / 2
    lam, k = optics.wavelength(300_000), np.linspace(0.02, 0.3, 20_000)
    argument = np.pi * lam * defocus_um * 1e4 * k**2 - 0.5 * np.pi * 2.7e7 * lam**3 * k**4 + np.arcsin(0.1)
    zeros = k[1:][np.diff(np.sign(np.sin(argument))) != 0]
    gaps = np.diff(zeros).min()
    checked = zeros[(zeros > 0.05) & (zeros < 0.2)]
    assert len(checked) >= 3
    for zero in checked:
        near = np.abs(middle - zero) < min(0.4 * gaps, 0.006)
        found = middle[near][np.argmin(power[near])]
        assert abs(found - zero) < 0.0021
        assert power[near].min() < 0.15 * power[np.abs(middle - zero) < 0.02].max()


def test_astigmatism_is_largest_along_its_angle():
    microscope = optics.Optics(cs=0, defocus=10_000, astigmatism=500, astigmatism_angle=np.pi / 2)
    k = np.array([[0.1]], np.float32)
    zero = np.zeros((1, 1), np.float32)
    along_y, along_x = optics.aberration(microscope, k, zero), optics.aberration(microscope, zero, k)
    expected = -np.pi * optics.wavelength(300_000) * 0.01
    assert along_y.item() == pytest.approx(expected * 10_500, rel=1e-4)
    assert along_x.item() == pytest.approx(expected * 9_500, rel=1e-4)


def test_cropping_a_spectrum_keeps_slow_waves_and_the_mean():
    wave = lambda n: 3 + np.cos(2 * np.pi * 5 * np.arange(n) / n)[None, :] * np.ones((n, 1))  # noqa: E731
    small = optics.crop_spectrum(np.fft.rfft2(wave(96)).astype(np.complex64), (96, 96), (64, 64))
    np.testing.assert_allclose(np.fft.irfft2(small, (64, 64)), wave(64), atol=1e-4)


def test_drift_blurs_along_its_direction_only():
    microscope = optics.Optics(b_factor=0, drift=1.0, drift_angle=0.0)
    k, zero = np.array([[0.2]], np.float32), np.zeros((1, 1), np.float32)
    assert optics.motion_envelope(microscope, zero, k).item() < 0.6
    assert optics.motion_envelope(microscope, k, zero).item() == pytest.approx(1)
