# SPDX-License-Identifier: GPL-3.0-or-later
"""From logits to P(BAD), masks and areas, against brute force."""

import numpy as np
import pytest
from scipy import ndimage

from cryoice_scipion.constants import CLASSES
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.maps import bad_area

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
    return bad_area.probabilities(ClassMap(logits, np.zeros(shape, bool), ["good", "bad"], sampling, 0.0), 0.0)


def test_probability_is_the_softmax_share_of_the_bad_classes_and_one_on_the_border():
    """Odds of good : thick : support of 1 : 1 : 2, of 1 : 0 : 0 and of 0 : 1 : 0; the last cell is border."""
    odds = np.array([[1, 1, 1e-30, 1], [1, 1e-30, 1, 1e-30], [2, 1e-30, 1e-30, 1e-30]])
    border = np.array([[False, False, False, True]])
    classmap = ClassMap(np.log(odds)[:, None].astype(np.float32), border, list(CLASSES_OF_MODEL), 30.0, 0.0)
    np.testing.assert_allclose(bad_area.probability(classmap, 0.0), [[0.75, 0, 1, 1]], atol=1e-6)
    shares = bad_area.probabilities(classmap, 0.0).by_class[:, 0, 0]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0], atol=1e-6)  # thick, support, border


def test_a_shift_moves_the_log_odds_by_itself_and_leaves_the_shares_of_the_bad_classes():
    classmap = random_map()
    before, after = bad_area.probabilities(classmap, 0.0), bad_area.probabilities(classmap, 1.5)
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
    assert classmap.median_logit == pytest.approx(float(np.median(classmap.log_odds[:, 1:])))
    classmap.border[:] = True
    assert np.isnan(classmap.median_logit)


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


def test_masks_areas_and_codes_go_together():
    classmap = random_map()
    cells = bad_area.probabilities(classmap, 0.0)
    good = bad_area.good_mask(cells, 0.4)
    codes = bad_area.class_of_cells(cells, good)
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes == CLASSES.index("good"), good)
    assert set(np.unique(codes[classmap.border])) == {CLASSES.index("border")}
    shares = bad_area.areas(codes)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["border"] == pytest.approx(classmap.border.mean())
    assert bad_area.bad_area(cells, good) == pytest.approx((~good)[~classmap.border].mean())


@pytest.mark.parametrize("probability, is_good", [(0.5, True), (0.75, True), (0.7501, False), (0.9, False)])
def test_a_cell_is_good_if_one_minus_its_probability_is_at_least_the_threshold(probability, is_good):
    cells = flat_cells(0.1)
    cells.probability[:] = probability
    assert bad_area.good_mask(cells, 0.25).all() == is_good


def test_bad_area_of_nothing_but_border_is_all():
    cells = flat_cells(0.1)
    cells.border[:] = True
    assert bad_area.bad_area(cells, bad_area.good_mask(cells, 0.5)) == 1.0


@pytest.mark.parametrize("threshold, cut", [(None, 0.6), (-1.0, 0.6), (0.0, 0.0), (0.8, 0.8)])
def test_masks_are_cut_at_the_given_or_the_recommended_threshold(threshold, cut):
    assert bad_area.mask_threshold(threshold, 0.6) == cut


def test_ignored_classes_count_as_good_and_leave_the_others_as_they_are():
    classmap = random_map()
    everything = bad_area.probabilities(classmap, 0.3)
    without = bad_area.probabilities(classmap, 0.3, ["support"])
    np.testing.assert_allclose(without.probability, everything.by_class[[0, 2]].sum(axis=0), atol=1e-6)
    assert not without.by_class[1].any()
    codes = bad_area.class_of_cells(without, bad_area.good_mask(without, 0.5))
    assert CLASSES.index("support") not in codes and CLASSES.index("border") in codes
    borderless = bad_area.probabilities(classmap, 0.0, ["border"])
    assert bad_area.good_mask(borderless, 0.5)[classmap.border].all()


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("number", [1, 2, 3, 5, 9])
def test_regions_below_the_smallest_area_are_good_at_every_threshold(number, cut):
    """Against labelled regions, connected by edges and corners; the border is not removed."""
    classmap = random_map(seed=number, rows=40, columns=50)
    classmap.border[:] = False
    classmap.border[3, 3] = True
    before = bad_area.probabilities(classmap, 0.0)
    area = number * classmap.sampling**2 / 100
    after = bad_area.probabilities(classmap, 0.0, min_area=area)
    regions, count = ndimage.label(before.probability > cut, np.ones((3, 3)))
    large = np.flatnonzero(np.bincount(regions.ravel(), minlength=count + 1) >= number)
    expected = (np.isin(regions, large) & (regions > 0)) | classmap.border
    np.testing.assert_array_equal(after.probability > cut, expected)
    np.testing.assert_allclose(after.by_class.sum(axis=0), after.probability, atol=1e-5)


@pytest.mark.parametrize("number", [2, 3])
def test_cells_that_are_certainly_good_have_no_share_of_any_class_where_regions_are_removed(number):
    odds = np.full((6, 6), -2000.0, np.float32)
    odds[2, 2] = odds[4, 4:] = odds[5, 4] = 5
    classmap = ClassMap(np.stack([np.zeros_like(odds), odds]), np.zeros((6, 6), bool), ["good", "thick"], 10.0, 0.0)
    cells = bad_area.probabilities(classmap, 0.0, min_area=number)
    assert cells.by_class[0].sum() == pytest.approx(3 / (1 + np.exp(-5)), abs=1e-5)
    assert np.count_nonzero(cells.by_class) == np.count_nonzero(cells.probability) == 3
    assert cells.probability.dtype == cells.by_class.dtype == np.float32


def test_an_ignored_border_is_good_area():
    classmap = random_map()
    classmap.border[:] = True
    classmap.logits[0] = 20
    cells = bad_area.probabilities(classmap, 0.0, ["border"])
    assert bad_area.bad_area(cells, bad_area.good_mask(cells, 0.5)) == 0.0


def test_the_level_leaves_ignored_classes_and_the_border_out():
    classmap = random_map()
    assert bad_area.median_logit(bad_area.probabilities(classmap, 0.0)) == pytest.approx(
        classmap.median_logit, abs=1e-4
    )
    classmap.logits[2] = 30  # support everywhere
    assert bad_area.median_logit(bad_area.probabilities(classmap, 0.0)) > 20
    assert bad_area.median_logit(bad_area.probabilities(classmap, 0.0, ["support"])) < 0
    classmap.border[:] = True
    assert bad_area.median_logit(bad_area.probabilities(classmap, 0.0)) is None


@pytest.mark.parametrize(("value", "median"), [(0, -20.7), (0.25, -1.0986), (1, 20.7)])
def test_the_median_of_saturated_cells_is_finite(value, median):
    """A probability counts as one billionth at least, and lacks as much of 1."""
    assert bad_area.median_logit(flat_cells(value)) == pytest.approx(median, abs=0.03)


@pytest.mark.parametrize("seed", range(20))
def test_the_fast_opening_of_single_cells_is_the_general_one(seed):
    """Regions of two cells, by any level, against the area opening of scikit-image."""
    from skimage.morphology import area_opening

    cells = bad_area.probabilities(random_map(seed, 1 + seed % 4, 12), 0.0)
    if seed % 2:
        cells.probability = np.round(cells.probability, 1)  # equal neighbours
    framed = np.pad(np.where(cells.border, np.float32(0), cells.probability), 1)
    expected = area_opening(framed, 2, connectivity=2)[1:-1, 1:-1]
    found = bad_area.without_small_regions(cells, 2).probability
    assert np.array_equal(found[~cells.border], expected[~cells.border])


@pytest.mark.parametrize(
    ("area", "grade", "reason"),
    [
        (0.4, "great", ""),
        (0.41, "great", "bad area 0.410 is more than 0.4"),
        (0.1, "film", "its grade is film"),
        (0.5, "film", "bad area 0.500 is more than 0.4; its grade is film"),
    ],
)
def test_a_micrograph_is_discarded_for_its_area_or_its_grade(area, grade, reason):
    assert bad_area.why_discarded(area, grade, ScreenConfig(max_bad_area=0.4, reject_grades=["film"])) == reason
