# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps do not depend on the unit of grey levels, and turn with the micrograph; docs/explanation/method.md says so."""

import mrcfile
import numpy as np
import pytest

from cryoice_scipion import core as cryoice
from cryoice_scipion.core.images.checks import check_pixels
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.simulation.config import SceneConfig
from cryoice_scipion.core.simulation.scene import simulate

PIXEL_SIZE, SIDE = 1.6, 320  # Å/px, px: cells of 32 and 64 Å end at the sides
UNIT_TOLERANCE = 0.01  # of P(BAD) of a cell
TURN_TOLERANCE, MEAN_TOLERANCE = 0.5, 0.1  # of a cell, and of their mean
#: Type, factor and offset; the grey levels are whole numbers from -100 to 100, which each of these holds exactly.
UNITS = {
    "int8": ("i1", 1, 0),
    "uint8": ("u1", 1, 128),
    "int16": ("i2", 100, -20_000),
    "uint16": ("u2", 200, 32_000),
    "float16": ("f2", 8, 1024),
    "float32": ("f4", 1, 16_000_000),
    "tiny": ("f4", 2.0**-60, 0),
    "huge": ("f4", 2.0**60, 0),
}
TURNS = {
    "transposed": lambda values: values.T,
    "mirrored at the other diagonal": lambda values: values[::-1, ::-1].T,
    "half a turn": lambda values: values[::-1, ::-1],
    "rows reversed": lambda values: values[::-1],
    "columns reversed": lambda values: values[:, ::-1],
}


@pytest.fixture(scope="module")
def grey():
    """Return whole numbers from -100 to 100: a film, frost and particles."""
    scene = SceneConfig(rows=SIDE, columns=SIDE, pixel_size=PIXEL_SIZE, kinds=["carbon", "frost"], areas=[0.25, 0.1])
    pixels = simulate(scene, np.random.default_rng(1)).pixels.astype(np.float64)
    return np.clip(np.rint((pixels - np.median(pixels)) / pixels.std() * 20), -100, 100)


@pytest.fixture(scope="module")
def mapped():
    """Return a function that maps pixels with the shipped model."""
    detector = cryoice.load("default", "cpu")
    options = {"contrast": "dark", "grade": False, "outlier": False, "regions": False}
    return lambda pixels: detector.screen(pixels, PIXEL_SIZE, **options).probability.astype(np.float64)


def test_the_unit_of_grey_levels_does_not_matter(mapped, grey, tmp_path):
    expected = mapped(grey)
    for name, (kind, factor, offset) in UNITS.items():
        stored = (factor * grey + offset).astype(kind)
        assert np.array_equal(stored.astype(np.float64), factor * grey + offset)
        if kind != "u1":  # MRC has no unsigned bytes
            with mrcfile.new(tmp_path / "m.mrc", overwrite=True) as mrc:
                mrc.set_data(stored)
            stored = load_micrograph(str(tmp_path / "m.mrc"), PIXEL_SIZE).image
        assert np.abs(mapped(stored) - expected).max() < UNIT_TOLERANCE, name


def test_a_turned_micrograph_has_a_turned_map(mapped, grey):
    expected = mapped(grey)
    for name, turn in TURNS.items():
        difference = np.abs(mapped(np.ascontiguousarray(turn(grey))) - turn(expected))
        assert difference.max() < TURN_TOLERANCE and difference.mean() < MEAN_TOLERANCE, name


def test_usual_grey_levels_are_kept_as_they_are():
    usual = np.random.default_rng(0).normal(30_000, 30, (64, 64)).astype(np.float32)
    assert check_pixels(usual, "m")[0] is usual
