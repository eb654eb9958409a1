# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind ``spot_test``: an untrained statistical test for crystalline ice, as a detector.

Per cell, the p-values at 128, 256 and 512 Å are combined into one. Its log-odds are the largest log Bayes factor that
such a p-value can mean (Sellke, Bayarri and Berger 2001) minus that of ``FALSE_ALARMS``: P(BAD) = 0.5 where a clean
cell would be called crystalline once in 1 / ``FALSE_ALARMS``. This is a prior of one crystalline cell in 54. Clean
cells have log-odds of ``FLOOR``: the test finds evidence for crystals, never against them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Tuple

import numpy as np
import torch
from numpy.typing import NDArray

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.config import ModelConfig
from cryoice_scipion.core.detectors.class_map import AbsoluteMap, ClassMap
from cryoice_scipion.core.images.grid import containing_cells
from cryoice_scipion.core.views.micrograph import micrograph_evidence
from cryoice_scipion.core.views.spot_statistics import combine, log_bayes_factor
from cryoice_scipion.core.views.windows import CELL

FALSE_ALARMS = 1e-3  # of clean cells, where P(BAD) = 0.5
FLOOR = -float(log_bayes_factor(np.asarray(math.log(FALSE_ALARMS))))
_LARGEST = 20.0  # log-odds


class SpotDetector:
    """The untrained test for lattice fringes; see ``Detector``."""

    def __init__(self, config: ModelConfig, device: torch.device) -> None:
        """Set the description of the model; there are no weights."""
        self.config = config
        self.device = device

    @torch.inference_mode()
    def map(
        self, image: NDArray[np.float32], pixel_size: float, border: NDArray[np.bool_], inverted: bool = False
    ) -> ClassMap:
        """Return the log-odds of crystalline against good; they do not depend on the contrast.

        Flags: ``spots_unavailable`` (pixels above 1.72 Å, or a micrograph below 128 Å), ``spots_no_signal`` (the band
        was filtered away), ``spots_reduced`` (pixels above 1.57 Å: a part of the band). With the first two, all cells
        have the log-odds of clean cells.
        """
        evidence = micrograph_evidence(image, pixel_size, border, self.device)
        odds = log_odds(evidence.log_p).astype(np.float32)
        return AbsoluteMap(
            logits=np.stack([np.zeros_like(odds) if name == GOOD else odds for name in self.config.classes]),
            border=_border_cells(border, pixel_size, (int(odds.shape[0]), int(odds.shape[1]))),
            classes=list(self.config.classes),
            sampling=CELL,
            skewness=0.0,  # the contrast is not measured
            flags=list(evidence.flags),
        )


def load(folder: Path, config: ModelConfig, device: str) -> SpotDetector:
    """Return the test; the folder holds no weights."""
    return SpotDetector(config, torch.device(device))


def log_odds(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-odds of crystalline from the log p-values by scale (first axis): between ``FLOOR`` and 20."""
    odds: NDArray[np.float64] = np.minimum(log_bayes_factor(combine(log_p)) + FLOOR, _LARGEST)
    return odds


def _border_cells(border: NDArray[np.bool_], pixel_size: float, shape: Tuple[int, int]) -> NDArray[np.bool_]:
    """Return which cells are border for more than half of 8 x 8 points."""
    down, across = (containing_cells(8 * cells, CELL / 8, pixel_size, side) for cells, side in zip(shape, border.shape))
    points = border[down[:, None], across[None, :]].reshape(shape[0], 8, shape[1], 8)
    cells: NDArray[np.bool_] = points.mean(axis=(1, 3)) > 0.5
    return cells
