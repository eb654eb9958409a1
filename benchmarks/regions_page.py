# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the page of results of regions.py."""

from __future__ import annotations

from typing import Any, Dict, Sequence


def page(result: Dict[str, Any]) -> str:
    """Return the page as Markdown."""
    ap, pq = result["ap50"]["mean"], result["pq"]["mean"]
    lines = [
        "# Regions of bad area",
        "",
        f"{result['micrographs']} simulated micrographs of {result['sessions']} sessions. Components are connected "
        "cells of one class at the shipped threshold, ranked by their mean P(BAD). Regions are what `cryoice screen` "
        "lists, ranked by confidence. Intervals of 95 % are from resampled sessions.",
        "",
        f"- Mean AP50 over the classes: {_interval(ap['first'])} with components, {_interval(ap['second'])} with "
        f"regions; difference {_interval(ap['difference'])}.",
        f"- Mean panoptic quality: {_interval(pq['first'])} with components, {_interval(pq['second'])} with regions; "
        f"difference {_interval(pq['difference'])}.",
        f"- Confidence: calibration error (ECE) {result['ece']:.3f} on sessions that it was not fitted to, "
        f"{result['ece_unweighted']:.3f} if all simulated micrographs count the same. "
        f"{100 * result['certain']:.0f} % of the regions have a class; it is right for "
        f"{100 * result['right_certain']:.0f} % of these.",
        "",
        "## By class",
        "",
        "A region is found if its IoU with a true region of the same class is above 0.5.",
        "",
        "| class | true regions | AP50, components | AP50, regions | PQ, components | PQ, regions |",
        "|---|---|---|---|---|---|",
    ]
    for name, number in result["true"].items():
        cells = [_interval(result[part][name][which]) for part in ("ap50", "pq") for which in ("first", "second")]
        lines.append(f"| {name} | {number} | {' | '.join(cells)} |")
    lines += [
        "",
        "## Calibration",
        "",
        "A confidence is the probability that more than half of a region is bad area of its likeliest class.",
        "",
        "| regions | mean confidence | share that is right |",
        "|---|---|---|",
        *[f"| {number} | {mean:.2f} | {share:.2f} |" for number, mean, share in result["calibration"]],
        "",
        "## Method",
        "",
        "The micrographs are the graded ones of [grades](grades.md): one kind of bad area each, often over most of the "
        "field, so that deposits overlap. A true region is what is seen of one frost crystal, one heap or string of "
        "dirt, or one aggregate; of the other classes, a connected area. Regions on the first sessions of each group "
        "decided how far a region extends and what a neck is; these sessions are not counted here. The confidence was "
        "fitted to five sixths of the sessions, and measured on the others, in turn. Real sessions have fewer bad "
        "micrographs than these, so regions count as if 70 % of the micrographs were good, as for [grades](grades.md). "
        "Its form, with weights by class and a curve of eight points, was chosen with all sessions in view.",
        "",
        f"`python benchmarks/regions.py` makes this page and `regions.json` (commit {result['about']['commit']}, "
        f"{result['about']['device']}). It needs the build folder of `grades.py`.",
        "",
    ]
    return "\n".join(lines)


def _interval(values: Sequence[float]) -> str:
    value, low, high = values
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
