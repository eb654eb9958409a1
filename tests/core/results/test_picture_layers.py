# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of a viewer's picture lie where they belong, and come from where they are stored."""

import mrcfile
import numpy as np
import pytest

from cryoice_scipion.constants import CLASSES
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.images.palette import class_colour, rgb
from cryoice_scipion.core.images.thumbnails import write_base
from cryoice_scipion.core.images.writing import write_map, write_mask
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.picture_layers import MASK_COLOUR, Layers, paint, read_layers
from cryoice_scipion.core.results.run_folder import RunFolder

SHAPE, PIXEL_SIZE, SAMPLING = (200, 300), 2.0, 100.0  # px, Å/px, Å: the map has 4 x 6 cells


AREAS = {"good": 0.4, "thick": 0.2, "support": 0.2, "border": 0.2}


def record(**values):
    return MicrographRecord(
        1, "mic", "nowhere/mic.mrc", "accepted", pixel_size=PIXEL_SIZE, shape=list(SHAPE), areas=AREAS, **values
    )


@pytest.fixture
def place(tmp_path):
    place = RunFolder(tmp_path)
    place.make()
    return place


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 5), (3, 0), (2, 4)])
@pytest.mark.parametrize("with_map", [True, False])
def test_a_cell_is_drawn_over_the_pixels_that_it_covers(row, column, with_map):
    cells = np.zeros((4, 6), dtype=np.float32)
    cells[row, column] = 1
    grey = np.full((100, 150), 128, dtype=np.uint8)
    layers = Layers(grey, 600.0, 400.0, SHAPE, cells, cells > 0, SAMPLING)
    size = (450, 300)  # 75 px a cell
    coloured = (np.asarray(paint(layers, size, with_map, not with_map)) != 128).any(axis=2)
    expected = np.zeros((300, 450), dtype=bool)
    expected[75 * row : 75 * (row + 1), 75 * column : 75 * (column + 1)] = True
    assert np.array_equal(coloured, expected)


def test_cells_that_reach_beyond_the_micrograph_are_cut_not_squeezed():
    cells = np.zeros((5, 7), dtype=np.float32)  # of a micrograph of 4.5 x 6.5 cells
    cells[-1, -1] = 1
    layers = Layers(np.full((90, 130), 128, np.uint8), 650.0, 450.0, (225, 325), cells, None, SAMPLING)
    coloured = (np.asarray(paint(layers, (650, 450), True, False)) != 128).any(axis=2)
    assert coloured[400:, 600:].all()
    assert coloured.sum() == 50 * 50


def test_nothing_is_drawn_over_without_a_switch():
    layers = Layers(np.full((10, 10), 77, np.uint8), 600.0, 400.0, SHAPE, np.ones((4, 6)), np.ones((4, 6), bool), 100.0)
    assert (np.asarray(paint(layers, (30, 20), False, False)) == 77).all()


def test_the_stored_picture_map_and_mask_are_taken(place):
    grey = np.repeat(np.arange(100, 200, dtype=np.uint8)[:, None], 150, axis=1)
    write_base(place.path / place.base("mic"), grey)
    probability = np.random.default_rng(0).random((4, 6)).astype(np.float32)
    write_map(place.path / place.probability("mic"), probability, SAMPLING)
    write_mask(place.path / place.mask("mic"), probability < 0.5, SAMPLING)
    layers = read_layers(place.path, record(probability=place.probability("mic"), mask=place.mask("mic")))
    assert layers.grey.shape == grey.shape
    assert np.allclose(layers.grey, grey, atol=5)  # it may be stored with some loss
    assert np.array_equal(layers.probability, probability)
    assert np.array_equal(layers.bad, probability >= 0.5)
    assert (layers.width, layers.height, layers.sampling) == (600.0, 400.0, SAMPLING)
    assert not layers.problems


@pytest.mark.parametrize("is_stored", [True, False])
def test_bad_area_has_the_colours_of_its_classes_where_they_are_stored(is_stored, place):
    write_base(place.path / place.base("mic"), np.full((100, 150), 128, np.uint8))
    logits, border = np.zeros((3, 4, 6), np.float32), np.zeros((4, 6), bool)
    logits[1, :, 0] = logits[2, :, 2] = logits[2, 2, 3] = 5
    border[:, 4] = True
    mask = np.ones((4, 6), bool)
    mask[:, [0, 2, 4]] = False  # what the run called bad: the cell (2, 3) is not, by its threshold
    write_mask(place.path / place.mask("mic"), mask, SAMPLING)
    if is_stored:
        classmap = ClassMap(logits, border, ["good", "thick", "support"], SAMPLING, -1.0)
        classmap.save(place.path / place.raw_map("mic"))
    layers = read_layers(place.path, record(mask=place.mask("mic")))
    picture = np.asarray(paint(layers, (300, 200), False, True))  # 50 px a cell
    outlines = [tuple(picture[100, 50 * column + 49]) for column in range(6)]
    colours = [class_colour(name) for name in ("thick", "support", "border")] if is_stored else [MASK_COLOUR] * 3
    assert [outlines[column] for column in (0, 2, 4)] == [rgb(colour) for colour in colours]
    assert all(abs(grey - 128) < 3 for column in (1, 3, 5) for grey in outlines[column])
    assert not layers.problems
    assert not is_stored or CLASSES[layers.codes[0, 0]] == "thick"


def test_a_class_that_the_run_ignored_has_no_colour(place):
    write_base(place.path / place.base("mic"), np.full((100, 150), 128, np.uint8))
    logits = np.zeros((3, 4, 6), np.float32)
    logits[1, :, :], logits[2, :, :] = 4, 5  # support is likelier, but nothing on the micrograph was called support
    write_mask(place.path / place.mask("mic"), np.zeros((4, 6), bool), SAMPLING)
    ClassMap(logits, np.zeros((4, 6), bool), ["good", "thick", "support"], SAMPLING, -1.0).save(
        place.path / place.raw_map("mic")
    )
    told = record(mask=place.mask("mic"))
    told.areas = {"thick": 1.0}
    assert {CLASSES[code] for code in np.unique(read_layers(place.path, told).codes)} == {"thick"}


def test_without_a_stored_picture_the_micrograph_is_read(place, tmp_path):
    path = tmp_path / "mic.mrc"
    pixels = np.random.default_rng(0).normal(0, 0.1, SHAPE).astype(np.float32)
    pixels[:60, :90] -= 5  # dark at the top left, row 0 being y = 0
    with mrcfile.new(path) as mrc:
        mrc.set_data(pixels)
    one = record()
    one.path = str(path)
    layers = read_layers(place.path, one)
    assert layers.shape == SHAPE
    rows, columns = layers.grey.shape
    dark = layers.grey[: rows // 4, : columns // 4].mean()
    assert dark < layers.grey[rows // 2 :].mean() - 50
    assert dark < layers.grey[:, columns // 2 :].mean() - 50


def test_what_is_missing_is_told_and_the_rest_is_shown(place):
    layers = read_layers(place.path, record())
    assert layers.grey is None
    assert "nowhere/mic.mrc" in layers.problems[0]
    write_base(place.path / place.base("mic"), np.zeros((10, 15), np.uint8))
    layers = read_layers(place.path, record(probability="probability/mic.mrc"))
    assert layers.grey is not None
    assert layers.probability is None
    assert "probability/mic.mrc" in layers.problems[0]
