# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers that read features of local spectra: standardised, with a flag for each unknown feature."""

from __future__ import annotations

from typing import Dict, List

import torch
from torch import nn

_OUTLIER = 5.0  # standard deviations at which a feature is clipped


_BANDS = (31, 23)  # how many networks read before version 1.0, and now: those up to 0.31 Å⁻¹
_RINGS = (12, 7)  # the same
_SPOTS = 3  # scales of the spot test that a U-Net read before version 1.0; it no longer reads that in the middle


class SpectralBranch(nn.Module):
    """Transform the spectral features of each map cell separately."""

    def __init__(self, features: int, out: int) -> None:
        """Build the branch from ``features`` to ``out`` channels."""
        super().__init__()
        self.centre: torch.Tensor
        self.spread: torch.Tensor
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.layers = nn.Sequential(
            nn.Conv2d(2 * features, out, 1),
            nn.ReLU(),
            nn.Dropout2d(0.1),
            nn.Conv2d(out, out, 1),
            nn.ReLU(),
        )

    @torch.no_grad()
    def measure(self, values: torch.Tensor) -> None:
        """Set mean and standard deviation of each feature from training examples (n, features); NaN is ignored."""
        values = values.double()
        known = torch.isfinite(values)
        number = known.sum(dim=0).clamp(min=1)
        filled = values.nan_to_num(0.0)
        centre = filled.sum(dim=0) / number
        variance = ((filled - centre).square() * known).sum(dim=0) / number
        self.centre.copy_(centre)
        self.spread.copy_(variance.sqrt().clamp(min=1e-3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (n, out, rows, columns) of features (n, features, rows, columns), NaN where unknown."""
        known = torch.isfinite(features)
        centre, spread = self.centre[None, :, None, None], self.spread[None, :, None, None]
        standard = ((features - centre) / spread).clamp(-_OUTLIER, _OUTLIER).nan_to_num(0.0)
        made: torch.Tensor = self.layers(torch.cat([standard, known.to(standard.dtype)], dim=1))
        return made


def with_present_features(weights: Dict[str, torch.Tensor]) -> Dict[str, torch.Tensor]:
    """Return the weights of a network without the spectral features that only models before version 1.0 had.

    These were above 0.31 Å⁻¹, or of the spot test at 256 Å. They are now unknown everywhere.
    """
    centre = weights.get("spectral.centre")
    plain = 2 * (_BANDS[0] + _RINGS[0])
    if centre is None or len(centre) not in (plain, plain + _SPOTS):
        return weights
    had = 0
    kept: List[int] = []
    for number, left in (_BANDS, _BANDS, _RINGS, _RINGS):
        kept += range(had, had + left)
        had += number
    kept += (plain, plain + _SPOTS - 1) if len(centre) > plain else ()
    first = "spectral.layers.0.weight"
    columns = [*kept, *(len(centre) + index for index in kept)]  # the features, then whether each is known
    units = {name: weights[name][kept] for name in ("spectral.centre", "spectral.spread")}
    return {**weights, **units, first: weights[first][:, columns]}
