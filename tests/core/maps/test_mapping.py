# SPDX-License-Identifier: GPL-3.0-or-later
"""The map result of a micrograph holds what its map and its file say."""

import numpy as np
import pytest

from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.errors import MapError
from cryoice_scipion.core.images.loading import LoadedMicrograph
from cryoice_scipion.core.maps.mapping import map_micrograph
from cryoice_scipion.core.records import MapResult


class Detector:
    """Give all cells the same log-odds, one more where the contrast is inverted."""

    def __init__(self, odds=-3.0):
        self.odds = odds

    def map(self, image, pixel_size, border, inverted):
        logits = np.zeros((2, 2, 3), np.float32)
        logits[1] = self.odds + inverted
        cells = np.full((2, 3), bool(border.all()))
        return ClassMap(logits, cells, ["good", "thick"], 20.0 * pixel_size, -0.5, ["coarse_pixels"])


def micrograph(border=0):
    """Return a micrograph whose first columns are border."""
    mask = np.zeros((40, 60), bool)
    mask[:, :border] = True
    return LoadedMicrograph(np.zeros((40, 60), np.float32), mask, 1.5, ["nan_pixels"])


@pytest.mark.parametrize(("contrast", "median"), [("dark", -3.0), ("auto", -3.0), ("bright", -2.0)])
def test_the_map_result_holds_shape_sizes_contrast_and_flags(contrast, median):
    classmap, mapped = map_micrograph(Detector(), micrograph(), "m", contrast)
    flags = ["nan_pixels", "coarse_pixels"]
    assert mapped == MapResult([40, 60], 1.5, 30.0, median, -0.5, contrast == "bright", "", "", flags)
    assert classmap.median_logit == median


def test_border_is_flagged_and_a_micrograph_of_nothing_else_has_no_median():
    assert map_micrograph(Detector(), micrograph(border=1), "m", "dark")[1].flags[-1] == "border"
    mapped = map_micrograph(Detector(), micrograph(border=60), "m", "dark")[1]
    assert mapped.median_logit is None and mapped.flags[-1] == "border"


def test_log_odds_that_are_not_finite_are_an_error_that_names_the_micrograph():
    with pytest.raises(MapError, match="^grid_7: .*6 of 6 cells"):
        map_micrograph(Detector(np.nan), micrograph(), "grid_7", "dark")
