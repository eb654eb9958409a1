# SPDX-License-Identifier: GPL-3.0-or-later
"""Load the detector that a model folder describes, whatever its kind."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from cryoice_scipion.core.detectors.kinds import kind_of
from cryoice_scipion.core.detectors.model_folder import load_config

if TYPE_CHECKING:
    from cryoice_scipion.core.detectors.network_detector import Detector


def load_detector(folder: Path, device: str = "cpu") -> Detector:
    """Return the detector of a model folder.

    Parameters
    ----------
    device : str
        "cpu" or "cuda:N".

    Raises
    ------
    ModelError
        When the folder is damaged, or this version has no such kind of detector.
    """
    config = load_config(folder)
    module = importlib.import_module(kind_of(config.network, folder).module)
    detector: Detector = module.load(folder, config, device)
    return detector
