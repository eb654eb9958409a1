# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare an image with its reconstruction by an autoencoder, pixel by pixel. Pure tensor functions.

Charbonnier et al. (1994), ICIP: differences. Wang et al. (2004), IEEE Trans. Image Process. 13:600: structural
similarity (SSIM). Sobel (1968): edges. All images are (n, channels, rows, columns) in units of the standard deviation
of clean micrographs.
"""

from __future__ import annotations

from typing import Tuple

import torch
from torch.nn import functional

WINDOW = 7  # px of SSIM
REACH = WINDOW // 2  # px around a pixel that its residual depends on
RANGE = 6.0  # of the values, for SSIM: three standard deviations to either side
_SMOOTH = 1e-2  # standard deviations: smaller differences count as their square
_C1, _C2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2  # constants of Wang et al.


def residuals(image: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
    """Return the three residuals of each pixel, shape (n, 3, rows, columns): Charbonnier, SSIM, Sobel.

    Each is 0 or nearly 0 where image and reconstruction agree, and is averaged over the channels.
    """
    terms = (charbonnier(image, reconstruction), 1 - ssim(image, reconstruction), edges(image, reconstruction))
    return torch.stack([term.mean(dim=1) for term in terms], dim=1)


def charbonnier(image: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
    """Return the root of the squared difference plus a small constant."""
    return ((image - reconstruction).square() + _SMOOTH**2).sqrt()


def ssim(image: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
    """Return the structural similarity in the ``WINDOW`` px around each pixel: 1 where both agree."""
    mean, other = _mean(image), _mean(reconstruction)
    variance, other_variance = _mean(image.square()) - mean.square(), _mean(reconstruction.square()) - other.square()
    covariance = _mean(image * reconstruction) - mean * other
    similar = (2 * mean * other + _C1) * (2 * covariance + _C2)
    return similar / ((mean.square() + other.square() + _C1) * (variance + other_variance + _C2))


def edges(image: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
    """Return the Charbonnier difference of the Sobel gradients, the mean of both directions."""
    pairs = zip(gradients(image), gradients(reconstruction))
    return torch.stack([charbonnier(one, other) for one, other in pairs]).mean(dim=0)


def gradients(image: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return the Sobel gradients along rows (downwards) and columns (to the right)."""
    across = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    smooth_x = (across[..., :-2] + 2 * across[..., 1:-1] + across[..., 2:]) / 4
    smooth_y = (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 4
    return smooth_x[..., 2:, :] - smooth_x[..., :-2, :], smooth_y[..., 2:] - smooth_y[..., :-2]


def _mean(image: torch.Tensor) -> torch.Tensor:
    """Return the mean of the window around each pixel; the image is mirrored at its edges."""
    padded = functional.pad(image, (REACH,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, WINDOW, stride=1)
