# SPDX-License-Identifier: GPL-3.0-or-later
"""The preview of a threshold on one mapped micrograph: a higher threshold rejects more, and the settings apply."""

import numpy as np
import pytest

from cryoice_scipion.core.config import ModelConfig, ScreenConfig, ViewConfig
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.images.thumbnails import write_base
from cryoice_scipion.core.records import MapResult, MicrographTask, Pick, Reference
from cryoice_scipion.core.results.picture_layers import paint
from cryoice_scipion.core.results.threshold_preview import ThresholdPreview

CELLS, CELL, PIXEL_SIZE = 16, 64.0, 4.0  # cells along a side; Å; Å/px
MODEL = ModelConfig(name="m", views=[ViewConfig()], recommended_threshold=0.3, pick_threshold=0.6)
SIDE = int(CELLS * CELL / PIXEL_SIZE)  # px


@pytest.fixture
def mapped(tmp_path):
    """Return a folder and a micrograph in it that gets worse from left to right, with a pick in each column."""
    odds = np.tile(np.linspace(-4, 4, CELLS, dtype=np.float32), (CELLS, 1))
    logits = np.stack([np.zeros_like(odds), odds])
    border = np.zeros(odds.shape, dtype=bool)
    ClassMap(logits, border, ["good", "contamination"], CELL, 0.0).save(tmp_path / "map.npz")
    write_base(tmp_path / "base.png", np.full((SIDE, SIDE), 128, dtype=np.uint8))
    picks = [Pick(k, (k + 0.5) * CELL / PIXEL_SIZE, SIDE / 2, 10.0) for k in range(CELLS)]
    picks.append(Pick(99, SIDE + 50.0, 10.0, 10.0))  # not on the micrograph
    result = MapResult([SIDE, SIDE], PIXEL_SIZE, CELL, 0.0, 0.0, False, "map.npz", "base.png")
    return tmp_path, MicrographTask(1, "/data/one.mrc", "one", PIXEL_SIZE, picks), result


def kept(preview, threshold):
    return preview.apply(threshold).kept


def test_a_higher_threshold_removes_more(mapped):
    preview = ThresholdPreview(*mapped, ScreenConfig(), MODEL)
    numbers = [kept(preview, threshold) for threshold in (0.0, 0.1, 0.5, 0.9, 1.0)]
    assert numbers == sorted(numbers, reverse=True)
    assert (numbers[0], numbers[2], numbers[-1]) == (CELLS, CELLS // 2, 0)  # the one outside has no goodness
    assert preview.apply(0.5).bad_area == pytest.approx(0.5)


def test_without_a_threshold_mask_and_picks_have_those_of_the_model(mapped):
    preview = ThresholdPreview(*mapped, ScreenConfig(), MODEL)
    result = preview.apply(None)
    assert result.bad_area == preview.apply(0.3).bad_area != preview.apply(0.6).bad_area
    assert result.kept == preview.apply(0.6).kept != preview.apply(0.3).kept


def test_what_the_level_of_the_data_set_takes_off_makes_more_good(mapped):
    alone, shifted = (
        ThresholdPreview(*mapped, ScreenConfig(), MODEL, Reference(0.0, shift, "dark")) for shift in (0.0, 2.0)
    )
    assert kept(shifted, 0.5) > kept(alone, 0.5)


def test_of_a_micrograph_with_too_much_bad_area_nothing_is_kept(mapped):
    preview = ThresholdPreview(*mapped, ScreenConfig(max_bad_area=0.4), MODEL)
    assert preview.apply(0.5).reason == "bad area 0.500 is more than 0.4"
    assert kept(preview, 0.5) == 0
    assert preview.apply(0.1).reason == ""


def test_a_margin_removes_what_is_close_to_something_bad(mapped):
    near, far = (ThresholdPreview(*mapped, ScreenConfig(margin=margin), MODEL) for margin in (0.0, 100.0))
    worse = [a > b for a, b in zip(near.goodness[: CELLS // 2 - 1], far.goodness)]
    assert all(worse)


def test_a_threshold_is_seen_in_the_picture_and_not_in_the_map(mapped):
    preview = ThresholdPreview(*mapped, ScreenConfig(), MODEL)
    low, high = (preview.layers(preview.apply(threshold)) for threshold in (0.1, 0.9))
    tinted = [
        int((np.ptp(np.asarray(paint(one, (SIDE, SIDE), False, True)).astype(int), axis=2) > 20).sum())
        for one in (low, high)
    ]
    assert tinted[0] < tinted[1]
    assert low.probability is high.probability


def test_picks_of_an_unknown_size_are_told(mapped):
    folder, task, result = mapped
    task.picks[0].diameter = None
    with pytest.raises(CoordinatesError, match="diameter is not known"):
        ThresholdPreview(folder, task, result, ScreenConfig(), MODEL)
