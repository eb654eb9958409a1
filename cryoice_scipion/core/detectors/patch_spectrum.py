# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind ``patch_spectrum``: the image at 4 and 16 Å/px, and power spectra at the micrograph's own sampling.

Each branch is a map on the same grid of 64 Å cells. The convolutional branches have unpadded convolutions whose strides
multiply to the cell and whose receptive field is the patch. The spectral branch works cell by cell. The map of a whole
micrograph therefore equals the result patch by patch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import nn

from cryoice_scipion.core.config import ModelConfig, TrainConfig, ViewConfig
from cryoice_scipion.core.detectors.choice import selected_views
from cryoice_scipion.core.detectors.network_detector import (
    NO_FFT,
    Network,
    NetworkDetector,
    SeenMicrograph,
    load_network,
)
from cryoice_scipion.core.detectors.patch_fft import fft_rows, fourier_branch, real_branch
from cryoice_scipion.core.detectors.spectral_branch import SpectralBranch
from cryoice_scipion.core.errors import PixelSizeError
from cryoice_scipion.core.views.micrograph import Flags, spectra_of
from cryoice_scipion.core.views.patch_spectrum import COARSE, STRIDE, WINDOW, MicrographViews
from cryoice_scipion.core.views.patches import fft_view
from cryoice_scipion.core.views.spectrum import Spectra
from cryoice_scipion.core.views.spectrum_features import FEATURES
from cryoice_scipion.core.views.windows import COARSEST, FINEST

VIEWS = ("patch", "local", "spectrum")
_ORDER = ["patch", "local", "coarse", "fft", "spectrum"]
# What "patch" and "fft" mean to this network. "coarse" is left out: on simulated micrographs it gained nothing that
# held on other ones.
_MEANING = {"patch": ["patch", "local"], "fft": ["spectrum"]}
_SPECTRUM = 256.0  # Å, side of the area that a spectrum is taken from
# kernel, stride, width factor of the coarse branch; window 64 -> 31 -> 29 -> 14 -> 12 -> 8 -> 4 -> 1
_COARSE = ((4, 2, 0.5), (3, 1, 1), (3, 2, 1), (3, 1, 1.5), (5, 1, 1.5), (5, 1, 2), (4, 1, 2))


class PatchSpectrumNet(Network):
    """Classify patches by several views, one by one or as a map."""

    stride = STRIDE

    def __init__(self, classes: int, views: Sequence[str] = VIEWS, width: int = 16) -> None:
        """Build the network.

        Parameters
        ----------
        classes : int
            Number of classes; the first is good.
        views : sequence of str
            Of "patch", "local", "coarse", "spectrum", and "fft" (of the patch, as in the patch + FFT network).
        width : int
            Channels of the first layer; the others are multiples of it.
        """
        super().__init__()
        self.views = tuple(views)
        self.context = [name for name in ("patch", "local") if name in self.views]
        joined = 0
        if self.context:
            self.real = real_branch(width, len(self.context))
            joined += 8 * width
        if "fft" in self.views:
            self.fourier = fourier_branch(width)
            joined += 6 * width
        if "coarse" in self.views:
            self.wide = _coarse_branch(width)
            joined += 2 * width
        if "spectrum" in self.views:
            self.spectral = SpectralBranch(len(FEATURES), 4 * width)
            joined += 4 * width
        self.head = nn.Sequential(
            nn.Conv2d(joined, 4 * width, 1), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(4 * width, classes, 1)
        )

    def measure(self, views: Mapping[str, torch.Tensor], rows: Union[slice, torch.Tensor] = slice(None)) -> None:
        """Set the unit of each spectral feature from training examples."""
        if "spectrum" in self.views:
            self.spectral.measure(views["spectrum"][rows])

    def forward(self, batch: Dict[str, torch.Tensor]) -> torch.Tensor:
        """Return logits (n, classes) of views by kind: (n, 64, 64), coarse (n, 2, 64, 64), spectrum (n, features)."""
        parts = []
        if self.context:
            parts.append(self.real(torch.stack([batch[name] for name in self.context], dim=1)))
        if "fft" in self.views:
            parts.append(self.fourier(fft_view(batch["patch"])[:, None]))
        if "coarse" in self.views:
            parts.append(self.wide(batch["coarse"]))
        if "spectrum" in self.views:
            parts.append(self.spectral(batch["spectrum"][:, :, None, None]))
        logits: torch.Tensor = self.head(torch.cat(parts, dim=1))
        return logits[:, :, 0, 0]

    def classify_micrograph(self, seen: SeenMicrograph, views: Sequence[ViewConfig]) -> Tuple[torch.Tensor, Flags]:
        """Return logits of a whole micrograph; the flag ``no_fft`` if it shows no ice ring.

        Raises
        ------
        PixelSizeError
            When it shows none, and the model was not trained to do without.
        """
        spectra, flags = _spectra(seen, views)
        return self.map(MicrographViews(seen.scaled, spectra).padded(), seen.shape), flags

    def map(self, padded: Dict[str, torch.Tensor], shape: Tuple[int, int], strip: int = 16) -> torch.Tensor:
        """Return logits (classes, rows, columns) of a whole micrograph, equal to :meth:`forward` of each cell.

        Parameters
        ----------
        padded : dict
            ``MicrographViews.padded``.
        shape : tuple
            (rows, columns) of the grid.
        strip : int
            Grid rows that are processed at once; this bounds the memory.
        """
        strips = [self._strip(padded, row, min(strip, shape[0] - row), shape) for row in range(0, shape[0], strip)]
        return torch.cat(strips, dim=1)

    def _strip(self, padded: Dict[str, torch.Tensor], row: int, number: int, shape: Tuple[int, int]) -> torch.Tensor:
        parts = []
        if self.context:
            lines = slice(row * STRIDE, (row + number - 1) * STRIDE + WINDOW)
            view = torch.stack([padded[name][lines] for name in self.context])[None]
            # channels last is twice as fast on a CPU for this branch (benchmarks/bench_map.py)
            parts.append(self.real(view.contiguous(memory_format=torch.channels_last)))
        if "fft" in self.views:
            parts.append(fft_rows(self.fourier, padded["patch"], row, number))
        if "coarse" in self.views:
            step = STRIDE // COARSE
            parts.append(self.wide(padded["coarse"][None, :, row * step : (row + number - 1) * step + WINDOW]))
        if "spectrum" in self.views:
            rows = padded["spectrum"][None, :, row : row + number, : shape[1]]
            parts.append(self.spectral(rows))
        logits: torch.Tensor = self.head(torch.cat(parts, dim=1))
        return logits[0]


def _coarse_branch(width: int) -> nn.Sequential:
    layers = []
    channels = 2
    for kernel, stride, factor in _COARSE:
        out = max(1, int(factor * width))
        layers += [nn.Conv2d(channels, out, kernel, stride, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        channels = out
    return nn.Sequential(*layers)


def _spectra(seen: SeenMicrograph, views: Sequence[ViewConfig]) -> Tuple[Optional[Spectra], Flags]:
    """Return the spectra if the model takes any, and the flags of the record."""
    view = next((view for view in views if view.kind == "spectrum"), None)
    if view is None:
        return None, {}
    spectra = spectra_of(seen.image, seen.shape)
    if view.required and not bool(spectra.sees_ice):  # the host has to wait for the device here
        raise PixelSizeError(
            f"pixel size {seen.image.pixel_size:.3g} Å/px",
            f"the 3.67 Å ring of ice, which this model needs, is not in the micrograph (limit {COARSEST} Å/px)",
            "use less binned and unfiltered micrographs, or a model trained to do without spectra",
        )
    return spectra, {NO_FFT: ~spectra.sees_ice}


def load(folder: Path, config: ModelConfig, device: str) -> NetworkDetector:
    """Load a trained patch + spectrum network as a detector."""
    return load_network(build, folder, config, device)


def build(classes: int, views: Sequence[str], options: Mapping[str, int]) -> PatchSpectrumNet:
    """Return an untrained patch + spectrum network."""
    return PatchSpectrumNet(classes, views, **options)


def views_for(config: TrainConfig, base: Optional[ModelConfig], sampling: float) -> List[ViewConfig]:
    """Return the views that a training takes.

    "patch" and "fft" alone stand for the views of the image and for the spectra. Other lists are taken as they are. A
    training that starts from a model and asks for both keeps that model's views.
    """
    asked = set(config.views)
    if asked == set(_MEANING) and base is not None:
        named = [view.kind for view in base.views]
    elif asked and asked <= set(_MEANING):
        named = [view for name in _MEANING if name in asked for view in _MEANING[name]]
    else:
        named = selected_views(config, "patch + spectrum", _ORDER)
    required = config.augment.spectrum_dropout == 0
    return [_view_config(name, sampling, required) for name in named]


def _view_config(name: str, sampling: float, spectrum_required: bool) -> ViewConfig:
    if name == "spectrum":
        return ViewConfig(kind=name, sampling=FINEST, window=round(_SPECTRUM / FINEST), required=spectrum_required)
    return ViewConfig(kind=name, sampling=sampling * (COARSE if name == "coarse" else 1), window=WINDOW)
