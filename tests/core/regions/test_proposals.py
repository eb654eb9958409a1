# SPDX-License-Identifier: GPL-3.0-or-later
"""Proposals, their numbers, the two heads and what labels teach."""

import numpy as np
import pytest

from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.maps.bad_area import Cells
from cryoice_scipion.core.regions.embedding import NAMES, embed
from cryoice_scipion.core.regions.heads import HeadModel, Heads, default_heads, distinct
from cryoice_scipion.core.regions.labels import LabelFile, read_labels
from cryoice_scipion.core.regions.layers import CLASSES, layers_of
from cryoice_scipion.core.regions.proposals import Proposal, overlap, overlaps, propose

SHAPE, SAMPLING = (40, 50), 32.0
FRAME = Frame((320, 400), 4.0)


def disc(row, column, radius):
    rows, columns = np.indices(SHAPE)
    return np.hypot(rows - row, columns - column) <= radius


def layers(grey=None, **areas):
    """Return layers of which the areas of some classes are bad."""
    names = [*CLASSES, "border"]
    by_class = np.full((len(names), *SHAPE), 1e-4, np.float32)
    for name, mask in areas.items():
        by_class[names.index(name)][mask] = 0.9
    by_class[-1] = 0
    cells = Cells(by_class.sum(axis=0), by_class, names, np.zeros(SHAPE, bool), SAMPLING)
    noise = np.random.default_rng(0).normal(0, 1, SHAPE)
    return layers_of(cells, FRAME, noise if grey is None else grey)


def best(found, mask):
    whole = Proposal((slice(0, SHAPE[0]), slice(0, SHAPE[1])), mask)
    return max(overlap(one, whole) for one in found)


def test_what_stands_out_in_the_map_or_in_grey_levels_is_proposed():
    first, second = disc(10, 12, 5), disc(28, 35, 6)
    grey = np.random.default_rng(0).normal(0, 1, SHAPE)
    grey[second] -= 12  # the detector does not see it
    found = propose(layers(grey, contamination=first))
    assert best(found, first) > 0.95 and best(found, second) > 0.8
    assert best(found, np.ones(SHAPE, bool)) == 1
    assert [one.area for one in found] == sorted((one.area for one in found), reverse=True)
    table = overlaps(found, found, SHAPE)
    assert np.array_equal(table, table.T) and (table[~np.eye(len(found), dtype=bool)] <= 0.9).all()
    assert table[0, 1] == pytest.approx(overlap(found[0], found[1]))


def test_numbers_describe_the_place_and_not_its_position():
    one, other = layers(thick=disc(14, 15, 6)), layers(thick=disc(24, 33, 6))
    rows = [
        embed(
            some, [Proposal((slice(at[0] - 6, at[0] + 7), slice(at[1] - 6, at[1] + 7)), disc(20, 20, 6)[14:27, 14:27])]
        )
        for some, at in ((one, (14, 15)), (other, (24, 33)))
    ]
    index = [number for number, name in enumerate(NAMES) if "grey" not in name]
    assert rows[0].shape == (1, len(NAMES)) and np.isfinite(rows[0]).all()
    assert rows[0][0, index] == pytest.approx(rows[1][0, index])
    values = dict(zip(NAMES, rows[0][0]))
    assert values["odds_thick"] > 1 > values["odds_vacuum"] and values["rim_thick"] > 5 and values["at_edge"] == 0
    assert embed(one, []).shape == (0, len(NAMES))


NONE = np.zeros((0, 2))


def small_heads():
    """Return heads for two numbers: good places are at (0, 0), film is at (6, 0)."""
    return Heads.of(
        HeadModel(
            names=["a", "b"], mean=[0, 0], scale=[1, 1], classes=["good", "support"], centres=[[0, 0], [6, 0]],
            precision=[[1, 0], [0, 1]], priors=[-0.1, -2.4], temperature=1.0, overlap=[0.0, 1.0], overlap_bias=0.0,
        )
    )  # fmt: skip


def test_one_labelled_place_teaches_a_new_class_and_leaves_the_others():
    heads, places = small_heads(), np.array([[0.0, 0.0], [6.0, 0.0], [0.2, 10.0]])
    taught = heads.taught(np.array([[0.0, 12.0]]), ["frost"], NONE, np.zeros(0))
    assert heads.classes == ["good", "support"] and taught.classes == ["good", "support", "frost"]
    assert taught.classify(places).argmax(axis=1).tolist() == [0, 1, 2]
    assert taught.classify(places).sum(axis=1) == pytest.approx(1)
    assert taught.classify(places)[:2, :2] == pytest.approx(heads.classify(places)[:2], abs=0.02)
    assert taught.rank(places, "frost").argmax() == 2
    assert taught.expected_overlap(places) == pytest.approx(heads.expected_overlap(places))


def test_parts_of_labelled_regions_teach_what_a_whole_region_is():
    heads, parts = small_heads(), np.repeat([[3.0, 0.0], [-3.0, 0.0]], 40, axis=0)
    taught = heads.taught(parts[:1], ["support"], parts, np.repeat([0.9, 0.1], 40))
    before, after = (some.expected_overlap(parts[[0, 40]]) for some in (heads, taught))
    assert before == pytest.approx([0.5, 0.5]) and after[0] > 0.7 and after[1] < 0.3


def test_labels_move_the_centre_of_a_known_class_and_good_places_stop_a_false_alarm():
    heads, place = small_heads(), np.array([[3.6, 2.0]])
    assert heads.classify(place).argmax() == 1
    assert heads.taught(np.repeat(place, 5, axis=0), ["good"] * 5, NONE, np.zeros(0)).classify(place).argmax() == 0
    closer = heads.taught(np.repeat(place, 20, axis=0), ["support"] * 20, NONE, np.zeros(0)).classify(place)[0, 1]
    assert closer > heads.classify(place)[0, 1]


def test_of_overlapping_proposals_the_best_is_kept():
    alike = np.array([[1, 0.5, 0], [0.5, 1, 0.2], [0, 0.2, 1]])
    assert distinct(np.array([0.3, 0.9, 0.5]), alike) == [1, 2]


def test_the_shipped_heads_fit_the_numbers():
    model = default_heads().model
    assert tuple(model.names) == NAMES and model.classes == ["good", *CLASSES]
    assert np.array(model.centres).shape == (7, len(NAMES)) and np.linalg.eigvalsh(model.precision).min() > 0


def test_labels_are_read_as_they_were_written(tmp_path):
    box = {"x": 1.5, "y": 2, "width": 30, "height": 20, "class": "frost"}
    good = {"x": 5, "y": 2, "width": 3, "height": 2, "good": True}
    labels = LabelFile.make(micrographs={"b": [box], "a": [good]})
    labels.save(tmp_path / "labels.json")
    assert read_labels(tmp_path / "labels.json") == labels
    assert [(stem, one.label) for stem, one in labels.boxes()] == [("a", "good"), ("b", "frost")]


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "not a readable JSON"),
        ('{"version": 2}', "version"),
        ('{"micrographs": {}}', "no labelled box"),
        ('{"micrographs": {"a": [{"x": 1, "y": 1, "width": 0, "height": 2}]}}', "width"),
        (
            '{"micrographs": {"a": [{"x": 1, "y": 1, "width": 2, "height": 2, "class": "ice", "good": true}]}}',
            "no class",
        ),
        ('{"micrographs": {"a": [{"x": 1, "y": 1, "width": 2, "height": 2, "kind": "ice"}]}}', "kind"),
        (
            '{"micrographs": {"a": [{"x": 1, "y": 1, "width": 2, "height": 2}], "a": []}}',
            "labels.json: .*the name 'a' is there twice",
        ),
    ],
)
def test_wrong_labels_are_one_line(tmp_path, text, words):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(SettingsError, match=words):
        read_labels(tmp_path / "labels.json")
