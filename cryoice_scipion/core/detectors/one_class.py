# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind ``one_class``: how unlike clean micrographs each cell is, fitted on clean micrographs only.

Grey levels are those of the micrographs, so a model is good for one session, or for sessions that were recorded and
processed alike. The log-odds of a cell are the largest log Bayes factor that its p-value can mean, minus that of
``FALSE_ALARMS`` (``spots`` describes this). The p-value comes from the distances of cells of the clean micrographs,
each from a fit to the other micrographs. Above the highest tenth, distances are taken to follow a power law.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.config import ModelConfig, TrainConfig, ViewConfig
from cryoice_scipion.core.detectors.class_map import AbsoluteMap, ClassMap
from cryoice_scipion.core.detectors.model_folder import WEIGHTS
from cryoice_scipion.core.detectors.one_class_fit import distribution_of, fit_robustly, is_comparable, moments_of
from cryoice_scipion.core.errors import ModelError, PixelSizeError
from cryoice_scipion.core.records import OneClass
from cryoice_scipion.core.views.session_features import LEAST_WINDOW, WINDOW, session_features
from cryoice_scipion.core.views.spot_statistics import log_bayes_factor

VIEW = "grey_levels"
FALSE_ALARMS = 1e-3  # of clean cells, where P(BAD) = 0.5
TAIL = 0.1  # share of clean cells in the tail of the distances
_LARGEST = 20.0  # log-odds
_BORDER = 0.5  # share of a cell


@dataclasses.dataclass
class Tail:
    """The highest tenth of the distances of clean cells: P(distance > d) = 0.1 (d / start) ** -exponent."""

    start: float
    exponent: float

    @classmethod
    def of(cls, distances: NDArray[np.float64]) -> Tail:
        """Estimate the tail from distances of clean cells (Hill 1975)."""
        start = float(np.quantile(distances, 1 - TAIL))
        excess = np.log(distances[distances > start] / start)
        return cls(start, 1.0 / max(float(excess.mean()) if excess.size else 0.0, 1e-6))

    def log_odds(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log-odds of BAD; those of cells below the tail are the lowest."""
        log_p = math.log(TAIL) - self.exponent * np.log(np.maximum(distances / self.start, 1.0))
        floor = float(log_bayes_factor(np.asarray(math.log(FALSE_ALARMS))))
        odds: NDArray[np.float64] = np.minimum(log_bayes_factor(log_p) - floor, _LARGEST)
        return odds


def left_out_distances(features: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return the distances of all cells of clean micrographs, those of each from a robust fit to the others."""
    known = [(values, moments) for values in features for moments in [moments_of(values)] if moments is not None]
    found: List[NDArray[np.float64]] = []
    for index, (values, _) in enumerate(known):
        fit, _ = fit_robustly([moments for other, (_, moments) in enumerate(known) if other != index])
        distances = fit.of_cells(values).ravel()
        found.append(distances[np.isfinite(distances)])
    return np.concatenate(found)


class OneClassDetector:
    """The distance of each cell from clean micrographs as a detector; see ``Detector``."""

    def __init__(self, config: ModelConfig, fitted: OneClass, tail: Tail) -> None:
        """Take the description of the model and what was fitted."""
        self.config, self.fitted, self.tail = config, fitted, tail
        self._distribution = distribution_of(fitted)

    def map(
        self, image: NDArray[np.float32], pixel_size: float, border: NDArray[np.bool_], inverted: bool = False
    ) -> ClassMap:
        """Return the log-odds of bad against good; they do not depend on the contrast.

        Raises
        ------
        PixelSizeError
            When the pixel size is not that of the clean micrographs.
        """
        features = session_features(image, pixel_size, border)
        if not is_comparable(self.fitted, features.values, features.sampling):
            reason = f"{pixel_size:g} Å/px is not the pixel size of the clean micrographs that the model was fitted to"
            raise PixelSizeError("one_class model", reason, "train a model on micrographs of this pixel size")
        distances = self._distribution.of_cells(features.values)
        unknown = ~np.isfinite(distances)
        odds = self.tail.log_odds(np.where(unknown, 0.0, distances)).astype(np.float32)
        return AbsoluteMap(
            logits=np.stack([np.zeros_like(odds) if name == GOOD else odds for name in self.config.classes]),
            border=features.border_share > _BORDER,
            classes=list(self.config.classes),
            sampling=features.sampling,
            skewness=0.0,  # the contrast is not measured
        )


def views_for(config: TrainConfig, base: Optional[ModelConfig], sampling: float) -> List[ViewConfig]:
    """Return the one view, ``sampling`` Å/px of the micrographs as they are measured."""
    return [ViewConfig(kind=VIEW, sampling=sampling, window=max(LEAST_WINDOW, round(WINDOW / sampling)))]


def save_fit(path: Path, fitted: OneClass, tail: Tail) -> None:
    """Write what was fitted as safetensors."""
    numbers: Dict[str, Any] = {**dataclasses.asdict(fitted), **dataclasses.asdict(tail)}
    path.write_bytes(save({name: np.atleast_1d(np.array(value, dtype=np.float64)) for name, value in numbers.items()}))


def load(folder: Path, config: ModelConfig, device: str) -> OneClassDetector:
    """Load the model of a folder; it always runs on the CPU.

    Raises
    ------
    ModelError
        When the weights are not those of this kind.
    """
    try:
        stored = {name: values.tolist() for name, values in load_file(str(folder / WEIGHTS)).items()}
        for name in ("sampling", "unit", "cell_unit", "start", "exponent"):
            stored[name] = stored[name][0]
        for name in ("micrographs", "fitted"):
            stored[name] = [int(value) for value in stored[name]]
        tail = Tail(stored.pop("start"), stored.pop("exponent"))
        return OneClassDetector(config, OneClass(**stored), tail)
    except (KeyError, TypeError, ValueError, OSError) as error:
        reason = f"does not fit the network '{config.network}' ({error})"
        raise ModelError(folder / WEIGHTS, reason, "train it again with this version") from None
