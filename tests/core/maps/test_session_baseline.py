# SPDX-License-Identifier: GPL-3.0-or-later
"""The baseline names the micrographs that it needs, and is frozen over the first ones that can be mapped."""

import pytest
from standin import executor

from cryoice_scipion.core.maps.session_baseline import SessionBaseline, offset_of
from cryoice_scipion.core.records import MapResult

MODEL = executor().model.model_copy(update={"baseline_logit": -4.0, "offset_limit": 3.0})


def result(median=-3.0, skewness=0.0, inverted=False):
    return MapResult([10, 10], 1.0, 32.0, median, skewness, inverted, "", "")


def test_missing_micrographs_are_mapped_with_the_contrast_of_the_settings():
    step = SessionBaseline(3, "auto", MODEL).step([1, 2, 5, 7], {2: result()})
    assert (step.to_map, step.contrast, step.is_decided, step.reference) == ([1, 5], "auto", False, None)


@pytest.mark.parametrize("closed", [False, True])
def test_fewer_micrographs_are_enough_when_no_more_come(closed):
    step = SessionBaseline(3, "auto", MODEL).step([1, 2], {1: result(), 2: result()}, closed)
    assert step.to_map == [] and step.is_decided == closed
    assert (step.reference is not None) == closed


def test_without_micrographs_there_is_no_reference():
    assert SessionBaseline(3, "auto", MODEL).step([], {}).reference is None


def test_only_the_first_ones_count():
    mapped = {key: result(median=-4.0 + key / 10) for key in range(1, 6)}
    reference = SessionBaseline(3, "dark", MODEL).step([1, 2, 3, 4, 5], mapped).reference
    assert reference.micrographs == [1, 2, 3]
    assert (reference.session_logit, reference.logit_offset) == (pytest.approx(-3.85), pytest.approx(0.15))


def test_micrographs_of_the_wrong_contrast_are_mapped_again_before_the_reference_is_frozen():
    baseline = SessionBaseline(3, "auto", MODEL)
    mapped = {1: result(skewness=1.0), 2: result(skewness=1.0, inverted=True), 3: result(skewness=1.0)}
    step = baseline.step([1, 2, 3], mapped)
    assert (step.to_map, step.contrast, step.is_decided, step.reference) == ([1, 3], "bright", True, None)
    mapped.update({key: result(-2.0, 1.0, True) for key in (1, 3)})
    reference = baseline.step([1, 2, 3], mapped).reference
    assert (reference.contrast, reference.micrographs) == ("bright", [1, 2, 3])


@pytest.mark.parametrize(("contrast", "expected"), [("auto", "dark"), ("bright", "bright")])
def test_no_reference_micrographs_mean_no_offset(contrast, expected):
    reference = SessionBaseline(0, contrast, MODEL).step([1, 2, 3], {}).reference
    assert (reference.logit_offset, reference.contrast, reference.micrographs) == (0.0, expected, [])


@pytest.mark.parametrize(("excess", "offset"), [(-1.0, 0.0), (0.0, 0.0), (2.0, 2.0), (3.0, 3.0), (3.1, 0.0)])
def test_nothing_is_subtracted_beyond_the_limit_or_from_a_cleaner_session(excess, offset):
    assert offset_of(excess, 3.0) == offset
