# SPDX-License-Identifier: GPL-3.0-or-later
"""Load the grader that a model folder describes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cryoice_scipion.core.detectors.kinds import kind_of, module_of
from cryoice_scipion.core.grades.grading import check_grader

if TYPE_CHECKING:
    from cryoice_scipion.core.grades.resnet import ResNetGrader


def load_grader(folder: Path, device: str = "cpu") -> ResNetGrader:
    """Load the grader of a model folder.

    Raises
    ------
    ModelError
        When the folder is damaged, or holds no grader.
    """
    config = check_grader(folder)
    grader: ResNetGrader = module_of(kind_of(config.network, folder)).load(folder, config, device)
    return grader
