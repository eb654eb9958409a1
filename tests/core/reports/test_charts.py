# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's charts say what the records say, however long the run, and say it in words too."""

import re

import pytest

from cryoice_scipion.core.records import MicrographRecord, PickScore
from cryoice_scipion.core.reports.charts import BARS, ROWS, charts_of
from cryoice_scipion.core.results.run_sums import RunSums

START = 1_700_000_000.0


def sums_of(records, threshold=0.5):
    sums = RunSums(threshold)
    for one in records:
        sums.add(one)
    return sums


def record(number, bad=0.1, border=0.0, rejected=1, picks=4, **fields):
    inside = 1 - border
    areas = {"good": inside * (1 - bad), "thick": inside * bad / 2, "support": inside * bad / 2, "border": border}
    scores = [PickScore(k, 0.1 if k < rejected else 0.9, "thick", k >= rejected) for k in range(picks)]
    values = {
        "status": "accepted",
        "bad_area": bad,
        "areas": areas,
        "scores": scores,
        "screened_at": START + 60 * number,
    }
    return MicrographRecord(number, f"mic{number}", f"mic{number}.mrc", **{**values, **fields})


def chart(name, records, **options):
    found = {one.name: one for one in charts_of(sums_of(records, **options))}
    return found.get(name)


def bars(path):
    """Return left edge, top, width and height of the bars of a path."""
    return [tuple(map(float, bar)) for bar in re.findall(r"M(\S+) (\S+?)h([\d.e-]+)v([\d.e-]+)h", path)]


@pytest.mark.parametrize("number", [1, 7, 100, 1234])
def test_charts_fill_their_frame_with_a_bounded_number_of_bars(number):
    found = charts_of(sums_of(record(i, bad=(i % 10) / 10, border=0.2) for i in range(1, number + 1)))
    assert {"area", "rejected", "goodness"} <= {one.name for one in found}
    for one in found:
        assert one.words and len(one.rows) <= ROWS
        for name, _, path in one.paths:
            assert len(bars(path)) <= BARS, name
            for left, top, width, height in bars(path):
                assert -0.01 <= left and left + width <= 100.01
                assert -0.01 <= top and top + height <= 100.01


def test_bad_area_is_that_of_the_records_which_leave_the_border_out():
    one = chart("area", [record(i, bad=0.3, border=0.4) for i in range(1, 9)])
    assert "support 15.0 %, thick 15.0 %" in one.words and "border" not in one.words
    assert "Highest: 30.0 %" in one.words
    assert one.rows[0] == ["1", "15.0 %", "15.0 %"]
    tops = [top for _, top, _, _ in bars(one.paths[1][2])]
    assert tops == pytest.approx([100 - 100 * 30 / float(one.top[:-2])] * 8, abs=0.01)


def test_a_bad_stretch_of_a_long_run_is_named():
    told = [record(i, bad=0.8 if 5001 <= i <= 5100 else 0.1) for i in range(1, 10_001)]
    assert "Highest: 80.0 % in micrographs 5,001 to 5,100" in chart("area", told).words


def test_failed_micrographs_count_for_coordinates_and_not_for_areas():
    lost = [PickScore(1, None, "failed", False)]
    told = [record(1), MicrographRecord(2, "b", "b.mrc", "failed", scores=lost, screened_at=START), record(3)]
    assert len(chart("area", told).rows) == 2
    assert [row[1] for row in chart("rejected", told).rows] == ["25.0 %", "100.0 %", "25.0 %"]


def test_all_that_was_done_is_in_the_rates_and_so_is_a_standstill():
    told = [record(i, screened_at=START + 60 * i + (7200 if i > 100 else 0)) for i in range(1, 201)]
    one = chart("rate", told)
    assert sum(int(row[1]) for row in one.rows) == 200
    assert one.words.startswith("200 micrographs from")
    assert int(re.search(r"Intervals without micrographs: (\d+)", one.words).group(1)) >= 10


@pytest.mark.parametrize("days", [0.001, 0.5, 3, 30, 700])
def test_rates_of_any_length_of_run_have_a_bounded_number_of_bars(days):
    one = chart("rate", [record(i, screened_at=START + 86400 * days * i / 500) for i in range(501)])
    assert one is None or 3 <= len(bars(one.paths[0][2])) <= BARS + 1


def test_micrographs_of_an_older_version_have_no_times_and_no_rates():
    assert chart("rate", [record(i, screened_at=0.0) for i in range(1, 100)]) is None


def test_the_histogram_counts_both_sides_of_the_threshold():
    one = chart("goodness", [record(i) for i in range(1, 11)])
    assert "Threshold 0.50 (dashed line): 10 below, 30 at or above" in one.words
    assert one.mark == 50
    everything = chart("goodness", [record(i) for i in range(1, 11)], threshold=-1.0)
    assert everything.mark is None and "threshold" not in everything.words


def test_a_run_without_anything_has_no_charts():
    assert charts_of(RunSums(0.5)) == []
    assert charts_of(sums_of([MicrographRecord(1, "a", "a.mrc", "failed")])) == []
