# SPDX-License-Identifier: GPL-3.0-or-later
"""Cut and augment random crops of whole labelled micrographs, for the training of the U-Net."""

from __future__ import annotations

import dataclasses
import math
from typing import Dict, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from cryoice_scipion.constants import BORDER, CLASSES, GOOD
from cryoice_scipion.core.config import AugmentConfig
from cryoice_scipion.core.detectors.unet import MULTIPLE, SAMPLING, SPECTRAL
from cryoice_scipion.core.evaluation.labels import LEFT_OUT
from cryoice_scipion.core.training.patches.augment import CUTS, NOTHING_LEFT
from cryoice_scipion.core.training.unet.training_micrographs import TrainingMicrograph
from cryoice_scipion.core.views.micrograph import spectral_frequencies
from cryoice_scipion.core.views.outlier_features import CELL, relative_statistics
from cryoice_scipion.core.views.patch_spectrum import BOX, local_view
from cryoice_scipion.core.views.patches import normalise
from cryoice_scipion.core.views.spectrum_features import BANDS, dropped

_MARGIN = BOX // 2  # px around a crop, for the local mean and deviation at its edges
_LARGEST = 768  # px, side of a crop: 3000 Å, as far as the network sees
_SPREAD = 0.1  # standard deviation added to spectral features, natural logarithms
_FILTERED = 0.3  # standard deviation of the curve that imitates other detectors and filters
_BLURRED = 0.15  # share of crops that are low-passed
_HIGH_PASSED, _PASSED = 0.08, (350.0, 2500.0)  # share of crops that are high-passed; range of half amplitude, Å
_NOISY, _NOISE = 0.1, (0.3, 1.5)  # share of crops with strong noise; range of its deviation, as in AugmentConfig
_SOUGHT = 0.75  # share of the crops of a small set that contain bad area
_SMALL, _HEAVIEST = 64, 4.0  # cells below which bad areas have a higher weight; the highest weight


@dataclasses.dataclass
class Crop:
    """A piece of a micrograph: view with a margin around it, spectra, labels."""

    view: torch.Tensor  # (side + 2 margin, side + 2 margin)
    spectrum: torch.Tensor  # (features, side / 16, side / 16)
    relative: torch.Tensor  # (2, side / 8, side / 8)
    labels: torch.Tensor  # (side / 8, side / 8), int64
    weights: torch.Tensor  # the same shape: the weight of each cell


class Cropper:
    """Random crops of one micrograph."""

    def __init__(self, name: str, micrograph: TrainingMicrograph, seek_bad: bool = False) -> None:
        """Mirror the micrograph outwards so that every crop and its margin lie inside.

        ``seek_bad``: three of four crops contain a bad cell if there is one, of each class equally often. This is for
        micrographs with little bad area.
        """
        self.name = name
        cell = CELL * SPECTRAL
        rows, columns = (-(-size // cell) * cell for size in micrograph.view.shape)
        self.side = min(_LARGEST, -(-max(rows, columns) // MULTIPLE) * MULTIPLE)
        self.rows, self.columns = max(rows, self.side), max(columns, self.side)
        self.view = _mirrored(micrograph.view, self.rows, self.columns, _MARGIN)
        self.spectrum = _mirrored(micrograph.spectrum, self.rows // cell, self.columns // cell)
        relative = relative_statistics(torch.from_numpy(micrograph.view.astype(np.float32))).numpy()
        self.relative = _mirrored(relative.astype(np.float16), self.rows // CELL, self.columns // CELL)
        labels = np.full((self.rows // CELL, self.columns // CELL), LEFT_OUT, np.uint8)
        labels[: micrograph.labels.shape[0], : micrograph.labels.shape[1]] = micrograph.labels[
            : labels.shape[0], : labels.shape[1]
        ]
        self.labels = labels
        self.weights = weights_of(labels)
        self.bad = [np.argwhere(labels == code) for code in np.unique(labels[_is_bad(labels)])] if seek_bad else []

    def cut(self, rng: np.random.Generator) -> Crop:
        """Return a random crop of the micrograph, randomly rotated and mirrored."""
        cell = CELL * SPECTRAL
        last = np.array([self.rows - self.side, self.columns - self.side]) // cell
        top, left = (int(rng.integers(0, end + 1)) * cell for end in last)
        if self.bad and rng.random() < _SOUGHT:
            cells = self.bad[rng.integers(len(self.bad))]
            corner = cells[rng.integers(len(cells))] // SPECTRAL - rng.integers(0, self.side // cell, 2)
            top, left = (int(edge) * cell for edge in np.clip(corner, 0, last))
        wide, turns, flip = self.side + 2 * _MARGIN, int(rng.integers(4)), bool(rng.integers(2))

        def turned(values: NDArray[np.generic], step: int, size: int) -> torch.Tensor:
            y, x = top // step, left // step
            part = np.rot90(values[..., y : y + size, x : x + size], turns, (-2, -1))
            return torch.from_numpy(np.ascontiguousarray(part[..., ::-1] if flip else part))

        return Crop(
            turned(self.view, 1, wide).float(),
            turned(self.spectrum, cell, self.side // cell).float(),
            turned(self.relative, CELL, self.side // CELL).float(),
            turned(self.labels, CELL, self.side // CELL).long(),
            turned(self.weights, CELL, self.side // CELL),
        )


def _is_bad(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    bad: NDArray[np.bool_] = (labels != CLASSES.index(GOOD)) & (labels != CLASSES.index(BORDER))
    bad &= labels < len(CLASSES)
    return bad


def weights_of(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the weights of cells in training, same shape; cells of small bad areas have a higher weight.

    A crystal of 150 Å has 20 cells of some thousands, but may have as many picks as an equal part of a large area.

    Parameters
    ----------
    labels : numpy.ndarray, uint8, shape (rows, columns)
        Indices into ``CLASSES``, or ``LEFT_OUT``.
    """
    areas, _ = ndimage.label(_is_bad(labels), np.ones((3, 3)))
    sizes = np.bincount(areas.ravel())
    heavier = np.sqrt(_SMALL / np.maximum(sizes, 1)).clip(1.0, _HEAVIEST)
    heavier[0] = 1.0
    weights: NDArray[np.float32] = heavier[areas].astype(np.float32)
    return weights


def _mirrored(values: NDArray[np.generic], rows: int, columns: int, margin: int = 0) -> NDArray[np.generic]:
    """Return values extended along the last two axes by repeated mirroring, with a margin on all sides."""
    for axis, size in ((values.ndim - 2, rows), (values.ndim - 1, columns)):
        have = values.shape[axis]
        index = np.arange(-margin, size + margin) % (2 * have)
        values = np.take(values, np.minimum(index, 2 * have - 1 - index), axis=axis)
    return values


def views_of_crops(
    crops: Sequence[Crop], config: AugmentConfig, rng: np.random.Generator
) -> Tuple[Dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Return the randomly augmented views of crops of one size, their labels, and the weights of their cells.

    Labels and weights are (n, rows, columns) of the map.
    """
    context, spectra, relative = [], [], []
    inner = slice(_MARGIN, -_MARGIN)
    for crop in crops:
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        scaled, spectrum, around, how = crop.view, crop.spectrum, crop.relative, rng.random()
        if how < _HIGH_PASSED:
            scaled = normalise(high_passed(scaled, _between(rng, *_PASSED)))
        elif how < _HIGH_PASSED + _NOISY:
            scaled = normalise(_noisy(scaled, _between(rng, *_NOISE), rng, generator))
            spectrum = torch.full_like(spectrum, torch.nan)  # the noise would change it
        if scaled is not crop.view:
            around = relative_statistics(scaled[inner, inner])
        if rng.random() < _BLURRED:
            scaled = _blurred(scaled, float(rng.uniform(0.4, 1.5)))
        noise = torch.randn(scaled.shape, generator=generator) * float(rng.uniform(0, config.noise))
        scaled = scaled * float(rng.uniform(1 - config.scale, 1 + config.scale)) + noise
        scaled = scaled + float(rng.uniform(-config.shift, config.shift))
        context.append(torch.stack([scaled, local_view(scaled)])[:, inner, inner])
        spectra.append(_cut_spectrum(spectrum, config.spectrum_dropout, rng, generator))
        relative.append(around)
    views = {"context": torch.stack(context), "spectrum": torch.stack(spectra), "relative": torch.stack(relative)}
    return views, torch.stack([crop.labels for crop in crops]), torch.stack([crop.weights for crop in crops])


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def high_passed(view: torch.Tensor, half: float) -> torch.Tensor:
    """Return a high-passed view, with half amplitude at ``half`` Å, as programs store pictures.

    A Gaussian of standard deviation s in Å falls to a half at 1 / d where s = d sqrt(ln 2 / 2) / pi. It is applied to
    means of 8 px, since it is always wider than two of them.
    """
    sigma = half * math.sqrt(math.log(2) / 2) / math.pi / (SAMPLING * CELL)
    means = functional.avg_pool2d(view[None, None], CELL)
    coarse = torch.from_numpy(ndimage.gaussian_filter(means[0, 0].numpy(), sigma, mode="reflect"))
    shape = (int(view.shape[0]), int(view.shape[1]))
    return view - functional.interpolate(coarse[None, None], shape, mode="bilinear")[0, 0]


def _noisy(view: torch.Tensor, deviation: float, rng: np.random.Generator, generator: torch.Generator) -> torch.Tensor:
    """Return a view with strong noise, white or low-passed, as at low doses and in downscaled pictures."""
    noise = torch.randn(view.shape, generator=generator)
    if rng.random() < 0.5:
        noise = _blurred(noise, float(rng.uniform(0.4, 1.2)))
        noise = noise / noise.std()
    return view + deviation * noise


def _blurred(view: torch.Tensor, sigma: float) -> torch.Tensor:
    steps = torch.arange(-4, 5, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (steps / sigma).square())
    kernel = kernel / kernel.sum()
    padded = functional.pad(view[None, None], (4, 4, 4, 4), mode="reflect")
    return functional.conv2d(functional.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])[0, 0]


def _cut_spectrum(
    spectrum: torch.Tensor, share: float, rng: np.random.Generator, generator: torch.Generator
) -> torch.Tensor:
    """Return spectral features (features, rows, columns), sometimes cut at a resolution limit or removed."""
    limit = np.inf
    if rng.random() < share:
        limit = 0.0 if rng.random() < NOTHING_LEFT else float(rng.uniform(*CUTS))
    spectrum = spectrum + _SPREAD * torch.randn(spectrum.shape[0], 1, 1, generator=generator)
    # Imitate other detectors and filters: add a smooth curve to the logarithm of the power, not to the relative power.
    position = torch.linspace(-1, 1, len(BANDS))
    low, middle, high = (_FILTERED * torch.randn(3, generator=generator)).tolist()
    spectrum[: len(BANDS)] += (low + middle * position + high * position.square())[:, None, None]
    flat = spectrum.flatten(1).T
    kept = dropped(flat, torch.full((len(flat),), limit), spectral_frequencies())
    return kept.T.reshape(spectrum.shape)
