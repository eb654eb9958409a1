# SPDX-License-Identifier: GPL-3.0-or-later
"""Regions of a map that is drawn by hand."""

import dataclasses

import numpy as np
import pytest

from cryoice_scipion.constants import UNCERTAIN
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.maps.bad_area import Cells, good_mask
from cryoice_scipion.core.regions import finding
from cryoice_scipion.core.regions.confidence import ConfidenceModel, default_confidence
from cryoice_scipion.core.regions.evidence import EVIDENCE
from cryoice_scipion.core.regions.finding import find_regions
from cryoice_scipion.core.regions.instances import find_instances

NAMES = ["crystalline", "contamination", "thick", "support", "aggregate", "vacuum", "border"]
SAMPLING, SHAPE = 32.0, (60, 80)
FRAME = Frame((476, 637), 4.0)  # the last cells reach beyond the micrograph


def cells_of(*areas, border=None):
    """Return cells of which areas (mask, class, P(BAD)) are bad."""
    by_class = np.full((len(NAMES), *SHAPE), 1e-4, np.float32)
    for mask, name, value in areas:
        by_class[NAMES.index(name)][mask] = value
    border = np.zeros(SHAPE, bool) if border is None else border
    by_class[:-1, border], by_class[-1] = 0, border
    return Cells(np.minimum(by_class.sum(axis=0), 1), by_class, NAMES, border, SAMPLING)


def disc(row, column, radius):
    rows, columns = np.indices(SHAPE)
    return np.hypot(rows - row, columns - column) <= radius


def test_touching_deposits_are_separated_and_films_stay_whole():
    two = disc(20, 20, 8) | disc(20, 34, 8)
    for name, number in (("contamination", 2), ("support", 1)):
        labels, classes = find_instances(cells_of((two, name, 0.95)), 0.5)
        assert classes == [name] * number and ((labels > 0) == two).all()
    assert len(np.unique(labels[20, 12:43])) == 1
    labels, _ = find_instances(cells_of((two, "contamination", 0.95)), 0.5)
    assert labels[20, 16] != labels[20, 38] and 0 not in (labels[20, 16], labels[20, 38])


def test_a_region_begins_above_the_threshold_and_extends_into_its_surroundings():
    rim, core, apart = disc(20, 20, 9), disc(20, 20, 4), disc(45, 60, 5)
    cells = cells_of((rim, "thick", 0.35), (core, "thick", 0.9), (apart, "thick", 0.35))
    labels, classes = find_instances(cells, 0.5)
    assert classes == ["thick"] and ((labels == 1) == rim).all()
    assert set(np.unique(labels[~good_mask(cells, 0.5)])) == {1}


def test_areas_of_two_classes_are_two_regions_and_specks_of_another_class_are_not():
    film, frost = np.zeros(SHAPE, bool), disc(30, 30, 9)
    film[:, :25] = True
    speck = disc(50, 10, 1)
    cells = cells_of((film, "support", 0.9), (frost & ~film, "contamination", 0.9), (speck, "contamination", 5.0))
    labels, classes = find_instances(cells, 0.5)
    assert classes == ["support", "contamination"]
    assert (labels[speck] == 1).all() and labels[30, 35] == 2


def test_border_cells_are_in_no_region():
    border = np.zeros(SHAPE, bool)
    border[:, :10] = True
    labels, classes = find_instances(cells_of((disc(30, 10, 9), "vacuum", 0.9), border=border), 0.5)
    assert classes == ["vacuum"] and not labels[border].any()
    assert find_instances(cells_of(border=np.ones(SHAPE, bool)), 0.5)[1] == []


def test_size_box_and_outline_are_in_the_units_of_the_micrograph():
    square = np.zeros(SHAPE, bool)
    square[10:20, 30:50] = True
    corner = np.zeros(SHAPE, bool)
    corner[50:, 70:] = True
    (first, second), labels = find_regions(cells_of((square, "support", 0.99), (corner, "support", 0.99)), 0.5, FRAME)
    assert (first.id, first.likeliest) == (1, "support") and (labels == 1).sum() == 200
    assert (first.x, first.y, first.width, first.height) == (240, 80, 160, 80)
    assert first.area == pytest.approx(200 * 3.2**2) and first.diameter == pytest.approx(510.6, abs=0.1)
    points = np.array(first.outline)
    assert points.min(axis=0) == pytest.approx([240, 80], abs=4) and points.max(axis=0) == pytest.approx(
        [400, 160], abs=4
    )
    assert len(points) < 12
    assert (second.x + second.width, second.y + second.height) == (637, 476)
    assert np.array(second.outline).max(axis=0).tolist() == [637, 476]


def test_a_clear_region_has_its_class_and_a_doubtful_one_is_uncertain(monkeypatch):
    weights = [[10.0 * (name == "class_share") for name in EVIDENCE]]
    model = ConfidenceModel(
        names=list(EVIDENCE), classes=["thick"], mean=[0.0] * len(EVIDENCE), scale=[1.0] * len(EVIDENCE),
        weights=weights, bias=[0.0], scores=[4.0, 10.0], confidences=[0.2, 0.9],
    )  # fmt: skip
    monkeypatch.setattr(finding, "default_confidence", lambda: model)
    (clear,), _ = find_regions(cells_of((disc(30, 40, 15), "crystalline", 0.99)), 0.5, FRAME)
    halves = [(disc(30, 40, 2), name, 0.26) for name in ("thick", "aggregate")]
    (doubtful,), _ = find_regions(cells_of(*halves), 0.5, FRAME)
    assert clear.cls == clear.likeliest == "crystalline" and clear.confidence == pytest.approx(0.9, abs=0.01)
    assert doubtful.cls == UNCERTAIN and doubtful.confidence == pytest.approx(0.32, abs=0.02)
    assert doubtful.likeliest in ("thick", "aggregate")


def test_the_shipped_confidence_fits_the_evidence():
    model = default_confidence()
    assert tuple(model.names) == EVIDENCE and len(model.weights) == len(model.bias) == len(model.classes) == 6
    assert model.confidences == sorted(model.confidences) and 0 < model.confidences[0] < model.confidences[-1] < 1


def test_the_same_map_gives_the_same_regions_and_a_map_without_bad_area_none():
    rng = np.random.default_rng(0)
    cells = cells_of((rng.random(SHAPE) < 0.3, "contamination", 0.9), (rng.random(SHAPE) < 0.2, "thick", 0.9))
    first, again = (find_regions(cells, 0.5, FRAME)[0] for _ in range(2))
    assert [dataclasses.astuple(one) for one in first] == [dataclasses.astuple(one) for one in again] and first
    assert find_regions(cells_of(), 0.5, FRAME)[0] == []


def test_a_map_without_classes_has_regions_too():
    bad = np.where(disc(30, 40, 6), 0.95, 0.01).astype(np.float32)
    by_class = np.stack([bad, np.zeros_like(bad)])
    (only,), _ = find_regions(Cells(bad, by_class, ["bad", "border"], np.zeros(SHAPE, bool), SAMPLING), 0.5, FRAME)
    assert only.likeliest == "bad" and 0 <= only.confidence <= 1
