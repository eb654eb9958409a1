# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics and calibration do what their names say, on cases whose answer is known."""

import numpy as np
import pytest

from cryoice_scipion.core.training.metrics import (
    expected_calibration_error,
    fit_temperature,
    in_words,
    is_bad,
    measure,
    recommend_threshold,
    threshold_for_clean_area,
)


def test_perfect_and_useless_scores():
    bad = np.array([True] * 50 + [False] * 50)
    perfect = measure(bad.astype(float), bad, 0.5)
    assert perfect["auc"] == perfect["ap"] == perfect["f1"] == 1.0
    assert perfect["false_positive_rate"] == 0.0
    assert measure(np.full(100, 0.5), bad, 0.4)["auc"] == 0.5


def test_numbers_of_positions_are_whole_numbers():
    assert in_words({"number": 192.0, "predicted_bad": 0.359}) == "number 192, predicted_bad 0.359"


def test_calibrated_scores_have_no_calibration_error_and_overconfident_ones_have():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=200_000)
    bad = rng.uniform(size=p.size) < p
    assert expected_calibration_error(p, bad) < 0.005
    assert expected_calibration_error((p > 0.5).astype(float), bad) > 0.2


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found_again(true_temperature):
    rng = np.random.default_rng(0)
    log_odds = rng.normal(size=100_000) * 2
    bad = rng.uniform(size=log_odds.size) < 1 / (1 + np.exp(-log_odds))
    assert fit_temperature(lambda t: log_odds * true_temperature / t, bad) == pytest.approx(true_temperature, rel=0.05)


def test_recommended_threshold_separates_what_can_be_separated():
    goodness = np.array([0.1, 0.2, 0.3, 0.8, 0.9, 0.95])
    bad = np.array([True, True, True, False, False, False])
    assert 0.3 < recommend_threshold(1 - goodness, bad) < 0.8


def test_a_few_validation_patches_that_happen_to_be_right_do_not_make_others_certain():
    odds, bad = np.array([-1.0, -2.0, 1.0, 2.0]), np.array([False, False, True, True])
    assert 0.7 < fit_temperature(lambda t: odds / t, bad) < 1.0
    assert fit_temperature(lambda t: np.tile(odds, 100) / t, np.tile(bad, 100)) < 0.4  # those of many count


def test_a_micrograph_with_hundreds_of_patches_decides_no_more_than_another():
    rng = np.random.default_rng(5)
    bad = np.repeat([True, False], 30)
    odds = rng.normal(np.where(bad, 1.5, -1.5), 1.5)
    weights = np.append(np.ones(60), np.full(600, 2 / 600))
    everything, labels = np.append(odds, np.full(600, -3.0)), np.append(bad, np.ones(600, bool))  # all wrong
    assert 0.7 < fit_temperature(lambda t: odds / t, bad) < 1.1
    assert 0.7 < fit_temperature(lambda t: everything / t, labels, weights) < 1.1
    assert fit_temperature(lambda t: everything / t, labels) > 5
    p_bad = 1 / (1 + np.exp(-everything))
    assert recommend_threshold(p_bad[:60], bad) == recommend_threshold(p_bad, labels, weights) == 0.5
    assert recommend_threshold(p_bad, labels) > 0.9


def test_a_preferred_threshold_is_taken_where_the_patches_cannot_tell_it_from_the_best():
    goodness, bad = np.append(np.linspace(0.0, 0.6, 30), np.linspace(0.4, 1.0, 30)), np.repeat([True, False], 30)
    assert recommend_threshold(1 - goodness, bad, preferred=0.37) == 0.37
    assert 0.3 < recommend_threshold(1 - goodness, bad, preferred=0.05) < 0.4  # at 0.05 most would be missed
    assert recommend_threshold(np.full(4, 0.5), bad[:4], preferred=0.2) == 0.2


def test_a_threshold_for_maps_spares_clean_area_and_one_wrong_micrograph_in_forty_does_not_set_it():
    rng = np.random.default_rng(3)

    def micrograph(clean, bad_cells=200):
        p_bad = np.concatenate([clean, rng.uniform(0.6, 1.0, bad_cells)])
        return p_bad, np.arange(len(p_bad)) >= len(clean)

    good = [micrograph(rng.beta(1, 8, 2000)) for _ in range(39)]
    threshold = threshold_for_clean_area(good)
    lost = [is_bad(p_bad[~bad], threshold).mean() for p_bad, bad in good]
    assert 0.002 < np.mean(lost) < 0.005
    assert threshold_for_clean_area([*good, micrograph(np.full(2000, 0.97))]) == pytest.approx(threshold, abs=0.01)
    assert threshold_for_clean_area([*good, micrograph(np.full(3, 0.97))]) == pytest.approx(
        threshold, abs=0.01
    )  # sliver
    assert (
        threshold_for_clean_area([micrograph(np.zeros(2000))]) == 0.5
    )  # nothing is lost: where calibrated ones belong
    assert threshold_for_clean_area([micrograph(np.zeros(0))]) == 0.5


def test_threshold_is_on_goodness_as_in_the_screening():
    """goodness == threshold is kept."""
    p_bad, bad = np.array([0.25, 0.5]), np.array([False, True])
    assert measure(p_bad, bad, 0.75)["false_positive_rate"] == 0.0
    assert measure(p_bad, bad, 0.75)["recall"] == 1.0
