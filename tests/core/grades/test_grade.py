# SPDX-License-Identifier: GPL-3.0-or-later
"""The grade of areas, the decision, the evidence and the logistic model."""

import numpy as np
import pytest

from cryoice_scipion.constants import GRADES, UNSURE
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.detectors.one_class_fit import fit_one_class, measure
from cryoice_scipion.core.grades.evidence import MAP, SESSION, evidence_of, shares_of
from cryoice_scipion.core.grades.grade import bad_probability, decide, grade_of_areas
from cryoice_scipion.core.grades.logistic import NAMES, LogisticGrader, LogisticModel, default_grader
from cryoice_scipion.core.maps.bad_area import probabilities

CLASSES = ["good", "crystalline", "contamination", "thick", "support", "aggregate", "vacuum"]


@pytest.mark.parametrize(
    ("areas", "grade"),
    [
        ({}, "great"),
        ({"contamination": 0.049}, "great"),
        ({"contamination": 0.03, "support": 0.03}, "decent"),
        ({"contamination": 0.299}, "decent"),
        ({"contamination": 0.2, "aggregate": 0.15, "support": 0.3}, "contaminated"),
        ({"crystalline": 0.31}, "crystalline"),
        ({"thick": 0.9, "support": 0.1}, "thick"),
        ({"support": 0.5, "vacuum": 0.4}, "film"),
        ({"vacuum": 1.0}, "empty"),
    ],
)
def test_the_grade_of_areas_is_that_of_the_largest_bad_part(areas, grade):
    assert grade_of_areas(areas) == grade


def spread(**given):
    """Return probabilities of all grades, the rest on those that are not given."""
    rest = (1 - sum(given.values())) / (len(GRADES) - len(given))
    return {name: given.get(name, rest) for name in GRADES}


def test_the_cost_of_a_miss_moves_the_limit_of_p_bad():
    doubtful = spread(great=0.6, decent=0.15, film=0.2, empty=0.05)
    assert bad_probability(doubtful) == pytest.approx(0.25)
    assert decide(doubtful, 1) == "great"
    assert decide(doubtful, 2.9) == "great"  # 1 / 3.9 is above 0.25
    assert decide(doubtful, 3.1) == "film"


def test_a_grade_that_is_not_likely_is_unsure():
    assert decide(spread(great=0.3, film=0.4), 1) == UNSURE
    assert decide(spread(film=0.5), 1) == "film"


def cells_with(area, name):
    """Return cells of which a share is surely bad, of one class."""
    logits = np.full((len(CLASSES), 10, 10), -20.0, dtype=np.float32)
    logits[0] = 0
    bad = np.arange(100).reshape(10, 10) < 100 * area
    logits[0, bad], logits[CLASSES.index(name), bad] = -20, 0
    return probabilities(ClassMap(logits, np.zeros((10, 10), bool), CLASSES, 32.0, 0.0), 0.0)


def test_evidence_has_the_area_of_each_class_and_the_deviation_from_the_session():
    cells = cells_with(0.2, "support")
    assert shares_of(cells)["support"] == pytest.approx(0.2, abs=1e-5)
    rng = np.random.default_rng(0)
    reference = fit_one_class({key: rng.normal(0, 1, (8, 8, 18)) for key in range(12)}, 100.0)
    usual = evidence_of(cells, measure(reference, None, rng.normal(0, 1, (8, 8, 18)), 100.0))
    assert set(usual) == {*MAP, *SESSION}
    assert usual["area_support"] == pytest.approx(np.log10(1 + 0.2 / 0.002), abs=1e-4)
    assert usual["area_vacuum"] == pytest.approx(0, abs=1e-3)
    assert usual["odds_low"] < -10 < 10 < usual["odds_high"]
    brighter = rng.normal(0, 1, (8, 8, 18))
    brighter[..., 0] += 3
    brighter[:4, :, 1] += 3
    unlike = evidence_of(cells, measure(reference, None, brighter, 100.0))
    assert unlike["brightness"] > 2 > abs(usual["brightness"])
    assert unlike["outlier"] > usual["outlier"] + 1
    assert unlike["patchy_variance"] > 0.4 > abs(usual["patchy_variance"])
    assert abs(unlike["patchy_brightness"]) < 0.4
    assert unlike["cells_low"] > usual["cells_high"]
    assert set(evidence_of(cells)) == set(MAP)
    few = fit_one_class({key: rng.normal(0, 1, (8, 8, 18)) for key in range(9)}, 100.0)
    assert set(evidence_of(cells, measure(few, None, brighter, 100.0))) == set(MAP)


def model_of(**weights):
    """Return a model of which some weights of the evidence are 1 for one grade."""
    table = np.zeros((len(GRADES), len(NAMES) + 1))
    for name, grade in weights.items():
        table[GRADES.index(grade), NAMES.index(name)] = 5
    number = len(NAMES)
    return LogisticModel(
        names=list(NAMES), mean=[0.0] * number, scale=[1.0] * number, weights=table.tolist(), bias=[0.0] * len(GRADES)
    )


def test_the_reason_names_the_evidence_that_counts():
    grader = LogisticGrader(model_of(area_support="film", cells_high="crystalline"))
    film = grader.grade({"area_support": 2.0}, {"support": 0.62, "vacuum": 0.001}, 1)
    assert (film.name, film.reason) == ("film", "Film on 62 %.")
    assert sum(film.probabilities.values()) == pytest.approx(1, abs=1e-4)
    assert film.confidence == film.probabilities["film"]
    crystals = grader.grade({"cells_high": 2.0}, {}, 1)
    assert (crystals.name, crystals.reason) == ("crystalline", "Unlike its session in some places.")
    other = LogisticGrader(model_of(odds_high="film")).grade({"odds_high": 2.0}, {"vacuum": 0.08}, 1)
    assert (other.name, other.reason) == ("film", "P(BAD) high in some places.")  # no ice is no reason for a film
    nothing = grader.grade({}, {}, 1)
    assert (nothing.name, nothing.reason) == (UNSURE, "Between great (0.14) and decent (0.14).")


def test_a_session_that_is_not_known_has_a_term_of_its_own():
    model = model_of()
    model.weights[GRADES.index("thick")][-1] = 5.0
    grader = LogisticGrader(model)
    assert grader.grade({}, {}, 1).name == "thick"
    assert grader.grade(dict.fromkeys(SESSION, 0.0), {}, 1).name == UNSURE


@pytest.mark.parametrize(
    ("name", "grade"),
    [
        ("crystalline", "crystalline"),
        ("contamination", "contaminated"),
        ("support", "film"),
        ("aggregate", "contaminated"),
    ],
)
def test_the_shipped_grader_knows_large_bad_areas_without_a_session(name, grade):
    cells = cells_with(0.9, name)
    assert default_grader().grade(evidence_of(cells), shares_of(cells), 1).name == grade


def test_the_shipped_grader_is_sure_of_clean_micrographs_that_are_typical_of_their_session():
    evidence = evidence_of(cells_with(0.0, "support"))
    evidence.update(dict.fromkeys(SESSION, 0.0))
    found = default_grader().grade(evidence, {}, 1)
    assert found.name == "great"
    assert found.confidence > 0.8
