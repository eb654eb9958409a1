# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the views of the patch + spectrum network: as maps of a micrograph, or around positions; both agree.

- "patch": 64 px at 4 Å/px, by the micrograph's median and deviation (keeps thick ice dark);
- "local": the same pixels by the mean and deviation of the 260 Å around each (finds texture at any grey level);
- "coarse": 64 px at 16 Å/px, the wider surroundings: mean and log deviation of 4 × 4 px;
- "spectrum": features of the power spectrum of 256 Å at the micrograph's own sampling (``views/spectrum.py``).
"""

from __future__ import annotations

from typing import Dict, Optional

import torch
from torch.nn import functional

from cryoice_scipion.core.views.patches import CLIP, cut, mirror, pad_for_grid
from cryoice_scipion.core.views.spectrum import Spectra

WINDOW, STRIDE = 64, 16  # px of the context view: 256 Å, and a map cell of 64 Å
COARSE = 4  # px of the context view to one of the coarse view
BOX = 65  # px of the context view: side of the square that normalises "local"; a power of 2, and 1
_FLOOR = 1e-3  # variance, of the micrograph's


class MicrographViews:
    """The views of one micrograph that a patch + spectrum network takes.

    Parameters
    ----------
    scaled : torch.Tensor, shape (rows, columns)
        The context view, normalised by the micrograph.
    spectra : Spectra, optional
        None: no spectrum can be, or need be, made.
    """

    def __init__(self, scaled: torch.Tensor, spectra: Optional[Spectra] = None) -> None:
        self.scaled = scaled
        self.local = local_view(scaled)
        self.spectra = spectra

    def cut(self, centres: torch.Tensor, native: torch.Tensor) -> Dict[str, torch.Tensor]:
        """Return the views around positions, by name.

        Parameters
        ----------
        centres, native : torch.Tensor, shape (n, 2)
            x, y of the positions, in px of the context view and of the spectra's view.
        """
        wide = COARSE * WINDOW
        parts = {
            "patch": cut(self.scaled, centres, WINDOW),
            "local": cut(self.local, centres, WINDOW),
            "coarse": torch.cat([coarse_view(cut(self.scaled, some, wide)) for some in torch.split(centres, 256)]),
        }
        if self.spectra is not None:
            parts["spectrum"] = self.spectra.at(native)
        return parts

    def padded(self) -> Dict[str, torch.Tensor]:
        """Return the whole views, padded so that the windows of every map cell can be taken from them."""
        wide = pad_for_grid(self.scaled, COARSE * WINDOW, STRIDE)
        parts = {
            "patch": pad_for_grid(self.scaled, WINDOW, STRIDE),
            "local": pad_for_grid(self.local, WINDOW, STRIDE),
            "coarse": coarse_view(wide[None])[0],
        }
        if self.spectra is not None:
            parts["spectrum"] = self.spectra.map()
        return parts


def local_view(scaled: torch.Tensor) -> torch.Tensor:
    """Return (view - local mean) / local deviation, clipped: in a square of 65 px around each pixel.

    Computed once for a whole micrograph and not patch by patch, so that patches cut from it and the map agree.
    """
    mean, square = (_box(values) for values in (scaled, scaled.square()))
    deviation = square.sub_(mean.square()).clamp_(min=0.0).add_(_FLOOR).sqrt_()
    return (scaled - mean).div_(deviation).clamp_(-CLIP, CLIP)


def coarse_view(fields: torch.Tensor) -> torch.Tensor:
    """Return mean and log deviation of 4 × 4 px, shape (n, 2, rows / 4, columns / 4), of (n, rows, columns)."""
    mean = functional.avg_pool2d(fields[:, None], COARSE)
    square = functional.avg_pool2d(fields[:, None].square(), COARSE)
    variance = (square - mean.square()).clamp(min=0.0) + _FLOOR
    return torch.cat([mean, 0.5 * torch.log(variance)], dim=1)


def _box(values: torch.Tensor) -> torch.Tensor:
    """Return the mean over a square of 65 px around each pixel, mirrored at the edges."""
    half = BOX // 2
    return _sums(_sums(mirror(values, (half, half, half, half)), 0), 1).mul_(1.0 / BOX**2)


def _sums(values: torch.Tensor, axis: int) -> torch.Tensor:
    """Return the sums of 65 neighbours along an axis: of 2, of 4 and so on to 64, and of one more."""
    total, width = values, 1
    while width < BOX - 1:
        number = int(total.shape[axis]) - width
        total = total.narrow(axis, 0, number) + total.narrow(axis, width, number)
        width *= 2
    number = int(total.shape[axis]) - 1
    return total.narrow(axis, 0, number) + values.narrow(axis, width, number)
