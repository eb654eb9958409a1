# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a one-class detector on labelled positions, and choose its threshold. Imports no torch."""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Optional, Sequence

import numpy as np
import pandas as pd
from scipy.special import expit

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.detectors.one_class import OneClassDetector
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.evaluation.labels import LabelledMicrograph
from cryoice_scipion.core.images.grid import cells_at
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.training.metrics import measure, recommend_threshold
from cryoice_scipion.core.training.splits import TEST, VALIDATION
from cryoice_scipion.core.training.trainers import TrainRequest

_USUAL = 0.5  # threshold on goodness without bad labels


@dataclasses.dataclass
class Measured:
    """The labelled positions, and what they say about the detector."""

    table: pd.DataFrame  # label, split, micrograph, x, y, origin, p_bad; no rows without labels
    threshold: float = _USUAL
    is_chosen: bool = False  # whether the threshold is Youden's point of the labels
    validation: Dict[str, float] = dataclasses.field(default_factory=dict)
    test: Dict[str, float] = dataclasses.field(default_factory=dict)


def labelled_of(request: TrainRequest) -> List[LabelledMicrograph]:
    """Return the labelled micrographs of all sources but ``--clean``; none without labels."""
    sources = dataclasses.replace(request.sources, clean=[])
    if not (sources.has_positions or sources.simulated):
        return []
    found = sources.labelled(request.config.seed)
    request.warn(sources.messages)
    return found


def measure_positions(
    detector: OneClassDetector,
    labelled: Sequence[LabelledMicrograph],
    testing: Sequence[str],
    request: TrainRequest,
) -> Measured:
    """Return P(BAD) at all labelled positions, and the threshold of the micrographs that are not held out.

    Parameters
    ----------
    detector : OneClassDetector
    labelled : sequence of LabelledMicrograph
    testing : sequence of str
        Names of the held-out micrographs.
    request : TrainRequest
    """
    parts = []
    for item in labelled:
        split = TEST if item.stem in testing else VALIDATION
        found = _positions(detector, item, request)
        if found is not None:
            parts.append(found.assign(micrograph=item.stem, split=split))
    if not parts:
        return Measured(pd.DataFrame(columns=["label", "split", "p_bad"]))
    result = Measured(pd.concat(parts, ignore_index=True))
    p_bad, bad = result.table["p_bad"].to_numpy(np.float64), (result.table["label"] != GOOD).to_numpy()
    held = (result.table["split"] == TEST).to_numpy()
    if bad[~held].any() and not bad[~held].all():
        result.threshold = round(recommend_threshold(p_bad[~held], bad[~held]), 3)
        result.is_chosen = True
    result.validation, result.test = (
        measure(p_bad[rows], bad[rows], result.threshold) if rows.any() else {} for rows in (~held, held)
    )
    return result


def _positions(detector: OneClassDetector, item: LabelledMicrograph, request: TrainRequest) -> Optional[pd.DataFrame]:
    """Return the labelled positions of a micrograph that do not lie on its border, with P(BAD); None: unusable."""
    patches = request.config.patches
    try:
        micrograph = load_micrograph(item.path, patches.pixel_size or item.pixel_size)
        classmap = detector.map(micrograph.image, micrograph.pixel_size, micrograph.border).checked(item.path)
    except CryoIceError as error:
        request.warn([f"left out: {error}"])
        return None
    points = item.points_on(micrograph)
    rows, columns = (
        cells_at(points[axis].to_numpy(np.float64) * micrograph.pixel_size, classmap.sampling, cells)
        for axis, cells in zip(("y", "x"), classmap.border.shape)
    )
    odds = classmap.log_odds[rows, columns].astype(np.float64)
    return points.assign(p_bad=expit(odds))[~classmap.border[rows, columns]]
