# SPDX-License-Identifier: GPL-3.0-or-later
"""Grade the micrographs of a run, if its model and its settings allow it. No torch."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional

from numpy.typing import NDArray

from cryoice_scipion.constants import ALL_GRADES
from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.grades.evidence import AREAS, evidence_of, shares_of
from cryoice_scipion.core.grades.grade import Grade
from cryoice_scipion.core.grades.logistic import default_grader
from cryoice_scipion.core.maps.bad_area import Cells
from cryoice_scipion.core.records import MapResult, MicrographRecord, OneClass


def is_graded(config: ScreenConfig, model: ModelConfig) -> bool:
    """Return whether a run with these settings and this model grades its micrographs."""
    return config.grade and not _missing(model)


def check_grades(config: ScreenConfig, model: ModelConfig) -> None:
    """Make sure that a run which rejects micrographs by grade has grades.

    Raises
    ------
    SettingsError
        When the model does not tell the classes of bad area apart.
    """
    if config.reject_grades and _missing(model):
        reason = f"the model '{model.name}' gives no grades, because it does not know {', '.join(_missing(model))}"
        raise SettingsError("rejected grades", reason, "reject no grades, or use another model")


def grade_micrograph(
    cells: Cells,
    mapped: MapResult,
    config: ScreenConfig,
    model: ModelConfig,
    features: Optional[NDArray[Any]] = None,
    reference: Optional[OneClass] = None,
) -> Optional[Grade]:
    """Return the grade of a micrograph; None if this run does not grade.

    Parameters
    ----------
    cells : Cells
        P(BAD) by class, with the settings applied: an ignored class is no reason for a bad grade.
    mapped : MapResult
        Has the description of the power spectrum.
    features, reference
        See :func:`~cryoice_scipion.core.grades.evidence.evidence_of`.
    """
    if not is_graded(config, model):
        return None
    evidence = evidence_of(cells, mapped.power, features, mapped.features_sampling, reference)
    return default_grader().grade(evidence, shares_of(cells), config.miss_cost)


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
