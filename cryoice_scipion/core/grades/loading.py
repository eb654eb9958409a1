# SPDX-License-Identifier: GPL-3.0-or-later
"""Load the grader that a model folder describes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cryoice_scipion.core.detectors.kinds import kind_of, module_of
from cryoice_scipion.core.detectors.model_folder import load_config
from cryoice_scipion.core.errors import ModelError

if TYPE_CHECKING:
    from cryoice_scipion.core.grades.resnet import ResNetGrader


def load_grader(folder: Path, device: str = "cpu") -> ResNetGrader:
    """Load the grader of a model folder.

    Raises
    ------
    ModelError
        When the folder is damaged, or holds no grader.
    """
    config = load_config(folder)
    kind = kind_of(config.network, folder)
    if not kind.grades:
        raise ModelError(folder, "maps micrographs and does not grade them", "give it with --model")
    grader: ResNetGrader = module_of(kind).load(folder, config, device)
    return grader
