# SPDX-License-Identifier: GPL-3.0-or-later
"""A grader with known coefficients, and the classes that a detector needs for grades."""

import numpy as np

from cryoice_scipion.constants import GRADES
from cryoice_scipion.core.grades import evidence, grading
from cryoice_scipion.core.grades.evidence import AREAS
from cryoice_scipion.core.grades.logistic import NAMES, LogisticGrader, LogisticModel

CLASSES = ("good", "support", *(name for name in AREAS if name != "support"))


def simple_grader():
    """Return a grader: film on most of the area is ``film``, unlike the session is ``empty``, the others are ``great``.

    Every number of the evidence has a weight, so that a change of any of them changes the probabilities.
    """
    weights = np.zeros((len(GRADES), len(NAMES) + 1))
    weights[GRADES.index("decent"), : len(NAMES)] = 0.01
    weights[GRADES.index("film"), NAMES.index("area_support")] = 20.0
    weights[GRADES.index("empty"), NAMES.index("outlier")] = 4.0
    bias = {"great": 3.0, "film": -40.0}
    model = LogisticModel(
        names=list(NAMES),
        mean=[0.0] * len(NAMES),
        scale=[1.0] * len(NAMES),
        weights=weights.tolist(),
        bias=[bias.get(name, -1.0) for name in GRADES],
    )
    return LogisticGrader(model)


def use_simple_grader(patch):
    """Grade with it, and by a session of any size."""
    patch.setattr(grading, "default_grader", simple_grader)
    patch.setattr(evidence, "LEAST_SESSION", 1)
