# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of maps: they are what scikit-learn says of the pooled cells, and leave out what nobody is sure of."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cryoice_scipion.constants import CLASSES
from cryoice_scipion.core.evaluation.cell_counts import count_cells
from cryoice_scipion.core.evaluation.labels import LEFT_OUT, on_cells, on_grid
from cryoice_scipion.core.evaluation.map_metrics import ALL, auc, auc_difference, metrics_of_maps, shares_of
from cryoice_scipion.core.evaluation.tables import class_table, micrograph_table, threshold_lines
from cryoice_scipion.core.training.metrics import expected_calibration_error

GOOD, CRYSTALLINE, SUPPORT, BORDER = (CLASSES.index(name) for name in ("good", "crystalline", "support", "border"))


def sigmoid(odds):
    return 1 / (1 + np.exp(-odds))


def made(number=8, seed=0, offset=1.5):
    """Micrographs of 20 x 30 cells: mostly clean, some crystalline or support, some left out."""
    rng = np.random.default_rng(seed)
    maps = []
    for index in range(number):
        labels = np.full((20, 30), GOOD, dtype=np.uint8)
        labels[:, 20:25] = CRYSTALLINE if index % 2 else SUPPORT
        labels[:3] = LEFT_OUT
        odds = rng.normal(-2 + rng.normal() * 0.3, 1.0, labels.shape) + offset * (labels != GOOD)
        maps.append((f"m{index}", labels, odds))
    return maps


def cell_counts(maps, threshold=0.5):
    return [
        count_cells(name, labels, odds, 1 - sigmoid(odds) < threshold, sigmoid(odds)) for name, labels, odds in maps
    ]


def pooled(maps):
    labels = np.concatenate([labels.ravel() for _, labels, _ in maps])
    odds = np.concatenate([odds.ravel() for *_, odds in maps])
    return labels[labels != LEFT_OUT], odds[labels != LEFT_OUT]


def test_auc_over_all_and_by_class_is_that_of_the_pooled_cells():
    maps = made()
    labels, odds = pooled(maps)
    counted = cell_counts(maps)
    assert auc(counted).value == pytest.approx(roc_auc_score(labels != GOOD, odds), abs=2e-4)
    for name, code in (("crystalline", CRYSTALLINE), ("support", SUPPORT)):
        rows = (labels == code) | (labels == GOOD)
        assert auc(counted, name).value == pytest.approx(roc_auc_score(labels[rows] == code, odds[rows]), abs=2e-4)


def test_the_figures_at_the_threshold_are_those_of_the_pooled_cells():
    maps = made()
    labels, odds = pooled(maps)
    predicted_bad, bad = sigmoid(odds) > 0.5, labels != GOOD
    result = metrics_of_maps(cell_counts(maps))
    assert result["iou"]["value"] == pytest.approx((predicted_bad & bad).sum() / (predicted_bad | bad).sum(), abs=1e-4)
    assert result["ece"]["value"] == pytest.approx(expected_calibration_error(sigmoid(odds), bad), abs=1e-4)
    rows = labels == CRYSTALLINE
    assert result["by_class"]["crystalline"]["found"] == pytest.approx(predicted_bad[rows].mean(), abs=1e-4)
    assert result["by_class"]["crystalline"]["micrographs"] == 4
    assert result["clean_cells"] == (~bad).sum() and result["bad_cells"] == bad.sum()


def test_the_worst_micrograph_is_named_and_slivers_of_clean_area_do_not_count():
    maps = made()
    name, labels, odds = maps[5]
    odds[labels == GOOD] = 3.0  # all of it predicted bad
    sliver = np.full((20, 30), SUPPORT, dtype=np.uint8)
    sliver[0, :5] = GOOD
    maps.append(("sliver", sliver, np.full((20, 30), 9.0)))
    clean = metrics_of_maps(cell_counts(maps))["false_positive_area"]
    assert clean["worst_micrograph"] == name and clean["worst"] == 1.0
    assert clean["micrographs"] == 8
    shares = [((odds > 0) & (labels == GOOD)).sum() / (labels == GOOD).sum() for _, labels, odds in maps[:8]]
    assert clean["value"] == pytest.approx(np.mean(shares), abs=1e-4)
    assert clean["low"] < clean["value"] < clean["high"]
    worst = metrics_of_maps(cell_counts(maps))["bad_area_error"]
    assert worst["worst_micrograph"] == name


@pytest.mark.parametrize("level, least, most", [(95.0, 0.8, 1.0), (50.0, 0.3, 0.65)])
def test_intervals_hold_the_true_value_about_as_often_as_they_say(monkeypatch, level, least, most):
    """True AUC from very many micrographs; intervals of 12 are somewhat too narrow, as percentile ones are."""
    monkeypatch.setattr("cryoice_scipion.core.evaluation.map_metrics.LEVEL", level)
    truth = auc(cell_counts(made(400, seed=99))).value
    hits = 0
    for seed in range(60):
        found = auc(cell_counts(made(12, seed=seed)), seed=1)
        hits += found.low <= truth <= found.high
    assert least <= hits / 60 <= most


def test_two_maps_are_compared_on_the_same_draws():
    """A map that is better on every micrograph by a little is surely better, though both vary between micrographs."""
    maps = made(10, offset=1.5)
    noisier = [
        (name, labels, odds + np.random.default_rng(3).normal(0, 0.8, odds.shape)) for name, labels, odds in maps
    ]
    gap = auc_difference(cell_counts(maps), cell_counts(noisier))
    assert 0 < gap.low < gap.value < gap.high
    one = auc_difference(cell_counts(maps), cell_counts(noisier[:3]))  # only the micrographs that both have
    assert one.value == pytest.approx(auc(cell_counts(maps[:3])).value - auc(cell_counts(noisier[:3])).value)


def test_a_class_that_is_not_there_has_no_row_and_one_kind_alone_no_auc():
    clean = [(name, np.full_like(labels, GOOD), odds) for name, labels, odds in made(3)]
    result = metrics_of_maps(cell_counts(clean))
    assert result["by_class"] == {} and result["clean_cells"] == 1800
    assert shares_of(cell_counts(clean)[0])["auc"] is None and shares_of(cell_counts(clean)[0])["found"] is None
    bad = metrics_of_maps(cell_counts([(name, np.full_like(labels, SUPPORT), odds) for name, labels, odds in made(3)]))
    assert bad["by_class"]["support"]["auc"]["value"] is None
    assert bad["false_positive_area"]["value"] is None
    assert metrics_of_maps([])["micrographs"] == 0
    for row in (result, bad, metrics_of_maps([])):
        assert "class" in class_table(row) and isinstance(threshold_lines(row), list)
    assert "m0" in micrograph_table([shares_of(item) for item in cell_counts(clean)])


def test_a_classical_map_needs_neither_threshold_nor_probability():
    counted = [count_cells(name, labels, odds) for name, labels, odds in made()]
    result = metrics_of_maps(counted)
    assert "iou" not in result and "ece" not in result
    assert "found" not in result["by_class"][ALL]


def test_cells_that_the_map_leaves_out_do_not_count():
    name, labels, odds = made(1)[0]
    border = np.zeros(labels.shape, dtype=bool)
    border[:, 25:] = True
    counted = count_cells(name, labels, odds, odds > 0, sigmoid(odds), border)
    assert counted.clean == 17 * 20 and counted.bad == 17 * 5


def test_labels_come_to_the_grid_by_majority_without_border_and_doubt():
    codes = np.zeros((5, 8), dtype=np.uint8)  # at 8 Å; cells of 16 Å hold 2 x 2, the last row half
    codes[:2, :2] = [[SUPPORT, SUPPORT], [SUPPORT, 0]]
    codes[:2, 2:4] = BORDER
    codes[2:4, :2] = 127
    codes[2:4, 2:4] = [[SUPPORT, 127], [0, 0]]
    codes[4, 6:] = CRYSTALLINE
    labels = on_grid(codes, 8.0, 16.0)
    assert labels.shape == (3, 4)
    assert labels[0].tolist() == [SUPPORT, LEFT_OUT, GOOD, GOOD]
    assert labels[1].tolist() == [LEFT_OUT, GOOD, GOOD, GOOD]
    assert labels[2].tolist() == [GOOD, GOOD, GOOD, CRYSTALLINE]
    finer = on_grid(codes, 8.0, 4.0)
    assert (finer == LEFT_OUT).mean() > 0.5  # cells finer than the labels hold no label pixel


def test_a_coarse_map_is_looked_up_where_the_centres_of_the_cells_lie():
    coarse = np.arange(6).reshape(2, 3)
    fine = on_cells(coarse, 64.0, (8, 13), 16.0)
    assert (fine[:4, :4] == 0).all() and (fine[4:, 4:8] == 4).all()
    assert (fine[:4, 12] == 2).all()  # beyond its edge the map goes on
