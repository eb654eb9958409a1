# SPDX-License-Identifier: GPL-3.0-or-later
"""Charts of the report: scalable SVG paths, a descriptive sentence, and a table of the values.

Text is outside the SVG, so that it stays readable when the chart is narrow.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from datetime import datetime
from typing import Dict, List, Optional, Sequence, Tuple

from cryoice_scipion.constants import BORDER, FAILED
from cryoice_scipion.core.errors import plural
from cryoice_scipion.core.images.palette import KEPT, REJECTED, class_colour
from cryoice_scipion.core.results.run_sums import GoodnessHistogram, MicrographValues, RunSums

BARS = 100  # maximum number of bars: three px each on a phone
ROWS = 12  # maximum number of table rows
PLAIN = "#666666"
_WIDTHS = ((60, "minute"), (600, "10 minutes"), (3600, "hour"), (6 * 3600, "6 hours"), (24 * 3600, "day"))  # s


@dataclasses.dataclass
class Chart:
    """A chart of stacked bars in a square of 100 by 100 units."""

    name: str  # unique in the page
    title: str
    words: str  # description in a sentence
    top: str  # labels of the axes
    middle: str
    left: str
    right: str
    axis: str
    paths: List[Tuple[str, str, str]]  # name, colour, path
    head: Sequence[str]  # of the table
    rows: Sequence[Sequence[str]]
    mark: Optional[float] = None  # position of a dashed line, from 0 to 100


def charts_of(sums: RunSums) -> List[Chart]:
    """Return the charts of a run that have data."""
    every = [sums.micrographs[key] for key in sorted(sums.micrographs)]
    found = [_bad_area(every), _rejected(every), _rate(every)]
    if sums.goodness.scored:
        found.append(_goodness(sums.goodness))
    return [chart for chart in found if chart is not None]


def _bad_area(every: List[MicrographValues]) -> Optional[Chart]:
    """Return the chart of bad area by class over the readable micrographs."""
    mapped = [one for one in every if one.status != FAILED]
    if not mapped:
        return None
    totals: Counter = Counter()  # type: ignore[type-arg]
    for one in mapped:
        totals.update(_inside(one))
    names = sorted(totals, key=lambda name: (-totals[name], name))
    spans, values = _mean_areas(mapped, names, BARS)
    sums = [sum(column) for column in values]
    top = nice(100 * max(sums), 100.0)
    worst = max(range(len(sums)), key=lambda index: sums[index])
    means = ", ".join(f"{name} {100 * totals[name] / len(mapped):.1f} %" for name in names) or "none"
    words = f"Mean bad area by class: {means}. Highest: {100 * sums[worst]:.1f} % in {_named(spans[worst])}."
    few, table = _mean_areas(mapped, names, ROWS)
    return Chart(
        "area",
        "Bad area by class over the run",
        words,
        f"{top:g} %",
        f"{top / 2:g} %",
        *_ends(mapped),
        "micrographs that could be read, in input order",
        [
            (name, class_colour(name), path)
            for name, path in zip(names, stacked([[1e4 * v / top for v in row] for row in values], len(names)))
        ],
        ["micrographs", *names],
        [[_between(span), *(f"{100 * value:.1f} %" for value in row)] for span, row in zip(few, table)],
    )


def _rejected(every: List[MicrographValues]) -> Optional[Chart]:
    """Return the chart of rejected coordinates over the micrographs."""
    if not any(one.picks for one in every):
        return None

    def shares(most: int) -> Tuple[List[Tuple[int, int]], List[Optional[float]]]:
        spans = _spans(len(every), most)
        found: List[Optional[float]] = []
        for first, last in spans:
            picks = sum(one.picks for one in every[first - 1 : last])
            kept = sum(one.kept for one in every[first - 1 : last])
            found.append((picks - kept) / picks if picks else None)
        return spans, found

    spans, values = shares(BARS)
    known = [(value, span) for value, span in zip(values, spans) if value is not None]
    highest, where = max(known, key=lambda pair: pair[0])
    top = nice(100 * highest, 100.0)
    picks, kept = sum(one.picks for one in every), sum(one.kept for one in every)
    few, table = shares(ROWS)
    return Chart(
        "rejected",
        "Rejected coordinates over the run",
        f"{_percent((picks - kept) / picks)} of all coordinates are rejected. "
        f"Highest: {_percent(highest)} in {_named(where)}.",
        f"{top:g} %",
        f"{top / 2:g} %",
        *_ends(every),
        "micrographs, in input order",
        [("rejected", REJECTED, stacked([[1e4 * (value or 0.0) / top] for value in values], 1)[0])],
        ["micrographs", "rejected"],
        [[_between(s), "no coordinates" if v is None else _percent(v)] for s, v in zip(few, table)],
    )


def _rate(every: List[MicrographValues]) -> Optional[Chart]:
    """Return the chart of micrographs screened per time interval; None for fewer than three intervals."""
    times = sorted(one.screened_at for one in every if one.screened_at)
    if not times:
        return None
    width, unit = next(((width, unit) for width, unit in _WIDTHS if times[-1] - times[0] <= width * BARS / 2), (0, ""))
    if not width:  # of months
        days = math.ceil((times[-1] - times[0]) / BARS / _WIDTHS[-1][0])
        width, unit = days * _WIDTHS[-1][0], f"{days} days"
    done = Counter(int(moment // width) for moment in times)
    first, last = min(done), max(done)
    if last - first < 2:
        return None
    counts = [done[index] for index in range(first, last + 1)]
    top = nice(max(counts))
    step = math.ceil(len(counts) / ROWS)
    rows = [
        [_moment(times[0] if not index else (first + index) * width), f"{sum(counts[index : index + step])}"]
        for index in range(0, len(counts), step)
    ]
    still = sum(not count for count in counts)
    return Chart(
        "rate",
        f"Micrographs screened per {unit}",
        f"{len(times):,} micrographs from {_moment(times[0])} to {_moment(times[-1])}. "
        f"Maximum per {unit}: {max(counts)}. Intervals without micrographs: {still}.",
        f"{top:g}",
        f"{top / 2:g}",
        _moment(times[0]),
        _moment(times[-1]),
        "time",
        [("micrographs", PLAIN, stacked([[100 * count / top] for count in counts], 1)[0])],
        ["from", "micrographs screened"],
        rows,
    )


def _goodness(histogram: GoodnessHistogram) -> Chart:
    """Return the histogram of goodness."""
    below, above = [int(n) for n in histogram.below], [int(n) for n in histogram.above]
    top = nice(max(less + more for less, more in zip(below, above)))
    unscored = f"; {histogram.unscored:,} more could not be scored" if histogram.unscored else ""
    cut = histogram.threshold
    words = f"{histogram.scored:,} {plural(histogram.scored, 'coordinate')}{unscored}."
    if cut >= 0:
        words += f" Threshold {cut:.2f} (dashed line): {sum(below):,} below, {sum(above):,} at or above."
    heights = [[100 * less / top, 100 * more / top] for less, more in zip(below, above)]
    rejected, kept = stacked(heights, 2)
    step = len(below) // 10
    tenths = [
        (histogram.edges[i], histogram.edges[i + step], sum(below[i : i + step]), sum(above[i : i + step]))
        for i in range(0, len(below), step)
    ]
    return Chart(
        "goodness",
        "Goodness of the coordinates",
        words,
        f"{top:,g}",
        f"{top / 2:,g}",
        "0",
        "1",
        "goodness (1 = clean)",
        [("below threshold", REJECTED, rejected), ("at or above", KEPT, kept)] if cut >= 0 else [("all", KEPT, kept)],
        ["goodness", "below threshold", "at or above"],
        [[f"{low:.1f} to {high:.1f}", f"{less:,}", f"{more:,}"] for low, high, less, more in tenths],
        100 * cut if 0 <= cut <= 1 else None,
    )


def _inside(one: MicrographValues) -> Dict[str, float]:
    """Return the area fraction of each bad class, without the border; their sum is the bad area."""
    areas = dict(one.areas)
    inside = 1.0 - areas.pop(BORDER, 0.0)
    return {name: share / inside for name, share in areas.items()} if inside > 0 else {}


def _mean_areas(
    mapped: List[MicrographValues], names: List[str], most: int
) -> Tuple[List[Tuple[int, int]], List[List[float]]]:
    spans = _spans(len(mapped), most)
    means = []
    for first, last in spans:
        total: Counter = Counter()  # type: ignore[type-arg]
        for one in mapped[first - 1 : last]:
            total.update(_inside(one))
        means.append([total[name] / (last - first + 1) for name in names])
    return spans, means


def _spans(count: int, most: int) -> List[Tuple[int, int]]:
    """Divide 1 to ``count`` into at most ``most`` intervals of similar length; return first and last of each."""
    number = min(count, most)
    edges = [round(index * count / number) for index in range(number + 1)]
    return [(before + 1, after) for before, after in zip(edges, edges[1:])]


def stacked(columns: Sequence[Sequence[float]], layers: int) -> List[str]:
    """Return one SVG path per layer of stacked bars; heights are from 0 to 100."""
    width = 100 / len(columns)
    bases = [0.0] * len(columns)
    paths = []
    for layer in range(layers):
        parts = []
        for index, column in enumerate(columns):
            height = column[layer]
            if height > 0:
                bases[index] += height
                parts.append(f"M{index * width:.5g} {100 - bases[index]:.5g}h{width:.5g}v{height:.5g}h-{width:.5g}z")
        paths.append("".join(parts))
    return paths


def nice(value: float, most: float = math.inf) -> float:
    """Round up to the next number with one leading digit (1, 2, 4, 6, 8), at most ``most``."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return min(most, next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value * (1 - 1e-9)))


def _between(span: Tuple[int, int]) -> str:
    return f"{span[0]:,}" if span[0] == span[1] else f"{span[0]:,} to {span[1]:,}"


def _named(span: Tuple[int, int]) -> str:
    return ("micrograph " if span[0] == span[1] else "micrographs ") + _between(span)


def _ends(every: List[MicrographValues]) -> Tuple[str, str]:
    """Return the labels at the ends of an axis of micrographs."""
    first, last = every[0].screened_at, every[-1].screened_at
    if first and last and last - first >= _WIDTHS[0][0]:
        return f"1 ({_moment(first)})", f"{len(every):,} ({_moment(last)})"
    return "1", f"{len(every):,}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%d %b %H:%M")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
