# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute in this process: map a micrograph, and score its coordinates on the stored map."""

from __future__ import annotations

import contextlib
import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Tuple

import numpy as np

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.detectors.model_folder import fingerprint, load_config, resolve_model
from cryoice_scipion.core.errors import CryoIceError, WorkerError
from cryoice_scipion.core.grades.grading import grade_micrograph, is_graded
from cryoice_scipion.core.grades.loading import load_grader
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.loading import LoadedMicrograph, load_micrograph
from cryoice_scipion.core.images.thumbnails import grey_base, write_base
from cryoice_scipion.core.maps.mapping import map_micrograph
from cryoice_scipion.core.records import MapResult, MicrographRecord, MicrographTask, Reference
from cryoice_scipion.core.results.micrograph_result import score_micrograph
from cryoice_scipion.core.results.outliers import add_outlier, outlier_of
from cryoice_scipion.core.results.result_files import write_result
from cryoice_scipion.core.results.run_folder import RunFolder, writing
from cryoice_scipion.core.views.session_features import session_features
from cryoice_scipion.core.workers.devices import find_device

if TYPE_CHECKING:
    from cryoice_scipion.core.detectors.network_detector import Detector
    from cryoice_scipion.core.grades.resnet import ResNetGrader

_DIGITS = 5  # of probabilities


class LocalExecutor:
    """Compute in this process with one detector on one device."""

    def __init__(self, detector: Detector, model_fingerprint: str = "", device: str = "cpu") -> None:
        """Take a loaded detector."""
        self.detector = detector
        self.model = detector.config
        self.fingerprint = model_fingerprint
        self.device = device
        self._graders: Dict[str, ResNetGrader] = {}

    @classmethod
    def load(cls, model: Path, device: str) -> LocalExecutor:
        """Load a model folder on "cpu" or "cuda:N".

        Raises
        ------
        ModelError
            When the model folder is damaged.
        """
        from cryoice_scipion.core.detectors.loading import load_detector

        return cls(load_detector(model, device), fingerprint(model), device)

    def map(self, task: MicrographTask, config: ScreenConfig, contrast: str, folder: Path) -> MapResult:
        """Map one micrograph; see ``Executor.map``."""
        started = time.monotonic()
        paths = RunFolder(folder)
        paths.check_stem(task.stem, task.path)
        micrograph = self.read(task, config)
        classmap, mapped = self.compute(micrograph, task.path, config, contrast)
        mapped.raw_path, mapped.base_path = paths.raw_map(task.stem), paths.base(task.stem)
        with writing(folder):
            made = (paths.probability, paths.outlier, paths.mask, paths.full_mask, paths.regions, paths.region_map)
            for name in (path(task.stem) for path in made):
                _remove(folder / name)  # made from an earlier map; `score` would keep them
            classmap.save(folder / mapped.raw_path)
            if config.outlier:
                save_features(folder, task.stem, micrograph, mapped)
            if config.thumbnails:
                grey = grey_base(micrograph.image, micrograph.border, micrograph.pixel_size)
                write_base(folder / mapped.base_path, grey)
        mapped.seconds = round(time.monotonic() - started, 3)
        return mapped

    def compute(
        self, micrograph: LoadedMicrograph, name: str, config: ScreenConfig, contrast: str
    ) -> Tuple[ClassMap, MapResult]:
        """Map one micrograph in memory, with what its grade needs; see ``map_micrograph``."""
        classmap, mapped = map_micrograph(self.detector, micrograph, name, contrast)
        if config.grader and is_graded(config, self.model):
            found = self._grader(config.grader).probabilities(
                micrograph.image, micrograph.pixel_size, micrograph.border
            )
            mapped.grade_probabilities = {grade: round(value, _DIGITS) for grade, value in found.items()}
        return classmap, mapped

    def _grader(self, folder: str) -> ResNetGrader:
        """Return the grader of a folder, which is loaded once."""
        if folder not in self._graders:
            self._graders[folder] = load_grader(resolve_model(folder), self.device)
        return self._graders[folder]

    def read(self, task: MicrographTask, config: ScreenConfig) -> LoadedMicrograph:
        """Return the micrograph of a task."""
        return load_micrograph(task.path, config.pixel_size or task.pixel_size)

    def score(
        self, task: MicrographTask, result: MapResult, reference: Reference, config: ScreenConfig, folder: Path
    ) -> MicrographRecord:
        """Score one micrograph on its stored map; see ``Executor.score``."""
        started = time.monotonic()
        classmap = ClassMap.load(folder / result.raw_path)
        outlier = outlier_of(folder, task.id, result, reference.one_class)
        scored = score_micrograph(
            classmap,
            task,
            result,
            config,
            self.model,
            reference.logit_offset,
            lambda cells: grade_micrograph(cells, result, config, self.model, outlier),
        )
        if outlier is not None:
            add_outlier(folder, scored.record, outlier, result.features_sampling)
        write_result(folder, scored, result, config)
        scored.record.seconds = round(result.seconds + time.monotonic() - started, 3)
        return scored.record

    def close(self) -> None:
        """Do nothing: the memory is freed with the object."""


class DeferredExecutor(LocalExecutor):
    """Load the detector when the first micrograph is mapped: a run with nothing to map needs no torch."""

    def __init__(self, model: Path, device: str) -> None:
        """Check the model folder; ``device`` is a name that ``find_devices`` takes.

        Raises
        ------
        ModelError
            When the model folder is damaged.
        """
        self.model, self.fingerprint, self.device = load_config(model), fingerprint(model), device
        self._folder = model
        self._graders = {}

    @functools.cached_property
    def detector(self) -> Detector:  # type: ignore[override]
        """Return the detector; an error of its loading ends the run, not only the micrograph."""
        try:
            loaded = LocalExecutor.load(self._folder, find_device(self.device))
        except CryoIceError as error:
            raise WorkerError(error.what, error.reason, error.remedy) from None
        self.device = loaded.device
        return loaded.detector


def save_features(folder: Path, stem: str, micrograph: LoadedMicrograph, mapped: MapResult) -> None:
    """Store the features that the outlier map is made from, and note their path in the map result."""
    features = session_features(micrograph.image, micrograph.pixel_size, micrograph.border)
    mapped.features_path, mapped.features_sampling = RunFolder(folder).features(stem), features.sampling
    with replacing(folder / mapped.features_path) as temporary, open(temporary, "wb") as stream:
        np.save(stream, features.values)


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
