# SPDX-License-Identifier: GPL-3.0-or-later
"""Store the last epoch of a training in the model folder, so that an interrupted training continues from it."""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path
from typing import Any, Dict, List

import torch

from cryoice_scipion.core.config import TrainConfig
from cryoice_scipion.core.detectors.model_folder import UNFINISHED
from cryoice_scipion.core.errors import one_line
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.training.trainers import Log
from cryoice_scipion.core.training.unet.fit import UNetRun
from cryoice_scipion.core.training.unet.training_micrographs import TrainingMicrograph


class Checkpoint:
    """The last epoch of a training, on disk; a later call with the same settings and data continues from it."""

    def __init__(self, folder: Path, config: TrainConfig, data: Dict[str, Any]) -> None:
        """Set the model folder and everything the training depends on; ``data`` must be serialisable as JSON."""
        self._path = folder / UNFINISHED
        self._made_with = {"config": config.to_text(), "data": json.dumps(data, sort_keys=True)}

    def delete(self) -> None:
        """Delete the file, once the training is finished."""
        self._path.unlink(missing_ok=True)

    def save(self, run: UNetRun, history: List[Dict[str, float]]) -> None:
        """Write the state of a run, atomically.

        Raises
        ------
        CryoIceError
            When the folder cannot be written; the earlier epoch is kept.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()  # torch itself does not say that a disk is full
        torch.save({**self._made_with, "history": history, "run": run.state_dict()}, content)
        with replacing(self._path) as temporary:
            temporary.write_bytes(content.getvalue())

    def restore(self, run: UNetRun, log: Log) -> List[Dict[str, float]]:
        """Load the stored state into a run, if it has the same settings and data; return the training curves so far."""
        if not self._path.is_file():
            return []
        try:
            kept = torch.load(self._path, map_location=run.device, weights_only=True)
            differ = [name for name, value in self._made_with.items() if kept[name] != value]
            if differ:
                raise ValueError(f"its {' and '.join(differ)} differ")
        except Exception as error:  # torch raises anything for a damaged file
            log(f"{self._path} is not used ({one_line(error)}); training starts from the first epoch")
            return []
        run.load_state_dict(kept["run"])  # fits: the shapes of the network were compared
        history: List[Dict[str, float]] = kept["history"]
        log(f"going on after epoch {len(history)}")
        return history


def checksum(loaded: Dict[str, TrainingMicrograph]) -> int:
    """Return the CRC-32 of views and labels of all micrographs."""
    total = 0
    for micrograph in loaded.values():
        for array in (micrograph.view, micrograph.spectrum, micrograph.labels):
            total = zlib.crc32(array.tobytes(), total)
    return total
