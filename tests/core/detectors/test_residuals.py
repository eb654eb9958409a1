# SPDX-License-Identifier: GPL-3.0-or-later
"""The residuals of a reconstruction against scikit-image and formulas."""

import numpy as np
import pytest
import torch
from skimage.filters import sobel_h, sobel_v
from skimage.metrics import structural_similarity

from cryoice_scipion.core.detectors import residuals


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    image = rng.normal(0.3, 1, (24, 30))
    return image, 0.6 * image + rng.normal(0, 0.3, image.shape)


def tensors(pair):
    return [torch.from_numpy(image)[None, None] for image in pair]


def test_ssim_is_that_of_scikit_image(pair):
    _, expected = structural_similarity(
        *pair, win_size=residuals.WINDOW, data_range=residuals.RANGE, use_sample_covariance=False, full=True
    )
    found = residuals.ssim(*tensors(pair))[0, 0].numpy()
    inner = (slice(residuals.REACH, -residuals.REACH),) * 2
    assert found.shape == expected.shape
    assert found[inner] == pytest.approx(expected[inner], abs=1e-9)


def test_gradients_are_those_of_scikit_image(pair):
    along, across = (found[0, 0].numpy()[1:-1, 1:-1] for found in residuals.gradients(tensors(pair)[0]))
    assert along == pytest.approx(sobel_h(pair[0])[1:-1, 1:-1], abs=1e-9)
    assert across == pytest.approx(sobel_v(pair[0])[1:-1, 1:-1], abs=1e-9)


def test_an_even_image_has_no_gradients_at_its_edges():
    for found in residuals.gradients(torch.full((1, 1, 5, 6), 3.0)):
        assert found.shape == (1, 1, 5, 6) and not found.any()


def test_charbonnier_is_the_difference_where_it_is_large_and_smooth_at_0():
    zero = torch.zeros(1, 1, 1, 3, requires_grad=True)
    found = residuals.charbonnier(torch.tensor([[[[0.0, 5.0, -5.0]]]]), zero)
    assert found.flatten().tolist() == pytest.approx([0.01, 5, 5], abs=1e-4)
    found.sum().backward()
    assert zero.grad.flatten().tolist() == pytest.approx([0, -1, 1], abs=1e-4)


def test_all_three_are_smallest_where_image_and_reconstruction_agree(pair):
    image, other = tensors(pair)
    found = residuals.residuals(image, torch.cat([image[..., :15], other[..., 15:]], dim=-1))[0]
    assert found.shape == (3, 24, 30)
    assert found[:, :, :10].amax(dim=(1, 2)).tolist() == pytest.approx([0.01, 0, 0.01], abs=1e-6)
    assert (found[:, :, 20:].mean(dim=(1, 2)) > 0.1).all()
