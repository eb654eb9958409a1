# SPDX-License-Identifier: GPL-3.0-or-later
"""Running sums say the same as counting all anew, whatever was taken out in between, in whatever order."""

import math
import random

import numpy as np
import pytest

from cryoice_scipion.core.records import MicrographRecord, PickScore
from cryoice_scipion.core.results import run_sums
from cryoice_scipion.core.results.run_sums import RunSums

THRESHOLD = 0.437


def record(number, picks, seed=0):
    rng = random.Random(f"{number} {picks} {seed}")
    if rng.random() < 0.1:
        scores = [PickScore(k, None, "failed", False) for k in range(picks)]
        return MicrographRecord(number, f"m{number}", f"m{number}.mrc", "failed", reason="truncated", scores=scores)
    bad, ice = rng.random() ** 4, rng.random()
    scores = []
    for k in range(picks):
        goodness = None if rng.random() < 0.1 else rng.choice([0.0, 1.0, THRESHOLD, rng.random()])
        kept = goodness is not None and goodness >= THRESHOLD
        scores.append(PickScore(k, goodness, "good" if kept else rng.choice(["support", "thick"]), kept))
    return MicrographRecord(
        id=number,
        stem=f"m{number}",
        path=f"m{number}.mrc",
        status=rng.choice(["accepted", "discarded"]),
        bad_area=bad,
        areas={"good": 1 - bad, "crystalline": bad * ice, "thick": bad * (1 - ice)},
        scores=scores,
        flags=rng.choice(
            [[], ["border", "pixel_size_differs=1.77"], [f"picks_outside={rng.randrange(9)}", "mostly_bad"]]
        ),
        pixel_size=1.0 + number / 1000,
        seconds=rng.random(),
        thumbnail=f"thumbnails/m{number}.png",
    )


def everything(sums):
    histogram = sums.goodness
    return (
        dict(sorted(sums.micrographs.items())),
        [sums.status, sums.flags, sums.rejected_by_class, sums.areas, sums.worst(), sums.failed],
        [sums.picks, sums.kept, sums.mapped, sums.bad_area, sums.seconds, sums.pixel_sizes],
        [histogram.below, histogram.above, histogram.scored, histogram.unscored],
    )


def of(records):
    sums = RunSums(THRESHOLD)
    for one in records:
        sums.add(one)
    return sums


def test_sums_with_replaced_records_are_exactly_those_of_the_last_ones():
    early = {number: record(number, 0) for number in range(300)}
    late = {number: record(number, number % 23, seed=1) for number in range(300)}
    sums = of(early.values())
    for number in random.Random(2).sample(range(300), 300):
        sums.remove(early[number])
        sums.add(late[number])
    assert everything(sums) == everything(of(late.values()))


def test_taking_everything_out_leaves_nothing_behind():
    told = [record(number, 9) for number in range(200)]
    sums = of(told)
    for one in told[::-1]:
        sums.remove(one)
    assert everything(sums) == everything(RunSums(THRESHOLD))


def test_counts_and_means_are_those_of_the_records():
    told = [record(number, 12) for number in range(100)]
    sums = of(told)
    mapped = [one for one in told if one.status != "failed"]
    scores = [score for one in told for score in one.scores]
    assert (sums.picks, sums.kept) == (1200, sum(score.kept for score in scores))
    assert sums.bad_area == pytest.approx(math.fsum(one.bad_area for one in mapped) / len(mapped), abs=1e-8)
    for name in ("good", "crystalline", "thick"):
        mean = math.fsum(one.areas[name] for one in mapped) / len(mapped)
        assert sums.areas[name] == pytest.approx(mean, abs=1e-8)
    share, stem = sums.worst()["thick"]
    assert share == max(one.areas["thick"] for one in mapped)
    assert stem == next(one.stem for one in mapped if one.areas["thick"] == share)
    assert "good" not in sums.worst()
    assert sum(sums.rejected_by_class.values()) == sums.picks - sums.kept


def test_the_histogram_has_every_coordinate_once_and_cuts_at_the_threshold():
    told = [record(number, 12) for number in range(100)]
    histogram = of(told).goodness
    values = [score.goodness for one in told for score in one.scores]
    scored = [value for value in values if value is not None]
    assert (histogram.scored, histogram.unscored) == (len(scored), len(values) - len(scored))
    assert sum(histogram.below) == sum(value < float(np.float32(THRESHOLD)) for value in scored)
    assert sum(histogram.above) == sum(value >= float(np.float32(THRESHOLD)) for value in scored)


def test_what_is_remembered_of_a_micrograph_does_not_grow_with_its_coordinates():
    few, many = of([record(1, 1, seed=3)]), of([record(1, 5000, seed=3)])
    assert len(repr(many.micrographs)) < len(repr(few.micrographs)) + 100


@pytest.mark.parametrize("number", [*range(1, 30), 999, 1000, 1001, 1002])
def test_percentiles_from_a_few_values_are_those_of_all(number):
    values = sorted(np.random.default_rng(number).normal(size=number).tolist())
    for percentile in (25, 50):
        few = run_sums._around(values, percentile)
        assert len(few) <= 12
        assert np.percentile(few, percentile) == np.percentile(values, percentile)
