# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate a detector on a labelled data set as a screening would run it: with contrast vote and session baseline."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Callable, Dict, Iterator, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.evaluation.cell_counts import CellCounts, count_cells
from cryoice_scipion.core.evaluation.labels import SAMPLING, Codes, LabelledMicrograph, on_cells, read_labels
from cryoice_scipion.core.images.loading import LoadedMicrograph, load_micrograph
from cryoice_scipion.core.maps import bad_area, session_baseline
from cryoice_scipion.core.maps.mapping import map_micrograph
from cryoice_scipion.core.records import MapResult, Reference

if TYPE_CHECKING:
    from cryoice_scipion.core.detectors.network_detector import Detector

Log = Callable[[str], None]


@dataclasses.dataclass
class Settings:
    """Settings of an evaluation; the defaults are those of a screening."""

    contrast: str = "auto"
    reference: int = 20  # micrographs that the session baseline is measured on; 0: none
    threshold: Optional[float] = None  # on goodness; None or -1 (keep all): the one that the model recommends for masks
    pixel_size: Optional[float] = None  # Å/px of the micrographs; None: as the data set has it
    sampling: float = SAMPLING  # Å, side of the evaluated cells


@dataclasses.dataclass
class EvaluatedMap:
    """Hold one micrograph of a labelled data set with its map, labels and counts."""

    image: LabelledMicrograph
    loaded: LoadedMicrograph
    cells: bad_area.Cells  # on the detector's grid
    good: NDArray[np.bool_]  # on the detector's grid: the mask
    labels: Codes  # on the evaluated grid
    left_out: NDArray[np.bool_]  # on the evaluated grid: cells that the map does not classify
    sampling: float  # Å, side of an evaluated cell
    counts: CellCounts
    reference: Reference
    median_logit: float  # median log-odds of BAD; NaN: all is border


def evaluate_set(
    detector: Detector,
    images: Sequence[LabelledMicrograph],
    settings: Settings,
    log: Log = print,
) -> Iterator[EvaluatedMap]:
    """Yield the evaluated micrographs of one data set, with the reference that a screening of this set would have.

    Micrographs that cannot be read or mapped are left out and logged. Memory holds the coarse maps of the reference
    micrographs, and the image of the micrograph that is yielded.
    """
    maps, reference = _reference(detector, images, settings)
    for index, image in enumerate(images):
        try:
            loaded = _load(image, settings)
            labels = read_labels(image.labels, settings.sampling)
            classmap = maps.pop(index, None)
            if classmap is None:
                classmap = map_micrograph(detector, loaded, image.path, reference.contrast)[0]
        except CryoIceError as error:
            log(f"left out: {error}")
            continue
        threshold = bad_area.mask_threshold(settings.threshold, detector.config.recommended_threshold)
        cells = bad_area.probabilities(classmap, reference.logit_offset)
        good = bad_area.good_mask(cells, threshold)
        odds, predicted_bad, p_bad, border = (
            on_cells(values, cells.sampling, labels.shape, settings.sampling)
            for values in (classmap.log_odds - reference.logit_offset, ~good, cells.probability, cells.border)
        )
        counted = count_cells(image.stem, labels, odds, predicted_bad, p_bad, border)
        yield EvaluatedMap(
            image, loaded, cells, good, labels, border, settings.sampling, counted, reference, classmap.median_logit
        )


def _reference(
    detector: Detector, images: Sequence[LabelledMicrograph], settings: Settings
) -> Tuple[Dict[int, ClassMap], Reference]:
    """Return the reference of a data set, and the maps of its micrographs by index, as ``ScreeningRun`` makes them."""
    baseline = session_baseline.SessionBaseline(settings.reference, settings.contrast, detector.config)
    usable = list(range(len(images)))
    maps: Dict[int, ClassMap] = {}
    mapped: Dict[int, MapResult] = {}
    step = baseline.step(usable, mapped)
    while step.to_map:
        for index in step.to_map:
            image = images[index]
            try:
                loaded = _load(image, settings)
                maps[index], mapped[index] = map_micrograph(detector, loaded, image.path, step.contrast)
            except CryoIceError:  # logged when it is evaluated
                usable.remove(index)
        step = baseline.step(usable, mapped)
    reference = step.reference or session_baseline.freeze({}, "dark", detector.config)  # no micrograph can be read
    return {index: maps[index] for index in reference.micrographs}, reference


def _load(image: LabelledMicrograph, settings: Settings) -> LoadedMicrograph:
    """Read a micrograph; one that was simulated with bright particles is inverted, as it is a session of its own."""
    loaded = load_micrograph(image.path, settings.pixel_size or image.pixel_size)
    return dataclasses.replace(loaded, image=-loaded.image) if image.inverted else loaded
