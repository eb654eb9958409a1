# SPDX-License-Identifier: GPL-3.0-or-later
"""Amorphous matter: vitreous water and carbon, as power spectra of the phase they give to the wave."""

from __future__ import annotations

import numpy as np

from cryoice_scipion.core.simulation.optics import Array

#: Mean inner potentials, V: vitreous ice (Harscher and Lichte 1998 measured 3.5 to 4.7), amorphous
#: carbon (Wanner et al. 2006: 7.8 to 10.7), gold (Ji et al. 2003: 21 to 30).
ICE_POTENTIAL = 4.5
CARBON_POTENTIAL = 7.8
GOLD_POTENTIAL = 25.0
#: Protein (7.3 V) above the ice that it displaces.
PROTEIN_EXCESS = 2.8
#: Mean free path of all scattering that removes electrons from the image at 300 kV, Å
#: (Rice et al. 2018: about 3000 to 3900 with apertures of 100 to 70 µm); carbon, from its density.
ICE_MEAN_FREE_PATH = 3300.0
CARBON_MEAN_FREE_PATH = 1900.0
#: Molecules of water (0.94 g/cm³) and atoms of carbon (1.8 g/cm³) in an Å³.
WATER_DENSITY = 0.0314
CARBON_DENSITY = 0.0903
#: Mean square displacement of water under the beam, Å² for 1 e/Å² (McMullan et al. 2015: about 1).
WATER_DIFFUSION = 1.0


def mean_free_path(at_300_kv: float, voltage: float) -> float:
    """Return a mean free path in Å at another voltage: it goes with the squared speed (Bethe)."""
    beta2 = 1 - 1 / (1 + voltage / 510_998.95) ** 2
    return at_300_kv * beta2 / 0.6030


def _peak(k: Array, centre: float, width: float) -> Array:
    return np.asarray(np.exp(-0.5 * ((k - centre) / width) ** 2))


def water_structure_factor(k: Array) -> Array:
    """Return S(k) of vitreous water: 0.06 at 0 (compressibility), maxima at 1/3.7 and 1/2.15 Å⁻¹, 1 far out."""
    rise = 1 / (1 + np.exp(-(k - 0.26) / 0.03))
    return np.asarray(0.06 + 0.94 * rise + 1.2 * _peak(k, 1 / 3.7, 0.022) + 0.5 * _peak(k, 1 / 2.15, 0.04))


def water_spectrum(k: Array, thickness: float, dose: float, sigma: float) -> Array:
    """Return the power spectral density of the phase of vitreous ice, rad² Å².

    Molecules scatter independently but for their structure factor: t ρ a² F(k)² S(k), with a the
    phase integral of one molecule. Motion under the beam averages N_eff = 1 + 2π² k² u² D patterns
    (McMullan et al. 2015).

    Parameters
    ----------
    k : ndarray
        1/Å.
    thickness : float
        Å.
    dose : float
        e/Å², D above.
    sigma : float
        Interaction constant, rad/(V Å).
    """
    molecule = sigma * ICE_POTENTIAL / WATER_DENSITY
    form = 1 / (1 + (k / 0.30) ** 2)  # of water, falls to half near 1/3.4 Å⁻¹
    averaged = 1 + 2 * np.pi**2 * k**2 * WATER_DIFFUSION * dose
    power = thickness * WATER_DENSITY * (molecule * form) ** 2 * water_structure_factor(k)
    return np.asarray(power / averaged)


def carbon_spectrum(k: Array, thickness: float, sigma: float) -> Array:
    """Return the power spectral density of the phase of amorphous carbon, rad² Å²; it does not move."""
    atom = sigma * CARBON_POTENTIAL / CARBON_DENSITY
    form = 1 / (1 + (k / 0.45) ** 2)
    structure = 0.35 + 0.65 / (1 + np.exp(-(k - 0.4) / 0.05)) + 0.6 * _peak(k, 1 / 2.1, 0.05)
    return np.asarray(thickness * CARBON_DENSITY * (atom * form) ** 2 * structure)
