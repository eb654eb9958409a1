# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule for coordinates: what must be true of it on any map, and the distances against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cryoice_scipion.core.config import ModelConfig, ScreenConfig, ViewConfig
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.errors import CoordinatesError, SettingsError
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.maps import bad_area, scoring
from cryoice_scipion.core.records import Pick

CLASSES_OF_MODEL = ["good", "thick", "support"]
PICKS = 60


def model(mask=0.4, picks=None):
    return ModelConfig(name="m", views=[ViewConfig()], recommended_threshold=mask, pick_threshold=picks)


class Case:
    """A map, and coordinates all over it: inside the frame, at its edge, and outside."""

    def __init__(self, seed, rows, columns, sampling, pixel_size, badness=-2.0):
        rng = np.random.default_rng(seed)
        border = np.zeros((rows, columns), bool)
        border[:, : int(rng.integers(0, 3))] = True
        logits = rng.normal(0, 2, (3, rows, columns)).astype(np.float32)
        logits[1:] += badness
        self.map = ClassMap(logits, border, list(CLASSES_OF_MODEL), sampling, 0.0)
        self.cells, self.sampling, self.pixel_size = bad_area.probabilities(self.map, 0.0), sampling, pixel_size
        self.shape = [int(side * sampling / pixel_size) for side in (rows, columns)]
        x, y = rng.uniform(-0.05, 1.05, (2, PICKS)) * np.array(self.shape)[::-1, None]
        self.picks = [Pick(i, float(x[i]), float(y[i])) for i in range(PICKS)]

    def score(self, diameter, config=None, of=None, picks=None, **options):
        config, picks = config or ScreenConfig(), self.picks if picks is None else picks
        sizes = [diameter] * len(picks)
        return scoring.score_picks(
            self.cells, picks, sizes, Frame(self.shape, self.pixel_size), config, of or model(), **options
        )

    def cell(self, pick):
        row, column = (int(value * self.pixel_size // self.sampling) for value in (pick.y, pick.x))
        return min(row, self.cells.border.shape[0] - 1), min(column, self.cells.border.shape[1] - 1)


cases = st.builds(
    Case,
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 14),
    columns=st.integers(1, 14),
    sampling=st.sampled_from([16.0, 32.0, 64.0]),
    pixel_size=st.sampled_from([0.7, 1.1, 3.9]),
    badness=st.sampled_from([-4.0, -2.0, 0.0]),
)
diameters = st.floats(1, 600)
thresholds = st.floats(0, 1)


def kept(scores):
    return {score.id for score in scores if score.kept}


@given(case=cases, diameter=diameters, margin=st.floats(0, 200), threshold=st.one_of(st.none(), thresholds))
@settings(max_examples=100, deadline=None)
def test_verdicts_are_those_of_the_rule_written_out(case, diameter, margin, threshold):
    """Labelled regions at the threshold, and the distance from each centre to each of their cells."""
    found = case.score(diameter, ScreenConfig(threshold=threshold, margin=margin))
    cut = 0.4 if threshold is None else threshold
    bad = ~bad_area.good_mask(case.cells, cut)
    regions, number = ndimage.label(bad & ~case.cells.border, np.ones((3, 3)))  # the border is no part of them
    sizes = np.bincount(regions.ravel(), minlength=number + 1)
    counts = bad & ((sizes[regions] > 1) | case.cells.border)
    row, column = np.nonzero(counts)
    for pick, score in zip(case.picks, found):
        if not (0 <= pick.x < case.shape[1] and 0 <= pick.y < case.shape[0]):
            assert (score.goodness, score.cls, score.kept) == (None, "outside", False)
            continue
        y, x = pick.y * case.pixel_size, pick.x * case.pixel_size
        distance = np.hypot((row + 0.5) * case.sampling - y, (column + 0.5) * case.sampling - x)
        if np.any(np.abs(distance - (diameter / 2 + margin)) < 1e-6):
            continue  # either is right
        rejected = bad[case.cell(pick)] or bool((distance <= diameter / 2 + margin).any())
        assert score.kept is not rejected


@given(case=cases, diameter=diameters)
@settings(max_examples=60, deadline=None)
def test_a_centre_in_bad_area_or_border_is_rejected_at_the_recommended_threshold(case, diameter):
    of = model(0.3, 0.35)
    good = bad_area.good_mask(case.cells, of.recommended_threshold)
    for pick, score in zip(case.picks, case.score(diameter, of=of)):
        assert not score.kept or good[case.cell(pick)]


@given(case=cases, sizes=st.tuples(diameters, diameters), margins=st.tuples(st.floats(0, 300), st.floats(0, 300)))
@settings(max_examples=60, deadline=None)
def test_more_diameter_margin_or_threshold_never_keeps_what_less_rejected(case, sizes, margins):
    small, large = sorted(sizes)
    near, far = sorted(margins)
    assert kept(case.score(large)) <= kept(case.score(small))
    assert kept(case.score(small, ScreenConfig(margin=far))) <= kept(case.score(small, ScreenConfig(margin=near)))
    by_class = [ScreenConfig(margin=50, margins={"support": margin}) for margin in (near, far)]
    assert kept(case.score(small, by_class[1])) <= kept(case.score(small, by_class[0]))
    steps = [kept(case.score(small, ScreenConfig(threshold=cut))) for cut in (0.0, 0.2, 0.5, 0.9, 1.0)]
    assert all(higher <= lower for lower, higher in zip(steps, steps[1:]))


@given(case=cases, diameter=diameters)
@settings(max_examples=60, deadline=None)
def test_thresholds_do_what_they_say(case, diameter):
    scores = case.score(diameter, ScreenConfig(threshold=-1))
    assert all(score.kept for score in scores)
    inside = {score.id for score in scores if score.goodness is not None}
    assert kept(case.score(diameter, ScreenConfig(threshold=0))) == inside
    assert kept(case.score(diameter, ScreenConfig(threshold=1))) == {s.id for s in scores if s.goodness == 1.0}
    assert not kept(case.score(diameter, ScreenConfig(threshold=-1), discarded=True))


@given(case=cases, diameter=diameters, margin=st.floats(0, 200))
@settings(max_examples=60, deadline=None)
def test_picks_at_the_edge_are_screened_as_elsewhere(case, diameter, margin):
    """A mirrored map around the frame adds nothing nearer than what is inside, so the verdicts stay."""
    rows, columns = case.cells.border.shape
    pad = min(rows, columns) - 1
    config, cell = ScreenConfig(margin=margin), case.sampling / case.pixel_size
    picks = [
        pick for pick in case.picks
        if cell / 2 <= pick.x <= (columns - 0.5) * cell and cell / 2 <= pick.y <= (rows - 0.5) * cell
    ]  # fmt: skip
    alone = case.score(diameter, config, picks=picks)
    around = Case(0, rows, columns, case.sampling, case.pixel_size)
    mirrored = ClassMap(
        np.pad(case.map.logits, ((0, 0), (pad, pad), (pad, pad)), mode="reflect"),
        np.pad(case.map.border, pad, mode="reflect"),
        case.map.classes,
        case.sampling,
        0.0,
    )
    around.cells = bad_area.probabilities(mirrored, 0.0)
    around.shape = [int((side + 2 * pad) * cell) for side in (rows, columns)]
    moved = [Pick(pick.id, pick.x + pad * cell, pick.y + pad * cell) for pick in picks]
    assert kept(around.score(diameter, config, picks=moved)) == kept(alone)


def one_region(cells, shape=(12, 12), sampling=32.0):
    """Return a clean case with these bad cells."""
    case = Case(0, *shape, sampling, 2.0)
    case.map.logits[:] = np.array([0, -12, -12], np.float32)[:, None, None]
    case.map.border[:] = False
    for row, column in cells:
        case.map.logits[1, row, column] = 8
    case.cells = bad_area.probabilities(case.map, 0.0)
    return case


def centre_of(row, column, sampling=32.0, pixel_size=2.0):
    return (column + 0.5) * sampling / pixel_size, (row + 0.5) * sampling / pixel_size


def test_a_single_wrong_cell_rejects_only_who_is_centred_in_it():
    case = one_region([(5, 5)])
    picks = [Pick(row * 12 + column, *centre_of(row, column)) for row in range(12) for column in range(12)]
    rejected = {pick.id for pick in picks} - kept(case.score(200, ScreenConfig(margin=100), picks=picks))
    assert rejected == {5 * 12 + 5}


@pytest.mark.parametrize("radius", [40, 70, 100])
def test_bad_area_reaches_equally_far_in_each_direction(radius):
    case = one_region([(5, 5), (5, 6), (6, 5), (6, 6)])  # the centres of cells are 16 Å beside the middle, at 192 Å
    inside, outside = (np.sqrt(reach**2 - 16**2) + 16 for reach in (radius - 0.5, radius + 0.5))
    steps = [(1, 0), (-1, 0), (0, 1), (0, -1)]
    at = [(192 + way * x, 192 + way * y) for way in (inside, outside) for x, y in steps]
    picks = [Pick(number, x / 2, y / 2) for number, (x, y) in enumerate(at)]
    assert kept(case.score(2 * radius, picks=picks)) == {4, 5, 6, 7}


@pytest.mark.parametrize("diameter", [60, 30_000.0])
def test_many_coordinates_are_scored_in_parts_with_the_same_result(monkeypatch, diameter):
    case = Case(3, 12, 14, 32.0, 1.1, badness=-4.0)
    whole = case.score(diameter)
    monkeypatch.setattr(scoring, "_AT_ONCE", 500)
    assert case.score(diameter) == whole and len(kept(whole)) < len(whole) == PICKS


def test_the_class_is_that_of_the_cell_below_the_centre_if_no_other_is_worse():
    case = one_region([])
    case.map.logits[2, 5, 5] = 8  # a single cell of support
    case.map.logits[1, 9, :5], case.map.logits[2, 9, 5:] = 100, 100  # equal: thick, then support
    case.cells = bad_area.probabilities(case.map, 0.0)
    picks = [Pick(1, *centre_of(5, 5)), Pick(2, *centre_of(9, 5)), Pick(3, *centre_of(9, 4))]
    assert [score.cls for score in case.score(80, picks=picks)] == ["support", "support", "thick"]


@pytest.mark.parametrize("diameter", [40, 60, 120])
def test_a_small_ice_particle_that_covers_the_particle_rejects_it(diameter):
    case = one_region([(5, 5), (5, 6), (6, 5), (6, 6)])  # 64 Å wide
    x, y = centre_of(5.5, 5.5)
    assert not kept(case.score(diameter, picks=[Pick(1, x, y), Pick(2, x + 10, y - 10)]))


@pytest.mark.parametrize("margin", [0, 20, 75, 150])
def test_the_margin_is_the_distance_from_the_particles_edge_to_bad_area(margin):
    """To half a map cell: a film on the left ends at x = 96 Å."""
    case = one_region([(row, column) for row in range(12) for column in range(3)])
    picks = [Pick(i, (96 + i) / 2.0, 100.0) for i in range(0, 280)]
    nearest = min(kept(case.score(60, ScreenConfig(margin=margin), picks=picks)))
    assert abs(nearest - 30 - margin) <= 16 + 1


@pytest.mark.parametrize("diameter", [30_000.0, 1e300, float("inf")])
def test_a_diameter_larger_than_the_micrograph_is_screened_by_all_of_it(diameter):
    clean, dirty = one_region([]), one_region([(0, 0), (0, 1)])
    picks = [Pick(i, 20.0 * i, 150.0) for i in range(9)]
    assert len(kept(clean.score(diameter, picks=picks))) == 9
    assert not kept(dirty.score(diameter, picks=picks))


def test_each_class_has_its_margin_and_may_be_ignored():
    case = one_region([])
    case.map.logits[1, :, :2], case.map.logits[2, :, -2:] = 9, 9  # thick on the left, support on the right
    case.cells = bad_area.probabilities(case.map, 0.0)
    near_thick, near_support = Pick(1, *centre_of(5, 3)), Pick(2, *centre_of(5, 8))
    picks = [near_thick, near_support]
    assert kept(case.score(60, picks=picks)) == {1, 2}
    assert kept(case.score(60, ScreenConfig(margin=100), picks=picks)) == set()
    assert kept(case.score(60, ScreenConfig(margins={"support": 100}), picks=picks)) == {1}
    case.cells = bad_area.probabilities(case.map, 0.0, ["thick"])
    assert kept(case.score(60, ScreenConfig(margin=100), picks=picks)) == {1}


def test_the_class_is_that_of_the_area_that_decides():
    case = one_region([])
    case.map.logits[1, :, :4], case.map.logits[2, :, -4:] = 9, 9
    case.map.border[-2:] = True
    case.cells = bad_area.probabilities(case.map, 0.0)
    places = [(4, 1), (4, 10), (11, 6), (4, 6)]
    picks = [Pick(index, *centre_of(*place)) for index, place in enumerate(places)]
    expected = ["thick", "support", "border", "good"]
    assert [score.cls for score in case.score(40, picks=picks)] == expected
    assert [score.cls for score in case.score(40, ScreenConfig(threshold=-1), picks=picks)] == expected


@pytest.mark.parametrize(
    ("threshold", "verdict"),
    [(None, ("thick", False)), (0.2, ("good", True)), (0.5, ("thick", False)), (-1, ("thick", True))],
)
def test_the_class_is_good_if_the_threshold_in_use_says_so(threshold, verdict):
    """P(BAD) is 0.7 everywhere; the model's threshold is 0.4."""
    case = one_region([])
    case.map.logits[1] = np.log(0.7 / 0.3)
    case.cells = bad_area.probabilities(case.map, 0.0)
    (score,) = case.score(40, ScreenConfig(threshold=threshold), picks=[Pick(1, *centre_of(5, 5))])
    assert (score.cls, score.kept) == verdict and score.goodness == pytest.approx(0.3, abs=1e-5)


def test_the_first_pixel_is_inside_and_the_one_after_the_last_is_outside():
    case = one_region([])
    rows, columns = case.shape
    at = [(0, 5), (5, 0), (-1e-9, 5), (5, -1e-9), (columns - 1e-9, 5), (5, rows - 1e-9), (columns, 5), (5, rows)]
    found = case.score(40, picks=[Pick(number, x, y) for number, (x, y) in enumerate([*at, (np.nan, 5), (5, np.inf)])])
    assert [score.cls for score in found] == ["good"] * 2 + ["outside"] * 2 + ["good"] * 2 + ["outside"] * 4


def test_a_diameter_is_the_setting_else_the_files_else_two_thirds_of_the_box():
    def of(pick, **options):
        found = scoring.particle_diameter(pick, ScreenConfig(**options), 2.0, "x")
        return found.angstrom, found.origin

    assert of(Pick(1, 0, 0, 30.0, 90.0), particle_diameter=200) == (200.0, scoring.GIVEN)
    assert of(Pick(1, 0, 0, 30.0, 90.0), box_size=45) == (60.0, scoring.FROM_FILE)
    assert of(Pick(1, 0, 0, None, 90.0), box_size=45) == (120.0, scoring.FROM_BOX)
    assert of(Pick(1, 0, 0), box_size=45) == (60.0, scoring.FROM_BOX)
    assert of(Pick(1, 0, 0, 0.5, 90.0)) == (1.0, scoring.FROM_FILE)
    assert of(Pick(1, 0, 0, None, 0.75), box_size=45) == (1.0, scoring.FROM_BOX)
    for nothing in (Pick(1, 0, 0), Pick(1, 0, 0, float("nan")), Pick(1, 0, 0, 0.0, -1.0)):
        with pytest.raises(CoordinatesError, match="^x: .*--particle-diameter"):
            of(nothing)


def test_each_particle_has_its_own_diameter_unless_the_settings_give_one():
    picks = [Pick(1, 0, 0, 30.0), Pick(2, 0, 0, None, 90.0), Pick(3, 0, 0, 20.0)]
    sizes, origins = scoring.particle_diameters(picks, ScreenConfig(), 2.0, "x")
    assert sizes.tolist() == [60.0, 120.0, 40.0] and origins == "coordinates, two thirds of the box size"
    sizes, origins = scoring.particle_diameters(picks[:1], ScreenConfig(particle_diameter=200), 2.0, "x")
    assert sizes.tolist() == [200.0] and origins == "setting"
    sizes, origins = scoring.particle_diameters([], ScreenConfig(particle_diameter=200), 2.0, "x")
    assert sizes.dtype == np.float64 and sizes.shape == (0,) and origins == ""


def test_goodness_of_picks_uses_the_diameter_of_each():
    """The centre of the nearest bad cell is 80 Å from the first two picks; the last one is outside the frame."""
    case = one_region([(row, column) for row in range(12) for column in range(3)])
    frame, config = Frame(case.shape, case.pixel_size), ScreenConfig(margin=10)
    x, y = centre_of(6, 4.5)
    picks = [Pick(1, x, y, 80.0), Pick(2, x, y, 20.0), Pick(3, *centre_of(6, 1), 20.0), Pick(4, -5.0, y, 20.0)]
    found = scoring.goodness_of_picks(case.cells, picks, config, frame, "x")
    np.testing.assert_allclose(found, [0, 1, 0, np.nan], atol=1e-3)
    with pytest.raises(CoordinatesError, match="^grid_7: "):
        scoring.goodness_of_picks(case.cells, [Pick(1, x, y)], config, frame, "grid_7")


@pytest.mark.parametrize("threshold, cut", [(None, 0.45), (-1.0, -1.0), (0.0, 0.0), (0.8, 0.8)])
def test_picks_have_a_threshold_of_their_own(threshold, cut):
    assert scoring.pick_threshold(threshold, model(0.4, 0.45)) == cut


def test_a_model_whose_picks_pass_inside_its_mask_is_refused():
    assert model(0.4).threshold_for_picks == 0.4
    with pytest.raises(ValueError, match="picks inside the mask would be kept"):
        model(0.4, 0.3)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"margins": {"carbon": 10}}, "unknown class carbon; the classes of bad area are crystalline"),
        ({"ignore": ["good"]}, "unknown class good"),
        ({"margins": {"support": -1}}, "margins must be from 0 to 100000 Å"),
        ({"margins": {"support": float("inf")}}, "must be a finite number"),
        ({"min_area": -1}, "min_area"),
        ({"particle_diameter": float("inf")}, "particle_diameter"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(options, words):
    with pytest.raises(SettingsError, match=words):
        ScreenConfig.make(**options)


@pytest.mark.parametrize("beside", [True, False])
def test_a_single_wrong_cell_beside_the_border_rejects_no_more_than_elsewhere(beside):
    case = one_region([(5, 3 if beside else 6)])
    case.map.border[:, :3] = True
    case.cells = cells_of_map(case.map)
    picks = [Pick(1, *centre_of(5, 6)), Pick(2, *centre_of(5, 8))]  # 96 and 160 Å from the border's last cell
    kept_ids = kept(case.score(150, picks=picks))
    assert kept_ids == ({1, 2} if beside else {2})


def cells_of_map(classmap, **options):
    return bad_area.probabilities(classmap, 0.0, **options)


def test_a_small_region_beside_the_border_can_be_removed_and_one_of_just_the_smallest_area_stays():
    case = one_region([(5, 3), (5, 4), (8, 8), (8, 9), (8, 10)])
    case.map.border[:, :3] = True
    cell = 32.0**2 / 100  # nm²
    for area, left in ((2.5 * cell, {8}), (3 * cell, {8}), (3.5 * cell, set()), (2 * cell, {5, 8})):
        rows = np.nonzero((cells_of_map(case.map, min_area=area).probability > 0.5)[:, 3:])[0]
        assert set(rows.tolist()) == left
