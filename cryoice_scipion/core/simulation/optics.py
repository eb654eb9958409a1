# SPDX-License-Identifier: GPL-3.0-or-later
"""The electron microscope: from the wave that leaves the specimen to the intensity on the detector."""

from __future__ import annotations

import dataclasses
from typing import Any, Tuple

import numpy as np
import numpy.typing as npt
from scipy import fft

Array = npt.NDArray[Any]

#: Threads of every transform. Results do not depend on it.
WORKERS = 2

# CODATA 2018: electron rest energy, eV.
REST_ENERGY = 510_998.95
# h c in eV Å (CODATA 2018).
HC = 12_398.419843


def wavelength(voltage: float) -> float:
    """Return the relativistic electron wavelength in Å for a voltage in V (0.0197 at 300 kV)."""
    return HC / float(np.sqrt(voltage * (2 * REST_ENERGY + voltage)))


def interaction_constant(voltage: float) -> float:
    """Return the phase per projected potential, rad/(V Å); Kirkland, Advanced Computing in EM, eq. 2.36."""
    relativistic = (REST_ENERGY + voltage) / (2 * REST_ENERGY + voltage)
    return 2 * np.pi / (wavelength(voltage) * voltage) * relativistic


@dataclasses.dataclass
class Optics:
    """Imaging parameters of the microscope."""

    voltage: float = 300_000.0  # V
    cs: float = 2.7e7  # Å, spherical aberration
    defocus: float = 15_000.0  # Å, underfocus is positive
    astigmatism: float = 0.0  # Å, half the difference between the two principal defoci
    astigmatism_angle: float = 0.0  # rad
    focal_spread: float = 40.0  # Å, standard deviation: Cc 2.7 mm, dE/E of a field emission gun
    b_factor: float = 80.0  # Å², of the intensity: exp(-B k²/4)
    drift: float = 0.0  # Å, standard deviation of the position during the exposure
    drift_angle: float = 0.0  # rad


def frequencies(shape: Tuple[int, int], sampling: float, real: bool) -> Tuple[Array, Array]:
    """Return ky (rows, 1) and kx (1, columns) in 1/Å, of a real or a full transform."""
    ky = fft.fftfreq(shape[0], sampling).astype(np.float32)
    kx = (fft.rfftfreq if real else fft.fftfreq)(shape[1], sampling).astype(np.float32)
    return ky[:, None], kx[None, :]


def aberration(optics: Optics, ky: Array, kx: Array) -> Array:
    """Return chi(k) = -π λ Δf k² + π/2 Cs λ³ k⁴ in rad, with astigmatism (Rohou and Grigorieff 2015).

    The defocus part is a quadratic form of kx and ky, so that no angle has to be computed.
    """
    lam = wavelength(optics.voltage)
    c, s = np.cos(2 * optics.astigmatism_angle), np.sin(2 * optics.astigmatism_angle)
    along_x = optics.defocus + optics.astigmatism * c
    along_y = optics.defocus - optics.astigmatism * c
    mixed = 2 * optics.astigmatism * s
    k2 = kx * kx + ky * ky
    form = np.float32(along_x) * kx * kx + np.float32(along_y) * ky * ky + np.float32(mixed) * kx * ky
    chi = np.float32(-np.pi * lam) * form
    chi += np.float32(0.5 * np.pi * optics.cs * lam**3) * k2 * k2
    return np.asarray(chi, dtype=np.float32)


def image_wave(wave: Array, sampling: float, optics: Optics) -> Array:
    """Return the intensity |IFT[FT(ψ) exp(-iχ) E]|² of an exit wave: all orders, not only the linear one.

    Parameters
    ----------
    wave : ndarray, complex64, (rows, columns)
        The exit wave; it is overwritten.
    sampling : float
        Å/px.
    optics : Optics
        The microscope.

    Returns
    -------
    ndarray, float32, (rows, columns)
        Intensity, 1 without a specimen.
    """
    ky, kx = frequencies((wave.shape[0], wave.shape[1]), sampling, real=False)
    spectrum = fft.fft2(wave, workers=WORKERS, overwrite_x=True)
    chi = aberration(optics, ky, kx)
    transfer = np.empty(chi.shape, np.complex64)
    np.cos(chi, out=transfer.real)
    np.sin(-chi, out=transfer.imag)
    spectrum *= transfer
    # Temporal coherence (Frank 1973): exp(-(π λ Δ k²)²/2).
    spread = np.float32(np.pi * wavelength(optics.voltage) * optics.focal_spread)
    k2 = kx * kx + ky * ky
    spectrum *= np.exp(np.float32(-0.5) * (spread * k2) ** 2)
    wave = fft.ifft2(spectrum, workers=WORKERS, overwrite_x=True)
    return np.asarray(wave.real**2 + wave.imag**2, dtype=np.float32)


def motion_envelope(optics: Optics, ky: Array, kx: Array) -> Array:
    """Return what motion leaves of the intensity's spectrum: B factor and drift along one direction."""
    along = np.float32(np.sin(optics.drift_angle)) * ky + np.float32(np.cos(optics.drift_angle)) * kx
    exponent = np.float32(optics.b_factor / 4) * (kx * kx + ky * ky)
    exponent += np.float32(2 * np.pi**2 * optics.drift**2) * along * along
    return np.asarray(np.exp(-exponent), dtype=np.float32)


def crop_spectrum(spectrum: Array, shape: Tuple[int, int], new_shape: Tuple[int, int]) -> Array:
    """Return the low frequencies of a real transform of an image of ``shape``, scaled for ``new_shape``.

    Both shapes must be even; the Nyquist rows of the smaller one are set to 0.
    """
    if shape == new_shape:
        return spectrum
    rows, columns = new_shape
    half, width = rows // 2, columns // 2 + 1
    result = np.empty((rows, width), spectrum.dtype)
    result[:half] = spectrum[:half, :width]
    result[half:] = spectrum[-half:, :width]
    result[half] = 0
    result[:, -1] = 0
    result *= np.float32(rows * columns / (shape[0] * shape[1]))
    return result
