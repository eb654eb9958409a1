# SPDX-License-Identifier: GPL-3.0-or-later
"""Score coordinates on the stored maps of a run, without the model and also while the run goes on. Imports no torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Dict, Optional, Sequence

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.constants import FAILED
from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.grades.grading import recorded_grade
from cryoice_scipion.core.images.archives import is_stored
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.images.thumbnails import read_base
from cryoice_scipion.core.maps.bad_area import probabilities
from cryoice_scipion.core.records import MapResult, MicrographRecord, MicrographTask, Pick, Reference
from cryoice_scipion.core.regions.layers import Layers, layers_of
from cryoice_scipion.core.results.journal_lines import Head, Mapped, Referenced, Screened, read_run
from cryoice_scipion.core.results.micrograph_result import MicrographResult, score_micrograph
from cryoice_scipion.core.results.outliers import read_features
from cryoice_scipion.core.results.run_folder import JOURNAL
from cryoice_scipion.core.results.run_reader import JournalStart


@dataclasses.dataclass
class _Content:
    """Settings, reference, and newest map and record of each micrograph in a journal, as far as it has been read."""

    start: JournalStart
    end: int = 0  # bytes that were read
    head: Optional[Head] = None
    reference: Optional[Reference] = None
    mapped: Dict[int, MapResult] = dataclasses.field(default_factory=dict)
    records: Dict[int, MicrographRecord] = dataclasses.field(default_factory=dict)  # without scores

    def grown(self, path: Path) -> _Content:
        """Return the content with the lines that are new; this one stays as it is, since other threads may use it."""
        found = dataclasses.replace(self, mapped=dict(self.mapped), records=dict(self.records))
        for end, line in read_run(path, self.end):
            found.end = end
            if isinstance(line, Head):
                found.head = line
            elif isinstance(line, Referenced):
                found.reference = line.reference
            elif isinstance(line, Mapped):
                found.mapped[line.id] = line.result
            elif isinstance(line, Screened):
                found.records[line.record.id] = dataclasses.replace(line.record, scores=[])
        return found


@dataclasses.dataclass
class StoredMaps:
    """The maps of a run and all that scoring needs beside them."""

    folder: Path
    config: ScreenConfig  # of the run
    model: ModelConfig
    reference: Reference
    tasks: Dict[int, MicrographTask]  # screened micrographs with a map, without coordinates, by id
    failed: Dict[int, MicrographRecord]  # micrographs whose screening failed, by id
    _content: _Content

    @classmethod
    def read(cls, folder: Path, earlier: Optional[StoredMaps] = None) -> StoredMaps:
        """Read the journal of a run.

        Parameters
        ----------
        earlier : StoredMaps, optional
            The same run at an earlier time: only what is new in its journal is read.

        Raises
        ------
        CryoIceError
            When the folder has no run, its journal is damaged, or no micrograph is screened yet.
        """
        path = Path(folder) / JOURNAL
        if not path.is_file():
            raise CryoIceError(folder, "holds no screening", "give the output folder of 'cryoice screen'")
        start = JournalStart.of(path)
        known = earlier._content if earlier is not None and start.continues(earlier._content.start) else _Content(start)
        content = known.grown(path)
        head, reference, mapped, records = content.head, content.reference, content.mapped, content.records
        latest = [records[key] for key in sorted(records)]
        found = [one for one in latest if one.id in mapped and one.status != FAILED]
        tasks = {one.id: MicrographTask(one.id, one.path, one.stem) for one in found}
        failed = {one.id: one for one in latest if one.status == FAILED}
        if reference is None or not tasks:
            if failed:
                reason = f"has no screened micrograph ({len(failed)} failed: {next(iter(failed.values())).reason})"
                raise CryoIceError(folder, reason, "if the screening has ended, correct the cause and screen again")
            raise CryoIceError(folder, "has no screened micrograph yet", "wait until the first ones are screened")
        if head is None or head.model_config is None:
            raise CryoIceError(folder, "was screened by a version that stored no thresholds", "screen it again")
        config, model = ScreenConfig.make(**head.config), ModelConfig.make(**head.model_config)
        return cls(Path(folder), config, model, reference, tasks, failed, content)

    def mapped(self, key: int) -> MapResult:
        """Return the map result of a micrograph, by its id in ``tasks``."""
        return self._content.mapped[key]

    def grade(self, key: int) -> str:
        """Return the recorded grade of a micrograph; empty: it is not graded."""
        return self._content.records[key].grade

    def score(self, key: int, picks: Sequence[Pick], config: ScreenConfig) -> MicrographResult:
        """Return the result of a micrograph with these coordinates.

        Parameters
        ----------
        key : int
            Id of the micrograph, one of ``tasks``.
        config : ScreenConfig
            The settings, which may differ from those of the run in everything that is decided on maps. The grade is
            the recorded one.

        Raises
        ------
        CryoIceError
            When the stored map is missing or damaged, or a grade is rejected and the run has no grades.
        """
        if config.reject_grades and not any(record.grade for record in self._content.records.values()):
            raise CryoIceError(self.folder, "has no grades, so none can be rejected", "screen it again with grades")
        mapped = self._content.mapped[key]
        classmap = ClassMap.load(self.folder / mapped.raw_path)
        task = dataclasses.replace(self.tasks[key], picks=list(picks))
        grade = recorded_grade(self._content.records[key])
        offset = self.reference.logit_offset
        config = config.model_copy(update={"regions": False})  # they do not depend on coordinates
        return score_micrograph(classmap, task, mapped, config, self.model, offset, lambda cells: grade)

    def layers(self, key: int) -> Layers:
        """Return what is stored of each cell of a micrograph, on the grid of its map.

        Parameters
        ----------
        key : int
            Id of the micrograph, one of ``tasks``.

        Raises
        ------
        ImageError
            When a stored file is missing or damaged.
        """
        mapped, config = self._content.mapped[key], self.config
        classmap = ClassMap.load(self.folder / mapped.raw_path)
        cells = probabilities(classmap, self.reference.logit_offset, config.ignore, config.min_area)
        features = read_features(self.folder / mapped.features_path) if mapped.features_path else None
        return layers_of(
            cells, self.frame(key), self.picture(key), features, mapped.features_sampling,
            self.reference.one_class,
        )  # fmt: skip

    def picture(self, key: int) -> NDArray[np.uint8]:
        """Return the grey picture of a micrograph; a single grey if the run stored none."""
        path = self.folder / self._content.mapped[key].base_path
        if not is_stored(path):
            return np.zeros((1, 1), dtype=np.uint8)
        return read_base(path)

    def frame(self, key: int) -> Frame:
        """Return shape and pixel size of a micrograph."""
        return Frame(self._content.mapped[key].shape, self._content.mapped[key].pixel_size)
