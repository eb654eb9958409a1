# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute in this process: map a micrograph, and score its coordinates on the stored map."""

from __future__ import annotations

import contextlib
import errno
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List

import numpy as np

from cryoice_scipion.constants import ACCEPTED, BORDER, CLASSES, DISCARDED, OUTSIDE
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.class_map import ClassMap, Grid, Mask
from cryoice_scipion.core.detectors.model_folder import fingerprint
from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.images.thumbnails import draw_thumbnail, grey_base, write_base
from cryoice_scipion.core.images.writing import write_map, write_mask
from cryoice_scipion.core.maps import bad_area, scoring
from cryoice_scipion.core.records import MapResult, MicrographRecord, MicrographTask, Reference
from cryoice_scipion.core.results.run_folder import RunFolder, writing

if TYPE_CHECKING:
    from cryoice_scipion.core.detectors.network_detector import Detector


class LocalExecutor:
    """Computes in this process with one detector on one device."""

    def __init__(self, detector: Detector, model_fingerprint: str = "", device: str = "cpu") -> None:
        """Take a loaded detector."""
        self.detector = detector
        self.model = detector.config
        self.fingerprint = model_fingerprint
        self.device = device

    @classmethod
    def load(cls, model: Path, device: str) -> LocalExecutor:
        """Load a model folder on "cpu" or "cuda:N".

        Raises
        ------
        ModelError
            When the model folder is damaged.
        """
        from cryoice_scipion.core.detectors.network_detector import NetworkDetector

        return cls(NetworkDetector.load(model, device), fingerprint(model), device)

    def map(self, task: MicrographTask, config: ScreenConfig, contrast: str, folder: Path) -> MapResult:
        """Map one micrograph; see ``Executor.map``."""
        started = time.monotonic()
        micrograph = load_micrograph(task.path, config.pixel_size or task.pixel_size)
        inverted = contrast == "bright"  # "auto" is dark until the reference has another vote
        classmap = self.detector.map(micrograph.image, micrograph.pixel_size, micrograph.border, inverted)
        classmap.checked(task.path)
        place = RunFolder(folder)
        result = MapResult(
            shape=[int(side) for side in micrograph.image.shape],
            pixel_size=micrograph.pixel_size,
            sampling=classmap.sampling,
            level=classmap.level if np.isfinite(classmap.level) else None,  # JSON has no NaN
            skewness=classmap.skewness,
            inverted=inverted,
            raw_path=place.raw_map(task.stem),
            base_path=place.base(task.stem),
            flags=[*micrograph.flags, *classmap.flags, *([BORDER] if micrograph.border.any() else [])],
        )
        with writing(folder):
            for name in (place.probability(task.stem), place.mask(task.stem), place.full_mask(task.stem)):
                _remove(folder / name)  # of another map, should there have been one; score would keep them
            classmap.save(folder / result.raw_path)
            if config.thumbnails:
                grey = grey_base(micrograph.image, micrograph.border, micrograph.pixel_size)
                write_base(folder / result.base_path, grey)
        result.seconds = round(time.monotonic() - started, 3)
        return result

    def score(
        self, task: MicrographTask, result: MapResult, reference: Reference, config: ScreenConfig, folder: Path
    ) -> MicrographRecord:
        """Judge one micrograph from its stored map; see ``Executor.score``."""
        started = time.monotonic()
        classmap = ClassMap.load(folder / result.raw_path)
        cells = bad_area.probabilities(classmap, reference.shift, config.ignore, config.min_area)
        # The stored map is what the model says; mask, areas and scores leave out what the settings ignore.
        stored = bad_area.probability(classmap, reference.shift)
        cut = bad_area.mask_threshold(config.threshold, self.model.recommended_threshold)
        good = bad_area.good_mask(cells, cut)
        judgement = self._judgement(task, result, config, cells, good)
        with writing(folder):
            self._write(judgement, task, result, config, stored, good, folder)
            if config.thumbnails:
                self._draw(judgement, task, result, cells, good, folder)
        judgement.seconds = round(result.seconds + time.monotonic() - started, 3)
        return judgement

    def _judgement(
        self, task: MicrographTask, result: MapResult, config: ScreenConfig, cells: bad_area.Cells, good: Mask
    ) -> MicrographRecord:
        area = bad_area.bad_area(cells, good)
        discarded = area > config.max_bad_area
        diameters = [scoring.particle_diameter(pick, config, result.pixel_size, task.path) for pick in task.picks]
        sizes = [diameter.angstrom for diameter in diameters]
        scores = scoring.score_picks(
            cells, task.picks, sizes, result.pixel_size, result.shape, config, self.model, discarded
        )
        outside = sum(score.cls == OUTSIDE for score in scores)
        flags: List[str] = list(result.flags)
        flags += [bad_area.MOSTLY_BAD_FLAG] if area > bad_area.MOSTLY_BAD else []
        flags += [f"picks_outside={outside}"] if outside else []
        return MicrographRecord(
            id=task.id,
            stem=task.stem,
            path=task.path,
            status=DISCARDED if discarded else ACCEPTED,
            reason=f"bad area {area:.3f} is more than {config.max_bad_area:g}" if discarded else "",
            bad_area=area,
            areas=bad_area.areas(bad_area.class_of_cells(cells, good)),
            scores=scores,
            flags=flags,
            pixel_size=result.pixel_size,
            shape=list(result.shape),
            level=result.level,
            particle_diameter=round(float(np.median(sizes)), 2) if sizes else None,
            diameter_from=", ".join(sorted({diameter.origin for diameter in diameters})),
        )

    def _write(
        self,
        judgement: MicrographRecord,
        task: MicrographTask,
        result: MapResult,
        config: ScreenConfig,
        probability: Grid,
        good: Mask,
        folder: Path,
    ) -> None:
        """Write map and masks, where they are not there from an earlier judging, and note their paths."""
        place = RunFolder(folder)
        judgement.probability, judgement.mask = place.probability(task.stem), place.mask(task.stem)
        if not _is_written(folder / judgement.probability):
            write_map(folder / judgement.probability, probability, result.sampling)
        if not _is_written(folder / judgement.mask):
            write_mask(folder / judgement.mask, good, result.sampling)
        if config.full_size_masks:
            judgement.full_mask = place.full_mask(task.stem)
            if not _is_written(folder / judgement.full_mask):
                write_mask(folder / judgement.full_mask, full_size(good, result), result.pixel_size)

    def _draw(
        self,
        judgement: MicrographRecord,
        task: MicrographTask,
        result: MapResult,
        cells: bad_area.Cells,
        good: Mask,
        folder: Path,
    ) -> None:
        """Draw the thumbnail on the stored picture.

        Raises
        ------
        ImageError
            When the stored picture is missing or damaged: the micrograph has to be read again.
        """
        judgement.thumbnail = RunFolder(folder).thumbnail(task.stem)
        try:
            draw_thumbnail(
                folder / result.base_path,
                folder / judgement.thumbnail,
                bad_area.class_of_cells(cells, good),
                ~good,
                cells.sampling,
                result.pixel_size,
                result.shape,
                [(pick.x, pick.y, score.kept) for pick, score in zip(task.picks, judgement.scores)],
                CLASSES,
                Path(task.path).name,
                judgement.bad_area,
            )
        except (OSError, SyntaxError) as error:  # Pillow raises both for a damaged file, without a number
            if getattr(error, "errno", None) in (None, errno.ENOENT):
                raise ImageError(folder / result.base_path, f"the stored picture cannot be read ({error})") from None
            raise

    def close(self) -> None:
        """Do nothing: the memory goes with the object."""


def _is_written(path: Path) -> bool:
    """Return whether a file is there and not empty: the map it was made from, reference and settings never change."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def full_size(good: Mask, result: MapResult) -> Mask:
    """Return a coarse mask at the micrograph's own size: each pixel has the value of the cell its centre lies in."""
    indices: Dict[int, Any] = {}
    for axis in (0, 1):
        place = (np.arange(result.shape[axis]) + 0.5) * result.pixel_size // result.sampling
        indices[axis] = np.minimum(place.astype(np.intp), good.shape[axis] - 1)
    mask: Mask = good[indices[0][:, None], indices[1][None, :]]
    return mask
