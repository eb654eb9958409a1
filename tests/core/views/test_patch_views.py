# SPDX-License-Identifier: GPL-3.0-or-later
"""The two views of the seed method."""

import numpy as np
import torch
from scipy import ndimage

from cryoice_scipion.core.views.patch_spectrum import local_view
from cryoice_scipion.core.views.patches import cut, fft_view, full_plane, grid_shape, normalise, pad_for_grid, windows


def test_spectrum_is_that_of_numpy():
    patch = np.random.default_rng(0).normal(size=(64, 64))
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(64) / 64)
    taper = np.outer(taper, taper)
    power = np.abs(np.fft.fftshift(np.fft.fft2((patch - patch.mean()) * taper))) ** 2 / (taper**2).sum()
    plane = full_plane(fft_view(torch.from_numpy(patch)[None]))[0].numpy()
    assert plane.shape == (64, 64)
    assert np.allclose(plane, np.log(power + 1e-3), atol=1e-8)


def test_white_noise_has_unit_power():
    noise = torch.randn(400, 64, 64, generator=torch.Generator().manual_seed(0))
    power = torch.exp(fft_view(noise)) - 1e-3
    assert abs(float(power[:, :, 1:-1].mean()) - 1.0) < 0.02


def test_fringes_make_two_spots_at_their_frequency():
    x = torch.arange(64.0)
    patch = torch.cos(2 * torch.pi * 12 * x / 64)[None, :].expand(64, 64)
    plane = full_plane(fft_view(patch[None]))[0]
    spots = {tuple(int(i) for i in divmod(int(k), 64)) for k in plane.flatten().topk(2).indices}
    assert spots == {(32, 32 + 12), (32, 32 - 12)}


def test_spectrum_ignores_the_grey_level():
    patch = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(fft_view(patch), fft_view(patch + 50.0), atol=1e-2)


def test_window_is_centred_on_its_cell():
    view = torch.zeros(200, 310)
    view[5 * 16 + 8, 9 * 16 + 8] = 1.0
    rows, columns = grid_shape((200, 310), 16)
    assert (rows, columns) == (13, 20)
    padded = pad_for_grid(view, 64, 16)
    patch = windows(padded, 64, 16, 5, 1)[9]
    assert patch[32, 32] == 1.0
    assert len(windows(padded, 64, 16, 0, rows)) == rows * columns


def test_cutting_at_a_cell_centre_gives_the_window_of_that_cell():
    view = torch.randn(160, 128, generator=torch.Generator().manual_seed(0))
    window = windows(pad_for_grid(view, 64, 16), 64, 16, 4, 1)[3]
    assert torch.equal(cut(view, torch.tensor([[3 * 16 + 8.0, 4 * 16 + 8.0]]), 64)[0], window)


def test_cutting_outside_mirrors_and_does_not_fail():
    view = torch.randn(40, 40)
    patches = cut(view, torch.tensor([[0.0, 0.0], [39.9, 39.9], [-50.0, 90.0]]), 64)
    assert patches.shape == (3, 64, 64)
    assert torch.isfinite(patches).all()


def test_normalisation_is_robust_and_leaves_the_border_out():
    generator = torch.Generator().manual_seed(0)
    image = 100.0 + 7.0 * torch.randn(300, 300, generator=generator)
    image[:60] = 1e6
    inside = torch.ones(300, 300, dtype=torch.bool)
    inside[:60] = False
    scaled = normalise(image, inside)
    assert abs(float(scaled[60:].mean())) < 0.02
    assert abs(float(scaled[60:].std()) - 1.0) < 0.02
    assert torch.equal(normalise(image, inside, inverted=True), -scaled)


def test_the_local_view_is_normalised_by_a_square_of_65_px():
    view = torch.randn(150, 180, generator=torch.Generator().manual_seed(3)) + torch.linspace(0.0, 4.0, 180)
    padded = np.pad(view.numpy().astype(np.float64), 32, mode="reflect")
    mean, square = (ndimage.uniform_filter(values, 65)[32:-32, 32:-32] for values in (padded, padded**2))
    wanted = (view.numpy() - mean) / np.sqrt(square - mean**2 + 1e-3)
    np.testing.assert_allclose(local_view(view).numpy(), wanted, atol=1e-4)
