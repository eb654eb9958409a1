# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectral features: what a lattice fringe raises and noise does not, at any pixel size."""

import numpy as np
import pytest
import torch

from cryoice_scipion.core.views.spectrum import Spectra
from cryoice_scipion.core.views.spectrum_features import BANDS, FEATURES, feature_frequencies, named

SPOT = "spot 0.2645-0.2816"  # the ring that holds 3.67 Å


def noise(side, seed=0):
    return torch.randn(side, side, generator=torch.Generator().manual_seed(seed))


def fringe(side, sampling, spacing=3.67, angle=0.6):
    y, x = torch.meshgrid(*[torch.arange(side, dtype=torch.float64) * sampling] * 2, indexing="ij")
    return torch.cos(2 * torch.pi * (x * np.cos(angle) + y * np.sin(angle)) / spacing).float()


def filtered(image, sampling, gain):
    """The image times a gain that depends on spatial frequency (Å⁻¹)."""
    side = image.shape[0]
    frequency = torch.hypot(torch.fft.fftfreq(side, sampling)[:, None], torch.fft.rfftfreq(side, sampling)[None, :])
    return torch.fft.irfft2(torch.fft.rfft2(image) * gain(frequency), s=(side, side))


def vitreous(side, sampling, seed=0):
    """Noise with the diffuse ring of vitreous water near 3.7 Å, as strong as it gets."""
    return filtered(noise(side, seed), sampling, lambda k: 1 + torch.exp(-((k - 0.27) ** 2) / (2 * 0.03**2)))


def test_a_fringe_of_three_percent_raises_the_spot_of_its_ring():
    """At 40 e/Å² and 1 Å/px the noise is 16 % of the mean, so that 3 % contrast is 0.19 of it."""
    clean = Spectra(noise(512), 1.0).map()
    with_fringe = Spectra(noise(512) + 0.19 * fringe(512, 1.0), 1.0).map()
    at = FEATURES.index(SPOT)
    # In every single cell it stands far above what any cell of noise shows.
    assert with_fringe[at].min() > clean[at].max() + 1.0
    # The line of a 128 Å window is three steps of 1/128 Å⁻¹ wide and reaches into the rings beside; no further.
    spread = clean.flatten(1).std(dim=1)
    raised = (with_fringe - clean).flatten(1).median(dim=1).values
    far = [i for i, name in enumerate(FEATURES) if name.startswith(("spot", "variance")) and ".2" not in name]
    assert len(far) == 6
    assert (raised[far].abs() < spread[far]).all()


def test_the_ring_of_vitreous_water_raises_power_but_no_spot():
    clean, water = Spectra(noise(512), 1.0).map(), Spectra(vitreous(512, 1.0), 1.0).map()
    power = FEATURES.index("power 0.2725")
    assert water[power].min() > clean[power].max()
    for name in (SPOT, SPOT.replace("spot", "variance")):
        at = FEATURES.index(name)
        assert abs(float(water[at].mean() - clean[at].mean())) < 0.5 * float(clean[at].std())


def test_features_do_not_depend_on_the_pixel_size():
    """The same scene at 1.0 and 1.3 Å/px: white up to 0.37 Å⁻¹, a water ring, half of it crystalline."""
    vectors = []
    for sampling in (1.0, 1.3):
        side = round(1024 / sampling)
        image = vitreous(side, sampling, seed=3) / sampling  # noise of one density in Å², whatever the pixels
        image[:, : side // 2] += 0.2 * fringe(side, sampling)[:, : side // 2]
        image = filtered(image, sampling, lambda k: torch.exp(-10 * k**2)) * 5
        vectors.append(Spectra(image, sampling).map())
    known = feature_frequencies() < 0.36
    names = [name for name, kept in zip(FEATURES, known) if kept]
    for half in (slice(0, 7), slice(9, 16)):
        first, second = (vector[known][:, :, half].flatten(1).mean(dim=1) for vector in vectors)
        # The unit of power is the micrograph's own variance, which has more frequencies in it at 1 Å/px.
        number = sum(k < 0.36 for k in BANDS)
        offset = (first - second)[:number].median()
        first[:number] -= offset
        difference = (first - second).abs()
        # 3.67 Å is one frequency step from the edge of this ring: whether its line reaches in is a matter of rounding.
        difference[names.index("spot 0.245-0.2645")] = 0.0
        # A line between two frequencies of a window is up to 1.4 dB lower than one on a frequency (Hann; Harris 1978).
        assert difference.max() < 0.33
        assert difference.median() < 0.05


def test_what_lies_beyond_the_pixels_or_a_filter_is_unknown():
    fine, coarse = Spectra(noise(640), 1.0), Spectra(noise(320), 2.0)
    assert torch.isfinite(fine.map()).all()
    assert fine.sees_ice and not coarse.sees_ice
    unknown = ~torch.isfinite(coarse.map()).flatten(1).all(dim=1)
    assert torch.equal(unknown, feature_frequencies() > 0.98 * 0.25)
    low_passed = Spectra(filtered(noise(640), 1.0, lambda k: (k < 0.18).float()), 1.0)
    assert not low_passed.sees_ice
    seen = torch.isfinite(low_passed.map()).flatten(1).all(dim=1)
    assert bool((feature_frequencies()[seen] < 0.21).all()) and int(seen.sum()) > 20


@pytest.mark.parametrize("sampling", [1.0, 1.37, 3.0])
def test_a_place_at_a_cell_centre_has_the_features_of_the_cell(sampling):
    spectra = Spectra(noise(400), sampling)
    grid = spectra.map()
    cells = [(row, column) for row in (0, 2, grid.shape[1] - 1) for column in (0, 3, grid.shape[2] - 1)]
    centres = torch.tensor([[(c + 0.5) * 64 / sampling, (r + 0.5) * 64 / sampling] for r, c in cells])
    found = spectra.at(centres)
    expected = torch.stack([grid[:, r, c] for r, c in cells])
    assert torch.allclose(found, expected, atol=1e-4, equal_nan=True)


def test_crystalline_all_over_still_shows_in_absolute_features():
    everywhere = Spectra(noise(512) + 0.3 * fringe(512, 1.0), 1.0).at(torch.tensor([[300.0, 300.0]]))[0]
    nowhere = Spectra(noise(512), 1.0).at(torch.tensor([[300.0, 300.0]]))[0]
    assert abs(named(everywhere)["relative power 0.2725"]) < 0.3
    assert named(everywhere)[SPOT] > named(nowhere)[SPOT] + 1.0


def test_border_does_not_set_the_unit():
    image = noise(640)
    inside = torch.ones(640, 640, dtype=torch.bool)
    inside[:, :200] = False
    bordered = image.clone()
    bordered[:, :200] = 500.0
    plain, with_border = Spectra(image, 1.0).map(), Spectra(bordered, 1.0, inside).map()
    assert (plain - with_border)[:, :, 6:].abs().max() < 0.3
