# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the micrographs of ``--clean``, for the kinds that learn from them alone. Imports no torch."""

from __future__ import annotations

from typing import Iterator, Sequence

from tqdm import tqdm

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.images.loading import LoadedMicrograph, load_micrograph
from cryoice_scipion.core.records import MicrographTask
from cryoice_scipion.core.training.trainers import TrainRequest


def read_clean(request: TrainRequest, tasks: Sequence[MicrographTask]) -> Iterator[LoadedMicrograph]:
    """Yield the micrographs that can be read; a warning names each of the others."""
    for task in tqdm(tasks, desc="measured", unit="micrograph", disable=not request.progress):
        try:
            yield load_micrograph(task.path, request.config.patches.pixel_size or task.pixel_size)
        except CryoIceError as error:
            request.warn([f"left out: {error}"])
