# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply any threshold to a mapped micrograph without mapping it again. Imports no torch."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import List, Optional

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.detectors.class_map import ClassMap, Mask
from cryoice_scipion.core.grades.grading import grade_micrograph
from cryoice_scipion.core.images.caption import Caption
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.images.thumbnails import BadAreas, PickMark, draw_thumbnail
from cryoice_scipion.core.maps import bad_area, scoring
from cryoice_scipion.core.maps.placement import in_micrograph_pixels
from cryoice_scipion.core.records import MapResult, MicrographTask, Reference
from cryoice_scipion.core.results.outliers import outlier_of

_DPI = 100


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
        classmap = ClassMap.load(folder / result.raw_path)
        offset, usual = (reference.logit_offset, reference.one_class) if reference else (0.0, None)
        self.cells = bad_area.probabilities(classmap, offset, config.ignore, config.min_area)
        outlier = outlier_of(folder, task.id, result, usual)
        self.grade = grade_micrograph(self.cells, result, config, model, outlier)  # at every threshold
        self._frame = Frame(result.shape, result.pixel_size)
        self._picks = in_micrograph_pixels(task.picks, self._frame, config, result.flags)
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

    def picture(self, result: ThresholdResult, side: int) -> Image.Image:
        """Return the micrograph with its bad areas tinted and its coordinates marked, at most ``side`` px wide."""
        base, drawn = (self._folder / f"preview_{name}_{side}.png" for name in (self._task.id, "drawn"))
        if not base.is_file():
            with Image.open(self._folder / self._result.base_path) as whole:
                whole.thumbnail((side, side))
                whole.save(base)
        codes = bad_area.class_of_cells(self.cells, result.good)
        areas = BadAreas(codes, ~result.good, self.cells.sampling)
        caption = Caption(Path(self._task.path).name, result.bad_area)
        draw_thumbnail(base, drawn, areas, self._frame, result.marks, caption)
        with Image.open(drawn) as finished:
            return finished.convert("RGB")

    def map_picture(self, side: int) -> Image.Image:
        """Return the map of P(BAD) with its scale, ``side`` px wide."""
        rows, columns = self.cells.probability.shape
        figure = Figure(figsize=(side / _DPI, side * (rows / columns + 0.2) / _DPI), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        shown = axes.imshow(self.cells.probability, vmin=0, vmax=1, cmap="cividis", interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        figure.colorbar(shown, ax=axes, location="bottom", label="P(BAD)", shrink=0.9)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=_DPI)
        return Image.open(stream).convert("RGB")
