# SPDX-License-Identifier: GPL-3.0-or-later
"""Format metrics as Markdown tables, for the terminal and for the docs."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

from cryoice_scipion.core.errors import counted
from cryoice_scipion.core.evaluation.map_metrics import ALL, BAD_CLASSES

Row = Dict[str, Any]
NONE = "–"


def number(value: Optional[float], digits: int = 3) -> str:
    """Return a number without its leading zero; a dash for None."""
    if value is None or value != value:
        return NONE
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def percent(value: Optional[float]) -> str:
    """Return a share in per cent."""
    return NONE if value is None or value != value else f"{100 * value:.1f} %"


def with_interval(figure: Optional[Mapping[str, Optional[float]]], share: bool = False) -> str:
    """Return a metric and its interval."""
    if not figure or figure.get("value") is None:
        return NONE
    say = percent if share else number
    low, high = figure["low"], figure["high"]
    return say(figure["value"]) + (f" [{say(low)}, {say(high)}]" if low is not None else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its columns aligned."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def class_table(figures: Row, others: Optional[Mapping[str, Row]] = None) -> str:
    """Return AUC by class for a map, and for other maps of the same micrographs beside it.

    Parameters
    ----------
    figures : dict
        Result of ``metrics_of_maps``.
    others : mapping, optional
        The same for other maps, by the name of the map.
    """
    others = others or {}
    rows: List[List[str]] = []
    for name in (ALL, *BAD_CLASSES):
        row = figures["by_class"].get(name)
        if row is None:
            continue
        line = [name, str(row["micrographs"]), with_interval(row["auc"])]
        line += [number(other["by_class"].get(name, {}).get("auc", {}).get("value")) for other in others.values()]
        rows.append([*line, percent(row.get("found"))])
    return table(["class", "micrographs", "model: AUC", *others, "found"], rows)


def threshold_lines(figures: Row) -> List[str]:
    """Return the metrics of a map at its threshold, as lines of a list."""
    if "iou" not in figures:
        return []
    clean, error = figures["false_positive_area"], figures["bad_area_error"]
    lines = [
        f"- false-positive area: {with_interval(clean, True)} (mean of {counted(clean['micrographs'], 'micrograph')}); "
        f"worst {percent(clean.get('worst'))} ({clean.get('worst_micrograph', NONE)})",
        f"- IoU of bad: {with_interval(figures['iou'])}",
        f"- bad-area error: {with_interval(error, True)}; worst {percent(error.get('worst'))} "
        f"({error.get('worst_micrograph', NONE)})",
    ]
    return lines + ([f"- ECE of P(BAD): {with_interval(figures['ece'])}"] if "ece" in figures else [])


def micrograph_table(shares: Sequence[Row]) -> str:
    """Return one line a micrograph, from ``shares_of``; rows may have "notes"."""
    rows = [
        [
            row["micrograph"],
            percent(row["bad_area"]),
            percent(row["predicted_bad_area"]),
            percent(row["false_positive_area"]),
            percent(row["found"]),
            number(row["auc"]),
            str(row.get("notes", "")),
        ]
        for row in shares
    ]
    return table(
        ["micrograph", "bad area", "predicted bad", "false-positive area", "recall on bad area", "AUC", "notes"], rows
    )


def pick_table(rows: Mapping[str, Row], thresholds: Sequence[float]) -> str:
    """Return the share of coordinates that each threshold removes, by what lies under them.

    Parameters
    ----------
    rows : mapping
        Of ``pick_verdicts.removed``.
    """
    head = ["under the centre", "picks", "micrographs", *(f"removed at {threshold:g}" for threshold in thresholds)]
    body = [
        [
            kind,
            f"{row['picks']:,}",
            str(row["micrographs"]),
            *(with_interval(row["removed"][f"{threshold:g}"], share=True) for threshold in thresholds),
        ]
        for kind, row in rows.items()
    ]
    return table(head, body)


def distance_table(rows: Sequence[Row]) -> str:
    """Return the share of clean coordinates that is removed, by distance from bad area or border."""
    body = [[row["distance"], f"{row['picks']:,}", percent(row["removed"])] for row in rows]
    return table(["clean picks, distance of the centre from bad area or border", "picks", "removed"], body)
