# SPDX-License-Identifier: GPL-3.0-or-later
"""What the annotators of the real micrographs agree on: every figure on real micrographs rests on it."""

import sys
from pathlib import Path

import numpy as np
import pytest

from cryoice_scipion.constants import CLASSES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks" / "real"))
from rasterise import UNSURE, Annotation, Area, annotated, label_image, load_annotations  # noqa: E402

GOOD, CONTAMINATION, SUPPORT, BORDER = (CLASSES.index(name) for name in ("good", "contamination", "support", "border"))


def drew(*areas):
    """One annotator's rectangles on 100 x 100 px of 2 Å: (class, left, right, how sure), over all rows."""
    shapes = [
        Area(name, np.array([[left, 0], [right, 0], [right, 100], [left, 100]], dtype=float), sure)
        for name, left, right, sure in areas
    ]
    return Annotation("m", 2.0, (100, 100), shapes)


def agreed(*annotators):
    """Return the labels of the five columns of 20 px."""
    labels = label_image(annotators, 20.0)
    assert labels.shape == (5, 5)
    assert (labels == labels[0]).all()
    return labels[0].tolist()


@pytest.mark.parametrize(
    ("sure", "label"),
    [
        ((0.9, 0.9, 0.9), CONTAMINATION),
        ((0.9, 0.8, 0.0), CONTAMINATION),  # one of three overlooked it
        ((0.6, 0.6, 0.3), CONTAMINATION),
        ((0.9, 0.0, 0.0), UNSURE),  # the margin that one of them drew around a crystal
        ((0.4, 0.4, 0.3), UNSURE),
        ((0.4, 0.0, 0.0), GOOD),  # one of three suspects it
        ((0.0, 0.0, 0.0), GOOD),
    ],
)
def test_a_place_is_what_annotators_hold_it_for_in_the_mean(sure, label):
    annotators = [drew(("contamination", 20, 40, value)) if value else drew() for value in sure]
    assert agreed(*annotators) == [GOOD, label, GOOD, GOOD, GOOD]


def test_the_surest_names_the_class_and_any_of_them_the_border():
    first = drew(("border", 0, 20, 0.8), ("contamination", 40, 60, 0.6))
    second = drew(("support", 40, 60, 0.95), ("contamination", 0, 20, 0.9))
    assert agreed(first, second) == [BORDER, GOOD, SUPPORT, GOOD, GOOD]


def test_of_one_annotators_areas_the_first_wins_but_never_a_suspicion():
    assert agreed(drew(("support", 0, 40, 0.9), ("contamination", 20, 60, 0.95)))[1] == SUPPORT
    assert agreed(drew(("support", 0, 40, 0.3), ("contamination", 20, 60, 0.9)))[:2] == [UNSURE, CONTAMINATION]


def test_all_annotations_of_a_micrograph_are_of_the_same_one():
    stems = annotated()
    assert len(stems) == 19
    for stem in stems:
        drawn = load_annotations(stem)
        assert {(one.micrograph, one.pixel_size, one.shape) for one in drawn} == {
            (stem, drawn[0].pixel_size, drawn[0].shape)
        }
        for area in (area for one in drawn for area in one.areas):
            assert 0 < area.sure <= 1
            x, y = area.polygon.T
            assert (
                (min(x.min(), y.min()) >= -1) and x.max() <= drawn[0].shape[1] + 1 and y.max() <= drawn[0].shape[0] + 1
            )
