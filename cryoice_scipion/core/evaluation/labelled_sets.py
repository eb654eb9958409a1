# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate a detector on a labelled data set as a screening runs it: contrast vote, then the session reference."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.evaluation.cell_counts import CellCounts, count_cells
from cryoice_scipion.core.evaluation.labels import SAMPLING, Codes, LabelledImage, on_cells, read_labels
from cryoice_scipion.core.images.loading import LoadedMicrograph, load_micrograph
from cryoice_scipion.core.maps import bad_area, session_baseline
from cryoice_scipion.core.maps.mapping import map_micrograph
from cryoice_scipion.core.records import MapResult, Reference

if TYPE_CHECKING:
    from cryoice_scipion.core.detectors.network_detector import Detector

Log = Callable[[str], None]
_Mapped = Tuple[ClassMap, MapResult]


@dataclasses.dataclass
class Settings:
    """How a data set is evaluated; the defaults are the screening's."""

    contrast: str = "auto"
    reference: int = 20  # micrographs the data-set reference is taken from; 0: none
    threshold: Optional[float] = None  # on goodness; None: the model's recommended one
    pixel_size: Optional[float] = None  # Å/px of the micrographs; None: as the data set has it
    sampling: float = SAMPLING  # Å, side of the evaluated cells


@dataclasses.dataclass
class EvaluatedMap:
    """One micrograph of a labelled data set, evaluated."""

    image: LabelledImage
    loaded: LoadedMicrograph
    cells: bad_area.Cells  # on the detector's grid
    good: NDArray[np.bool_]  # on the detector's grid: the mask
    labels: Codes  # on the evaluated grid
    left_out: NDArray[np.bool_]  # on the evaluation grid: cells that the map does not classify
    sampling: float  # Å, side of an evaluated cell
    counts: CellCounts
    reference: Reference
    median_logit: float  # median log-odds of BAD; NaN: all is border


def evaluate_set(
    detector: Detector,
    images: Sequence[LabelledImage],
    settings: Settings,
    log: Log = print,
) -> Iterator[EvaluatedMap]:
    """Yield the micrographs of one data set, evaluated with the reference that a screening of this set would take.

    Micrographs that cannot be read or mapped are left out, and the log says so. Only the coarse maps of the reference
    micrographs are held; an image is held while its micrograph is with the caller.
    """
    mapped, reference = _reference(detector, images, settings, log)
    for image in images:
        try:
            loaded = _load(image, settings)
            labels = read_labels(image.labels, settings.sampling)
            known = mapped.pop(image.stem, None)
            if known is not None and session_baseline.has_contrast(known[1], reference.contrast):
                classmap = known[0]
            else:
                classmap = map_micrograph(detector, loaded, image.path, reference.contrast)[0]
        except CryoIceError as error:
            log(f"left out: {error}")
            continue
        threshold = detector.config.recommended_threshold if settings.threshold is None else settings.threshold
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
    detector: Detector, images: Sequence[LabelledImage], settings: Settings, log: Log
) -> Tuple[Dict[str, _Mapped], Reference]:
    """Return the maps of the first micrographs and the reference frozen over them, as ``ScreeningRun`` does."""
    mapped: Dict[str, _Mapped] = {}
    if not settings.reference:
        return mapped, session_baseline.without(settings.contrast)
    chosen: List[LabelledImage] = []
    for image in images:
        if len(chosen) == settings.reference:
            break
        try:
            mapped[image.stem] = map_micrograph(detector, _load(image, settings), image.path, settings.contrast)
            chosen.append(image)
        except CryoIceError:
            continue  # reported when it is evaluated
    contrast = session_baseline.vote([mapped[image.stem][1] for image in chosen], settings.contrast)
    for image in chosen:
        if not session_baseline.has_contrast(mapped[image.stem][1], contrast):
            mapped[image.stem] = map_micrograph(detector, _load(image, settings), image.path, contrast)
    results = {index: mapped[image.stem][1] for index, image in enumerate(chosen, start=1)}
    return mapped, session_baseline.freeze(results, contrast, detector.config)


def _load(image: LabelledImage, settings: Settings) -> LoadedMicrograph:
    """Return a micrograph. A simulated one with bright particles is inverted: it is a session of its own."""
    loaded = load_micrograph(image.path, settings.pixel_size or image.pixel_size)
    return dataclasses.replace(loaded, image=-loaded.image) if image.inverted else loaded
