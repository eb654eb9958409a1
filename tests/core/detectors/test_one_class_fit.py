# SPDX-License-Identifier: GPL-3.0-or-later
"""The distance of micrographs and cells from clean micrographs, on features drawn at random."""

import dataclasses
import json

import numpy as np
import pytest

from cryoice_scipion.core.detectors.one_class_fit import UNUSUAL, fit_one_class, measure
from cryoice_scipion.core.records import Reference, from_json, to_json

SAMPLING = 128.0
FEATURES = 6


def micrograph(seed, shift=0.0, cells=(8, 9)):
    """Return features of a micrograph: its own level differs a little, and ``shift`` moves all cells."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 0.3, FEATURES) + shift
    return (level + rng.normal(0, 1, (*cells, FEATURES))).astype(np.float32)


def fitted(number, shifted=()):
    return fit_one_class({key: micrograph(key, 3.0 if key in shifted else 0.0) for key in range(number)}, SAMPLING)


def test_a_shifted_micrograph_is_unusual_and_clean_ones_are_near_one():
    record = fitted(20)
    clean = [measure(record, None, micrograph(seed), SAMPLING).number for seed in range(100, 140)]
    assert 0.7 < np.median(clean) < 1.3
    assert np.mean(np.array(clean) > UNUSUAL) <= 0.025
    assert measure(record, None, micrograph(200, 3.0), SAMPLING).number > 2 * UNUSUAL


def test_a_fifth_of_bad_reference_micrographs_is_left_out_of_the_fit():
    bad = {1, 5, 9, 13}
    record = fitted(20, bad)
    assert len(record.fitted) == 15 and not bad & set(record.fitted)
    assert all(measure(record, key, micrograph(key, 3.0), SAMPLING).number > UNUSUAL for key in bad)
    assert measure(record, None, micrograph(300, 3.0), SAMPLING).number > UNUSUAL


def test_p_values_are_ranks_among_the_reference_micrographs_each_left_out_of_the_fit():
    record = fitted(20)
    assert measure(record, None, micrograph(200, 3.0), SAMPLING).p_value == pytest.approx(1 / 21)
    order = sorted(range(20), key=lambda key: -record.scores[key])
    for rank, key in enumerate(order, start=1):
        found = measure(record, key, micrograph(key), SAMPLING)
        assert found.p_value == pytest.approx(rank / 20)
        assert found.number == pytest.approx(record.scores[key] / record.unit)


def test_fewer_than_20_reference_micrographs_give_no_p_value():
    assert measure(fitted(19), None, micrograph(200), SAMPLING).p_value is None


def test_fewer_than_five_micrographs_are_no_reference():
    assert fitted(4) is None and fitted(5) is not None


def test_cells_at_the_border_do_not_count_and_are_zero_on_the_map():
    record = fitted(20)
    values = micrograph(50)
    values[:2] = np.nan
    found = measure(record, None, values, SAMPLING)
    assert (found.cells[:2] == 0).all() and (found.cells[2:] > 0).all()
    assert found.number == pytest.approx(measure(record, None, values[2:], SAMPLING).number)
    assert measure(record, None, np.full_like(values, np.nan), SAMPLING) is None


def test_a_shifted_corner_stands_out_on_the_map():
    values = micrograph(50, cells=(12, 12))
    values[:5, :5] += 3
    cells = measure(fitted(20), None, values, SAMPLING).cells
    assert cells[:4, :4].min() > cells[7:, 7:].max()


@pytest.mark.parametrize("change", [lambda values: (values[..., :-1], SAMPLING), lambda values: (values, 140.0)])
def test_cells_of_another_size_are_not_compared(change):
    assert measure(fitted(20), None, *change(micrograph(50))) is None


def test_constant_features_do_not_stop_the_fit():
    record = fit_one_class({key: np.full((4, 4, FEATURES), 7, np.float32) for key in range(6)}, SAMPLING)
    assert np.isfinite(measure(record, None, micrograph(1), SAMPLING).number)


def test_the_journal_gives_the_same_numbers_back():
    reference = Reference(0.0, 0.0, "dark", [], fitted(20))
    again = from_json(Reference, json.loads(json.dumps(to_json(reference))))
    assert again == reference
    before, after = (measure(one.one_class, None, micrograph(50), SAMPLING) for one in (reference, again))
    assert dataclasses.astuple(before)[:2] == dataclasses.astuple(after)[:2]
    np.testing.assert_array_equal(before.cells, after.cells)
    assert from_json(Reference, {"session_logit": 0.0, "logit_offset": 0.0, "contrast": "dark"}).one_class is None
