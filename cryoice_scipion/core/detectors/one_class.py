# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind ``one_class``: how unlike clean micrographs each cell is, fitted on clean micrographs only.

Grey levels are those of the micrographs, so a model is good for one session, or for sessions that were recorded and
processed alike. ``tail`` gives the log-odds of a cell. Its clean cells are those of the clean micrographs, each
measured with a fit to the other micrographs.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.config import ModelConfig, TrainConfig, ViewConfig
from cryoice_scipion.core.detectors.class_map import AbsoluteMap, ClassMap
from cryoice_scipion.core.detectors.model_folder import WEIGHTS, fitting
from cryoice_scipion.core.detectors.one_class_fit import distribution_of, fit_robustly, is_comparable, moments_of
from cryoice_scipion.core.detectors.tail import Tail
from cryoice_scipion.core.errors import PixelSizeError
from cryoice_scipion.core.records import OneClass
from cryoice_scipion.core.views.session_features import LEAST_WINDOW, WINDOW, SessionFeatures, session_features

VIEW = "grey_levels"
_BORDER = 0.5  # share of a cell


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

    def features(self, image: NDArray[np.float32], pixel_size: float, border: NDArray[np.bool_]) -> SessionFeatures:
        """Return the features of each cell.

        Raises
        ------
        PixelSizeError
            When the pixel size is not that of the clean micrographs.
        """
        features = session_features(image, pixel_size, border)
        if not is_comparable(self.fitted, features.values, features.sampling):
            raise wrong_pixel_size("one_class", pixel_size)
        return features

    def map(
        self, image: NDArray[np.float32], pixel_size: float, border: NDArray[np.bool_], inverted: bool = False
    ) -> ClassMap:
        """Return the log-odds of bad against good; they do not depend on the contrast."""
        return self.map_of(self.features(image, pixel_size, border))

    def map_of(self, features: SessionFeatures) -> ClassMap:
        """Return the log-odds of the cells that have these features."""
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


def wrong_pixel_size(network: str, pixel_size: float) -> PixelSizeError:
    """Return the error to raise for a micrograph that has not the pixel size of the clean ones."""
    reason = f"{pixel_size:g} Å/px is not the pixel size of the clean micrographs that the model was fitted to"
    return PixelSizeError(f"{network} model", reason, "train a model on micrographs of this pixel size")


def views_for(config: TrainConfig, base: Optional[ModelConfig], sampling: float) -> List[ViewConfig]:
    """Return the one view, ``sampling`` Å/px of the micrographs as they are measured."""
    return [ViewConfig(kind=VIEW, sampling=sampling, window=max(LEAST_WINDOW, round(WINDOW / sampling)))]


def to_arrays(fitted: OneClass, tail: Tail) -> Dict[str, NDArray[np.float64]]:
    """Return what was fitted as arrays by name, for safetensors."""
    numbers: Dict[str, Any] = {**dataclasses.asdict(fitted), **dataclasses.asdict(tail)}
    return {name: np.atleast_1d(np.array(value, dtype=np.float64)) for name, value in numbers.items()}


def from_arrays(arrays: Mapping[str, NDArray[np.float64]]) -> Tuple[OneClass, Tail]:
    """Return what :func:`to_arrays` was given; raises KeyError, TypeError or ValueError if something is wrong."""
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite")
    stored: Dict[str, Any] = {name: values.tolist() for name, values in arrays.items()}
    for name in ("sampling", "unit", "cell_unit", "start", "exponent"):
        stored[name] = stored[name][0]
    for name in ("micrographs", "fitted"):
        stored[name] = [int(value) for value in stored[name]]
    tail = Tail(stored.pop("start"), stored.pop("exponent"))
    return OneClass(**stored), tail


def load(folder: Path, config: ModelConfig, device: str) -> OneClassDetector:
    """Load the model of a folder; it always runs on the CPU.

    Raises
    ------
    ModelError
        When the weights are not those of this kind.
    """
    with fitting(folder, config):
        return OneClassDetector(config, *from_arrays(load_file(str(folder / WEIGHTS))))
