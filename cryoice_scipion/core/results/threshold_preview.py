# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply any threshold to a mapped micrograph without mapping it again. Imports no torch."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import List, Optional

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.detectors.class_map import ClassMap, Mask
from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.grades.grading import grade_micrograph
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.images.marks import PickMark
from cryoice_scipion.core.images.thumbnails import read_base
from cryoice_scipion.core.maps import bad_area, scoring
from cryoice_scipion.core.maps.placement import in_micrograph_pixels
from cryoice_scipion.core.records import MapResult, MicrographTask, Reference
from cryoice_scipion.core.results.outliers import outlier_of
from cryoice_scipion.core.results.picture_layers import Layers


@dataclasses.dataclass
class ThresholdResult:
    """The effect of a threshold on one micrograph."""

    good: Mask  # (rows, columns) of the map
    bad_area: float  # share from 0 to 1
    reason: str  # why the micrograph is discarded; empty: it is accepted
    marks: List[PickMark]

    @property
    def kept(self) -> int:
        """Return how many coordinates are kept."""
        return sum(kept for _, _, kept in self.marks)


class ThresholdPreview:
    """Apply thresholds to one micrograph, from its map and the goodness of its coordinates."""

    def __init__(
        self,
        folder: Path,
        task: MicrographTask,
        result: MapResult,
        config: ScreenConfig,
        model: ModelConfig,
        reference: Optional[Reference] = None,
    ) -> None:
        """Read the stored map and score the coordinates.

        Parameters
        ----------
        folder : pathlib.Path
            The folder that the paths in ``result`` are relative to.
        model : ModelConfig
            Holds the recommended thresholds.
        reference : Reference, optional
            The session: its offset is subtracted from the log-odds. None: not measured yet.

        Raises
        ------
        CryoIceError
            When the map cannot be read, or the particle diameter is not known.
        """
        self._folder, self._task, self._result, self._config = folder, task, result, config
        self._model = model
        self._grey: Optional[NDArray[np.uint8]] = None  # the picture, once it is read
        classmap = ClassMap.load(folder / result.raw_path)
        offset, usual = (reference.logit_offset, reference.one_class) if reference else (0.0, None)
        self.cells = bad_area.probabilities(classmap, offset, config.ignore, config.min_area)
        outlier = outlier_of(folder, task.id, result, usual)
        self.grade = grade_micrograph(self.cells, result, config, model, outlier)  # at every threshold
        self._frame = Frame(result.shape, result.pixel_size)
        self._picks = in_micrograph_pixels(task.picks, self._frame, config, result.flags)
        sizes, _ = scoring.particle_diameters(self._picks, config, result.pixel_size, task.path)
        self.diameter = float(np.median(sizes)) if len(sizes) else 0.0  # Å
        #: Of each coordinate; NaN outside the frame.
        self.goodness = scoring.goodness_of_picks(self.cells, self._picks, config, self._frame, task.path)

    def apply(self, threshold: Optional[float]) -> ThresholdResult:
        """Return what the screening keeps at this threshold; None: at the thresholds that the model recommends."""
        good = bad_area.good_mask(self.cells, bad_area.mask_threshold(threshold, self._model.recommended_threshold))
        for_picks = scoring.pick_threshold(threshold, self._model)
        area = bad_area.bad_area(self.cells, good)
        reason = bad_area.why_discarded(area, self.grade.name if self.grade else "", self._config)
        marks = [
            (pick.x, pick.y, bool(kept) and not reason)
            for pick, kept in zip(self._picks, scoring.is_kept(self.goodness, for_picks))
        ]
        return ThresholdResult(good, area, reason, marks)

    def layers(self, result: ThresholdResult) -> Layers:
        """Return the layers of the micrograph's picture at a threshold."""
        rows, columns = self._frame.shape
        with contextlib.suppress(ImageError):
            self._grey = read_base(self._folder / self._result.base_path) if self._grey is None else self._grey
        return Layers(
            grey=self._grey,
            width=columns * self._frame.pixel_size,
            height=rows * self._frame.pixel_size,
            shape=(rows, columns),
            probability=self.cells.probability,
            bad=~result.good,
            sampling=self.cells.sampling,
            codes=bad_area.class_of_cells(self.cells, result.good),
            path=self._task.path,
        )
