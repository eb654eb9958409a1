# SPDX-License-Identifier: GPL-3.0-or-later
"""The summaries that the screening and the filter show."""

from __future__ import annotations

from typing import List

from cryoice_scipion.constants import AMBIGUOUS, UNMATCHED, WAITING
from cryoice_scipion.core.errors import counted, plural
from cryoice_scipion.core.grades.grading import counts_in_words
from cryoice_scipion.core.records import Summary
from cryoice_scipion.core.results.balance import balance_line


def summary_lines(summary: Summary, threshold: str) -> List[str]:
    """Return the summary of a run, line by line.

    Parameters
    ----------
    threshold : str
        The threshold and its origin, in words.
    """
    lines = [
        f"{balance_line(summary)}; {threshold}",
        f"Micrographs: {summary.accepted} accepted, {summary.discarded + summary.failed} discarded",
    ]
    if not summary.finished:
        waiting = counted(summary.backlog, "micrograph is", "micrographs are")
        lines.append(f"Running or stopped: {waiting} waiting")
        if summary.awaits_reference:
            lines.append("Results begin when the *Reference micrographs* of the form have arrived, or the input closes")
    if summary.failed:
        its = plural(summary.failed, "its", "their")
        lines.append(
            f"{summary.failed} of the discarded micrographs failed; {its} attribute _cryoiceReason gives the reason"
        )
    if summary.unmatched_picks:
        lines.append(without_micrograph(summary.unmatched_picks))
    if summary.mean_bad_area is not None:
        lines.append(f"Mean bad area per micrograph: {100 * summary.mean_bad_area:.1f} %")
    if summary.grades:
        lines.append(f"Grades: {counts_in_words(summary.grades)}")
    return lines + _by_class(summary) + _warnings(summary)


def without_micrograph(number: int) -> str:
    """Return the line about coordinates whose micrograph is not in the input."""
    words = (
        "coordinate has no micrograph in the input; it is",
        "coordinates have no micrograph in the input; they are",
    )
    return f"{counted(number, *words)} rejected without a goodness"


def filter_lines(summary: Summary, threshold: str) -> List[str]:
    """Return the summary of a filter, line by line; see :func:`summary_lines`."""
    lines = [f"{balance_line(summary)}; {threshold}"]
    waiting = summary.left_out.get(WAITING, 0)
    if waiting:
        number = counted(waiting, "coordinate is", "coordinates are")
        words = "pending, because their micrographs are not screened yet; press Continue to filter again"
        lines.append(f"{number} {words}")
    without = sum(summary.left_out.get(reason, 0) for reason in (UNMATCHED, AMBIGUOUS))
    if without:
        number = counted(without, "coordinate is", "coordinates are")
        lines.append(f"{number} pending, because the screening has no micrograph of their name")
    if summary.failed:
        number, its = counted(summary.failed, "micrograph"), plural(summary.failed, "its", "their")
        lines.append(f"All coordinates on {number} are rejected, because {its} screening failed")
    if summary.discarded:
        number, its = counted(summary.discarded, "micrograph"), plural(summary.discarded, "its", "their")
        lines.append(f"All coordinates on {number} are rejected, because of {its} bad area or grade")
    return lines + _by_class(summary) + _warnings(summary)


def _by_class(summary: Summary) -> List[str]:
    classes = sorted(summary.rejected_by_class.items(), key=lambda pair: -pair[1])
    return ["Rejected by class: " + ", ".join(f"{name} {number}" for name, number in classes)] if classes else []


def _warnings(summary: Summary) -> List[str]:
    return [f"*Warning:* {warning}" for warning in summary.warnings]
