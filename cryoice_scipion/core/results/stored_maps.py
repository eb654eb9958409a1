# SPDX-License-Identifier: GPL-3.0-or-later
"""Score coordinates on the stored maps of a run, without the model and also while the run goes on. Imports no torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from cryoice_scipion.constants import FAILED
from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.records import MapResult, MicrographTask, Pick, Reference, from_json
from cryoice_scipion.core.results.journal import read_lines
from cryoice_scipion.core.results.micrograph_result import MicrographResult, score_micrograph
from cryoice_scipion.core.results.run_folder import JOURNAL


@dataclasses.dataclass
class StoredMaps:
    """The maps of a run and all that scoring needs beside them."""

    folder: Path
    config: ScreenConfig  # of the run
    model: ModelConfig
    reference: Reference
    tasks: Dict[int, MicrographTask]  # screened micrographs with a map, without coordinates, by id
    _mapped: Dict[int, MapResult]

    @classmethod
    def read(cls, folder: Path) -> StoredMaps:
        """Read the journal of a run.

        Raises
        ------
        CryoIceError
            When the folder has no run, its journal is damaged, or no micrograph is screened yet.
        """
        path = Path(folder) / JOURNAL
        if not path.is_file():
            raise CryoIceError(folder, "holds no screening", "give the output folder of 'cryoice screen'")
        head: Dict[str, Any] = {}
        reference: Optional[Reference] = None
        mapped: Dict[int, MapResult] = {}
        tasks: Dict[int, MicrographTask] = {}
        for _, _, line in read_lines(path):
            if line["kind"] == "head":
                head = line
            elif line["kind"] == "reference":
                reference = from_json(Reference, line["reference"])
            elif line["kind"] == "mapped":
                mapped[line["id"]] = from_json(MapResult, line["result"])
            elif line["kind"] == "screened":
                key, record = line["record"]["id"], line["record"]
                tasks.pop(key, None)
                if record["status"] != FAILED:
                    tasks[key] = MicrographTask(key, record["path"], record["stem"])
        tasks = {key: tasks[key] for key in sorted(tasks) if key in mapped}
        if reference is None or not tasks:
            raise CryoIceError(folder, "has no screened micrograph yet", "wait until the first ones are screened")
        if "model_config" not in head:
            raise CryoIceError(folder, "was screened by a version that stored no thresholds", "screen it again")
        config, model = ScreenConfig.make(**head["config"]), ModelConfig.make(**head["model_config"])
        return cls(Path(folder), config, model, reference, tasks, mapped)

    def score(self, key: int, picks: Sequence[Pick], config: ScreenConfig) -> MicrographResult:
        """Return the result of a micrograph with these coordinates.

        Parameters
        ----------
        key : int
            Id of the micrograph, one of ``tasks``.
        config : ScreenConfig
            The settings, which may differ from those of the run in everything that is decided on maps.

        Raises
        ------
        CryoIceError
            When the stored map is missing or damaged.
        """
        mapped = self._mapped[key]
        classmap = ClassMap.load(self.folder / mapped.raw_path)
        task = dataclasses.replace(self.tasks[key], picks=list(picks))
        return score_micrograph(classmap, task, mapped, config, self.model, self.reference.logit_offset)
