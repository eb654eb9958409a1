# SPDX-License-Identifier: GPL-3.0-or-later
"""The baseline names the micrographs that it needs, and is frozen over the first ones that can be mapped."""

import pytest
from standin import executor

from cryoice_scipion.core.maps.session_baseline import SessionBaseline, freeze, is_bright, is_unusual, offset_of
from cryoice_scipion.core.records import MapResult, Reference

MODEL = executor().model.model_copy(update={"baseline_logit": -4.0, "offset_limit": 3.0})


def result(median=-3.0, skewness=0.0, inverted=False):
    return MapResult([10, 10], 1.0, 32.0, median, skewness, inverted, "", "")


def test_missing_micrographs_are_mapped_with_the_contrast_of_the_settings():
    step = SessionBaseline(3, "auto", MODEL).step([1, 2, 5, 7], {2: result()})
    assert (step.to_map, step.contrast, step.is_decided, step.reference) == ([1, 5], "auto", False, None)


def test_as_many_micrographs_as_asked_for_are_enough_while_more_come():
    step = SessionBaseline(2, "auto", MODEL).step([1, 2], {1: result(), 2: result()}, closed=False)
    assert step.is_decided and step.reference.micrographs == [1, 2]
    assert SessionBaseline(2, "auto", MODEL).step([1, 2, 3], {1: result(), 2: result()}, closed=False) == step


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
    step = SessionBaseline(0, contrast, MODEL).step([1, 2, 3], {})
    assert step.to_map == [] and step.contrast == expected and step.is_decided is True
    assert step.reference == Reference(0.0, 0.0, expected)


@pytest.mark.parametrize(("excess", "offset"), [(-1.0, 0.0), (0.0, 0.0), (2.0, 2.0), (3.0, 3.0), (3.1, 0.0)])
def test_nothing_is_subtracted_beyond_the_limit_or_from_a_cleaner_session(excess, offset):
    assert offset_of(excess, 3.0) == offset


@pytest.mark.parametrize(
    ("skewness", "bright"),
    [
        ([0.26, 1.0, 2.0, 3.0, -1.0], True),  # four of five
        ([0.25, 1.0, 2.0, 3.0, -1.0], False),
        ([1.0, 1.0], False),
        ([1.0, 1.0, 1.0], True),
    ],
)
def test_a_data_set_is_bright_if_four_fifths_of_at_least_three_micrographs_are(skewness, bright):
    assert is_bright(skewness) == bright


@pytest.mark.parametrize(
    ("medians", "logit", "offset"),
    [
        ([-3.0, -2.0, -1.0, 0.0, 9.0], -2.0, 2.0),  # the 25th percentile; the model's own baseline is -4
        ([-3.0, -2.0, None, float("nan")], -2.75, 0.0),  # fewer than three count
        ([None, None, None], -4.0, 0.0),
    ],
)
def test_the_reference_is_a_low_percentile_of_the_medians_that_are_known(medians, logit, offset):
    chosen = {key: result(median) for key, median in enumerate(medians)}
    assert freeze(chosen, "dark", MODEL) == Reference(logit, offset, "dark", list(chosen))


@pytest.mark.parametrize(("logit", "unusual"), [(-3.0, False), (-2.5, False), (-2.4, True)])
def test_a_session_is_unusual_if_it_is_above_the_models_baseline_by_more_than_the_tolerance(logit, unusual):
    assert is_unusual(logit, MODEL.model_copy(update={"offset_tolerance": 1.5})) == unusual
