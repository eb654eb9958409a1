# SPDX-License-Identifier: GPL-3.0-or-later
"""Load the detector that a model folder describes, whatever its kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cryoice_scipion.core.config import ModelConfig
from cryoice_scipion.core.detectors.kinds import kind_of, module_of
from cryoice_scipion.core.detectors.model_folder import load_config
from cryoice_scipion.core.errors import ModelError

if TYPE_CHECKING:
    from cryoice_scipion.core.detectors.network_detector import Detector, Network


def load_detector(folder: Path, device: str = "cpu") -> Detector:
    """Load the detector of a model folder.

    Parameters
    ----------
    folder : Path
    device : str
        "cpu" or "cuda:N".

    Raises
    ------
    ModelError
        When the folder is damaged, or this version has no such kind of detector.
    """
    config = load_config(folder)
    kind = kind_of(config.network, folder)
    if kind.grades:
        raise ModelError(folder, "grades micrographs and makes no maps", "give it with --grader")
    detector: Detector = module_of(kind).load(folder, config, device)
    return detector


def build_network(config: ModelConfig) -> Network:
    """Return the untrained network that a model.json describes.

    Raises
    ------
    ModelError
        When this version has no such kind of detector.
    """
    module = module_of(kind_of(config.network, config.name))
    views = [view.kind for view in config.views]
    network: Network = module.build(len(config.classes), views, config.network_options)
    return network
