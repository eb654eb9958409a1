# SPDX-License-Identifier: GPL-3.0-or-later
"""The section of the report about regions of bad area: how many a micrograph has, and a chart of their diameters."""

from __future__ import annotations

from typing import Any, Dict, List

import numpy as np

from cryoice_scipion.constants import UNCERTAIN
from cryoice_scipion.core.errors import plural
from cryoice_scipion.core.images.palette import class_colour
from cryoice_scipion.core.reports.charts import Chart, nice, stacked
from cryoice_scipion.core.results.run_sums import RunSums

BARS = 24  # of the chart; their widths have equal ratios


def regions_of(sums: RunSums) -> Dict[str, Any]:
    """Return table rows and chart of the regions; nothing if there are none."""
    counts = sums.regions.counts
    if not counts or not sums.mapped:
        return {}
    likeliest = sums.regions.likeliest
    diameters = {name: sums.regions.diameters(name) for name in counts}
    rows = [
        {
            "name": name,
            "colour": class_colour(name),
            "count": f"{number:,}",
            "each": f"{number / sums.mapped:.1f}",
            "likely": f"{likeliest[name] / sums.mapped:.1f}" if name != UNCERTAIN else "",
            "median": f"{np.median(diameters[name]):,.0f}\u00a0Å",
            "largest": f"{diameters[name][-1]:,.0f}\u00a0Å",
        }
        for name, number in counts.items()
    ]
    return {"rows": rows, "chart": _chart(diameters)}


def _chart(diameters: Dict[str, Any]) -> Chart:
    everything = np.concatenate(list(diameters.values()))
    low, high = max(10.0, float(everything.min())), max(20.0, float(everything.max()) * 1.001)
    edges = np.geomspace(low * 0.999, max(high, 1.2 * low), BARS + 1)
    table = {name: np.histogram(np.maximum(values, low), edges)[0] for name, values in diameters.items()}
    totals = np.sum(list(table.values()), axis=0)
    top = nice(float(totals.max()))
    heights = [[100 * float(column[index]) / top for column in table.values()] for index in range(BARS)]
    middle = float(np.median(everything))
    rows: List[List[str]] = [
        [f"{edges[index]:,.0f} to {edges[index + 1]:,.0f} Å", *(f"{column[index]:,}" for column in table.values())]
        for index in range(BARS)
        if totals[index]
    ]
    return Chart(
        "regions",
        "Diameters of the regions",
        f"{len(everything):,} {plural(len(everything), 'region')}. Median diameter {middle:,.0f} Å.",
        f"{top:g}",
        f"{top / 2:g}",
        f"{edges[0]:,.0f}\u00a0Å",
        f"{edges[-1]:,.0f}\u00a0Å",
        "diameter of a disc of the same area (logarithmic)",
        [(name, class_colour(name), path) for name, path in zip(table, stacked(heights, len(table)))],
        ["diameter", *table],
        rows,
    )
