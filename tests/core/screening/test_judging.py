# SPDX-License-Identifier: GPL-3.0-or-later
"""From logits to P(BAD), masks and scores, against brute force and against the contract's words."""

import numpy as np
import pytest

from cryoice_scipion.constants import CLASSES
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CoordinatesError, ImageError
from cryoice_scipion.core.records import Pick
from cryoice_scipion.core.screening import judging
from cryoice_scipion.core.screening.classmap import ClassMap

CLASSES_OF_MODEL = ["good", "thick", "support"]


def random_map(seed=0, rows=9, columns=12, sampling=30.0):
    rng = np.random.default_rng(seed)
    border = np.zeros((rows, columns), bool)
    border[:, 0] = True
    logits = rng.normal(0, 2, (3, rows, columns)).astype(np.float32)
    return ClassMap(logits, border, list(CLASSES_OF_MODEL), sampling, -0.3, ["coarse_pixels"])


def flat_cells(value, shape=(8, 8), sampling=30.0):
    odds = np.log(value / (1 - value)) if 0 < value < 1 else (60.0 if value else -2000.0)
    logits = np.zeros((2, *shape), np.float32)
    logits[1] = odds
    return judging.probabilities(ClassMap(logits, np.zeros(shape, bool), ["good", "bad"], sampling, 0.0), 0.0)


def score(cells, picks, threshold=None, recommended=0.5, pixel_size=2.0, shape=(120, 120), **options):
    diameters = [pick.diameter for pick in picks]
    margin = options.pop("margin", 0.0)
    return judging.score_picks(cells, picks, diameters, pixel_size, shape, margin, threshold, recommended, **options)


def test_probability_is_the_softmax_share_of_the_bad_classes_and_one_on_the_border():
    classmap = random_map()
    exp = np.exp(classmap.logits.astype(float))
    expected = np.where(classmap.border, 1, 1 - exp[0] / exp.sum(axis=0))
    np.testing.assert_allclose(judging.probability(classmap, 0.0), expected, atol=1e-6)


def test_a_shift_moves_the_log_odds_by_itself_and_leaves_the_shares_of_the_bad_classes():
    classmap = random_map()
    before, after = judging.probabilities(classmap, 0.0), judging.probabilities(classmap, 1.5)
    inside = ~classmap.border
    bad = after.probability[inside].astype(float)
    logit = np.log(bad / (1 - bad))
    np.testing.assert_allclose(logit, classmap.log_odds[inside] - 1.5, atol=2e-3)
    np.testing.assert_allclose(after.by_class.sum(axis=0), after.probability, atol=1e-6)
    ratio = before.by_class[0] / (before.by_class[0] + before.by_class[1] + 1e-30)
    shifted = after.by_class[0] / (after.by_class[0] + after.by_class[1] + 1e-30)
    np.testing.assert_allclose(ratio[inside], shifted[inside], atol=1e-5)


def test_the_level_leaves_the_border_out():
    classmap = random_map()
    assert classmap.level == pytest.approx(float(np.median(classmap.log_odds[:, 1:])))
    classmap.border[:] = True
    assert np.isnan(classmap.level)


def test_a_stored_map_comes_back_as_it_was(tmp_path):
    classmap = random_map()
    classmap.save(tmp_path / "map.npz")
    again = ClassMap.load(tmp_path / "map.npz")
    np.testing.assert_array_equal(again.logits, classmap.logits)
    np.testing.assert_array_equal(again.border, classmap.border)
    assert (again.classes, again.sampling, again.skewness) == (classmap.classes, classmap.sampling, classmap.skewness)
    assert again.flags == ["coarse_pixels"]


def test_a_damaged_stored_map_is_said_to_be_damaged(tmp_path):
    path = tmp_path / "map.npz"
    random_map().save(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ImageError, match="stored map"):
        ClassMap.load(path)


@pytest.mark.parametrize("diameter, margin", [(20, 0), (60, 25), (6, 0)])
def test_goodness_is_one_minus_the_mean_over_the_particles_own_disc(diameter, margin):
    """Against every pixel of the disc; the frame is 250 × 340 px of 1 Å, cells are 30 Å, discs overlap the edge."""
    cells, shape = judging.probabilities(random_map(), 0.4), (250, 340)
    rng = np.random.default_rng(1)
    picks = [Pick(i, rng.uniform(0, 340), rng.uniform(0, 250), diameter) for i in range(20)]
    found = score(cells, picks, pixel_size=1.0, shape=shape, margin=margin)
    step = 0.5  # px: of the brute force
    y, x = np.mgrid[0 : shape[0] : step, 0 : shape[1] : step] + step / 2
    values = cells.probability[(y // 30).astype(int), (x // 30).astype(int)]
    for pick, one in zip(picks, found):
        disc = (x - pick.x) ** 2 + (y - pick.y) ** 2 <= (diameter / 2 + margin) ** 2
        assert one.goodness == pytest.approx(1 - values[disc].mean(), abs=0.03)


def test_pixel_size_and_sampling_are_taken_into_account():
    """The same micrograph at half the pixel size, with coordinates and diameters twice as large, scores the same."""
    cells = judging.probabilities(random_map(), 0.0)
    coarse = score(cells, [Pick(1, 100.0, 80.0, 40.0)], pixel_size=2.0, shape=(135, 180))
    fine = score(cells, [Pick(1, 200.0, 160.0, 80.0)], pixel_size=1.0, shape=(270, 360))
    assert coarse[0].goodness == pytest.approx(fine[0].goodness, abs=1e-9)


@pytest.mark.parametrize(
    "threshold, probability, kept",
    [
        (None, 0.3, True),  # recommended is 0.6: goodness 0.7 passes
        (None, 0.5, False),
        (0.0, 1.0, True),  # 0 keeps whatever was scored
        (1.0, 0.0, True),
        (1.0, 0.001, False),  # 1 keeps only the flawless
        (0.7, 0.31, False),
        (0.7, 0.29, True),
        (-1.0, 1.0, True),
    ],
)
def test_thresholds_do_what_they_say(threshold, probability, kept):
    found = score(flat_cells(probability), [Pick(1, 60, 60, 10.0)], threshold, recommended=0.6)
    assert found[0].kept is kept
    assert found[0].goodness == pytest.approx(1 - probability, abs=1e-5)


@pytest.mark.parametrize("threshold, kept", [(None, False), (0.0, False), (1.0, False), (-1.0, True)])
@pytest.mark.parametrize("x, y", [(-0.1, 50), (120, 50), (50, -3), (50, 120.5), (float("nan"), 50)])
def test_a_pick_outside_the_frame_has_no_goodness(threshold, kept, x, y):
    found = score(flat_cells(0.0), [Pick(1, x, y, 10.0)], threshold)
    assert (found[0].goodness, found[0].cls, found[0].kept) == (None, "outside", kept)


def test_a_pick_at_the_frames_edge_is_scored_by_what_lies_inside():
    found = score(flat_cells(0.25), [Pick(1, 0.0, 0.0, 50.0), Pick(2, 119.9, 119.9, 50.0)])
    assert [one.goodness for one in found] == pytest.approx([0.75, 0.75])


def test_picks_of_a_discarded_micrograph_are_rejected_and_keep_goodness_and_class():
    found = score(flat_cells(0.1), [Pick(1, 60, 60, 10.0)], discarded=True)
    assert found[0].kept is False
    assert found[0].goodness == pytest.approx(0.9)
    assert found[0].cls == "good"


def test_the_class_is_the_likeliest_bad_one_over_the_disc():
    logits = np.full((3, 8, 8), -9.0, np.float32)
    logits[0] = 0
    logits[1, :, :4] = 9  # thick on the left
    logits[2, :, 4:] = 9  # support on the right
    border = np.zeros((8, 8), bool)
    border[6:] = True
    cells = judging.probabilities(ClassMap(logits, border, CLASSES_OF_MODEL, 30.0, 0.0), 0.0)
    picks = [Pick(1, 20, 20, 10.0), Pick(2, 100, 20, 10.0), Pick(3, 60, 115, 6.0)]
    assert [one.cls for one in score(cells, picks)] == ["thick", "support", "border"]
    assert [one.cls for one in score(cells, picks, -1.0)] == ["thick", "support", "border"]


def test_masks_areas_and_codes_go_together():
    classmap = random_map()
    cells = judging.probabilities(classmap, 0.0)
    good = judging.good_mask(cells, 0.4)
    np.testing.assert_array_equal(good, 1 - cells.probability >= np.float32(0.4))
    codes = judging.class_of_cells(cells, good)
    np.testing.assert_array_equal(codes == CLASSES.index("good"), good)
    assert set(np.unique(codes[classmap.border])) == {CLASSES.index("border")}
    shares = judging.areas(codes)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["border"] == pytest.approx(classmap.border.mean())
    assert judging.bad_area(cells, good) == pytest.approx((~good)[~classmap.border].mean())


def test_bad_area_of_nothing_but_border_is_all():
    cells = flat_cells(0.1)
    cells.border[:] = True
    assert judging.bad_area(cells, judging.good_mask(cells, 0.5)) == 1.0


@pytest.mark.parametrize("threshold, cut", [(None, 0.6), (-1.0, 0.6), (0.0, 0.0), (0.8, 0.8)])
def test_masks_are_cut_at_the_given_or_the_recommended_threshold(threshold, cut):
    assert judging.mask_threshold(threshold, 0.6) == cut


def test_a_particles_size_comes_from_the_pick_then_from_the_settings_and_else_is_asked_for():
    assert judging.diameter_of(Pick(1, 0, 0, 30.0), ScreenConfig(diameter=20), "x") == 30
    assert judging.diameter_of(Pick(1, 0, 0), ScreenConfig(diameter=20), "x") == 20
    with pytest.raises(CoordinatesError, match="--box-size"):
        judging.diameter_of(Pick(1, 0, 0), ScreenConfig(), "x")
