# SPDX-License-Identifier: GPL-3.0-or-later
"""Grade the micrographs of a run, if its model and its settings allow it. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import List, Mapping, Optional

from cryoice_scipion.constants import ALL_GRADES
from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.detectors.kinds import kind_of
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model
from cryoice_scipion.core.detectors.one_class_fit import Outlier
from cryoice_scipion.core.errors import ModelError, SettingsError
from cryoice_scipion.core.grades.evidence import AREAS, evidence_of, shares_of
from cryoice_scipion.core.grades.grade import Grade, graded
from cryoice_scipion.core.grades.logistic import default_grader
from cryoice_scipion.core.grades.reasons import reason_of
from cryoice_scipion.core.maps.bad_area import Cells
from cryoice_scipion.core.records import MapResult, MicrographRecord


def is_graded(config: ScreenConfig, model: ModelConfig) -> bool:
    """Return whether a run with these settings and this model grades its micrographs."""
    return config.grade and (bool(config.grader) or not _missing(model))


def check_grades(config: ScreenConfig, model: ModelConfig) -> None:
    """Make sure that the grader can be used, and that a run which rejects micrographs by grade has grades.

    Raises
    ------
    ModelError
        When the folder of the grader is damaged, or holds no grader.
    SettingsError
        When grades are rejected, and the model does not tell the classes of bad area apart.
    """
    if config.grader:
        check_grader(resolve_model(config.grader))
    elif config.reject_grades and _missing(model):
        reason = f"the model '{model.name}' gives no grades, because it does not know {', '.join(_missing(model))}"
        raise SettingsError("rejected grades", reason, "reject no grades, or use another model")


def check_grader(folder: Path) -> ModelConfig:
    """Return the description of a trained grader.

    Raises
    ------
    ModelError
        When the folder is damaged, or holds no grader.
    """
    config = load_config(folder)
    if not kind_of(config.network, folder).grades:
        raise ModelError(folder, "maps micrographs and does not grade them", "give it with --model")
    return config


def grade_micrograph(
    cells: Cells,
    mapped: MapResult,
    config: ScreenConfig,
    model: ModelConfig,
    outlier: Optional[Outlier] = None,
) -> Optional[Grade]:
    """Return the grade of a micrograph; None if this run does not grade.

    Parameters
    ----------
    cells : Cells
        P(BAD) by class, with the settings applied: an ignored class is no reason for a bad grade.
    mapped : MapResult
        Has the probabilities from a trained grader, if there is one.
    outlier : Outlier, optional
        How it differs from its session; None: not known.
    """
    if not is_graded(config, model):
        return None
    shares = shares_of(cells)
    if not mapped.grade_probabilities:
        return default_grader().grade(evidence_of(cells, outlier), shares, config.miss_cost)

    def why(name: str) -> str:  # of the reasons of a trained grader, only the areas are known
        return reason_of(name, {}, {}, shares) if shares else "By the trained grader."

    return graded(mapped.grade_probabilities, config.miss_cost, why)


def recorded_grade(record: MicrographRecord) -> Optional[Grade]:
    """Return the grade in the record of a micrograph; None: it is not graded."""
    if not record.grade:
        return None
    confidence = record.grade_confidence or 0.0
    return Grade(record.grade, confidence, record.grade_reason, record.grade_probabilities)


def counts_in_words(counts: Mapping[str, int]) -> str:
    """Return numbers of micrographs by grade as text: "12 great, 3 film"."""
    return ", ".join(f"{counts[name]:,} {name}" for name in ALL_GRADES if counts.get(name))


def _missing(model: ModelConfig) -> List[str]:
    """Return the classes that a grade needs and the model does not have."""
    return [name for name in AREAS if name not in model.classes]
