# SPDX-License-Identifier: GPL-3.0-or-later
"""Score one micrograph in memory, from its class map. No files, no torch."""

from __future__ import annotations

import dataclasses
from typing import Callable, Dict, List, Optional, Sequence

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.constants import ACCEPTED, DISCARDED, OUTSIDE
from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.detectors.class_map import ClassMap, Grid, Mask
from cryoice_scipion.core.grades.grade import Grade
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.maps import bad_area, scoring
from cryoice_scipion.core.maps.placement import in_micrograph_pixels, scale_flags
from cryoice_scipion.core.records import MapResult, MicrographRecord, MicrographTask, Region
from cryoice_scipion.core.regions.finding import find_regions


@dataclasses.dataclass
class MicrographResult:
    """Hold a micrograph's map, mask and scored coordinates.

    Cell (i, j) of the grids covers rows [i·s, (i+1)·s) and columns [j·s, (j+1)·s) in Å, s = ``sampling``.
    """

    probability: Grid  # (rows, columns) of the grid, float32: P(BAD), with the session's offset subtracted
    mask: Mask  # same shape: True is good
    classes: NDArray[np.uint8]  # same shape: the class of each cell, an index into constants.CLASSES
    sampling: float  # Å
    coordinates: NDArray[np.float64]  # (n, 2): x and y in px
    record: MicrographRecord  # as written to the journal of a run
    regions: List[Region]  # of bad area, with outlines; the largest first
    region_map: Optional[NDArray[np.int32]]  # number of the region of each cell, 0: none; None: not searched

    @property
    def bad_area(self) -> float:
        """Return the share of bad area without the border, 0 to 1."""
        return self.record.bad_area if self.record.bad_area is not None else 1.0

    @property
    def areas(self) -> Dict[str, float]:
        """Return the share of all cells that belong to each class."""
        return self.record.areas

    @property
    def goodness(self) -> NDArray[np.float64]:
        """Return the goodness of each coordinate, shape (n,): 1 clean, 0 bad; NaN outside the frame."""
        return np.array([np.nan if one.goodness is None else one.goodness for one in self.record.scores], np.float64)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Return which coordinates are kept, shape (n,)."""
        return np.array([one.kept for one in self.record.scores], dtype=bool)

    @property
    def coordinate_classes(self) -> List[str]:
        """Return the class of each coordinate: "good", the class of the bad area that decides, or "outside"."""
        return [one.cls for one in self.record.scores]

    @property
    def grade(self) -> str:
        """Return the grade of the micrograph; empty: not graded. ``record`` has its confidence and its reason."""
        return self.record.grade

    @property
    def flags(self) -> List[str]:
        """Return the micrograph's flags, such as "border" or "nan_pixels"."""
        return self.record.flags


def score_micrograph(
    classmap: ClassMap,
    task: MicrographTask,
    mapped: MapResult,
    config: ScreenConfig,
    model: ModelConfig,
    offset: float,
    grade_of: Callable[[bad_area.Cells], Optional[Grade]] = lambda cells: None,
) -> MicrographResult:
    """Score a mapped micrograph and its coordinates; all programs use this function.

    Parameters
    ----------
    task, mapped : MicrographTask, MapResult
        The coordinates; pixel size, shape and flags of the micrograph.
    offset : float
        Subtracted from the log-odds of BAD (the session's offset).
    grade_of : callable
        Returns the grade of the micrograph; None: it has none.

    Raises
    ------
    CoordinatesError
        When a particle diameter is not known.
    """
    probability = bad_area.probability(classmap, offset)  # with the classes that the settings ignore
    cells = bad_area.cells_of(classmap, probability, config.ignore, config.min_area)
    threshold = bad_area.mask_threshold(config.threshold, model.recommended_threshold)
    good = bad_area.good_mask(cells, threshold)
    codes, area = bad_area.class_of_cells(cells, good), bad_area.bad_area(cells, good)
    grade = grade_of(cells)
    frame = Frame(mapped.shape, mapped.pixel_size)
    regions, region_map = find_regions(cells, threshold, frame) if config.regions else ([], None)
    reason = bad_area.why_discarded(area, grade.name if grade else "", config)
    picks = in_micrograph_pixels(task.picks, frame, config, mapped.flags)
    sizes, origin = scoring.particle_diameters(picks, config, mapped.pixel_size, task.path)
    scores = scoring.score_picks(cells, picks, sizes, frame, config, model, bool(reason))
    record = MicrographRecord(
        id=task.id,
        stem=task.stem,
        path=task.path,
        status=DISCARDED if reason else ACCEPTED,
        reason=reason,
        bad_area=area,
        areas=bad_area.areas(codes),
        scores=scores,
        flags=_flags(mapped.flags, area, sum(score.cls == OUTSIDE for score in scores))
        + scale_flags(task.picks, frame, config, mapped.flags),
        pixel_size=mapped.pixel_size,
        shape=list(mapped.shape),
        # Ignored classes must not make the session look unusual.
        median_logit=bad_area.median_logit(cells)
        if config.ignore and mapped.median_logit is not None
        else mapped.median_logit,
        particle_diameter=round(float(np.median(sizes)), 2) if len(sizes) else None,
        diameter_from=origin,
        regions=[dataclasses.replace(region, outline=[]) for region in regions],
    )
    if grade is not None:
        record.grade, record.grade_confidence, record.grade_reason = grade.name, grade.confidence, grade.reason
        record.grade_probabilities = grade.probabilities
    positions = scoring.positions_of(picks)
    return MicrographResult(probability, good, codes, cells.sampling, positions, record, regions, region_map)


def _flags(noticed: Sequence[str], area: float, outside: int) -> List[str]:
    flags = list(noticed)
    flags += [bad_area.MOSTLY_BAD_FLAG] if area > bad_area.MOSTLY_BAD else []
    return flags + ([f"picks_outside={outside}"] if outside else [])
