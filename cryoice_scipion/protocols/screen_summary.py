# SPDX-License-Identifier: GPL-3.0-or-later
"""The summary that the screening protocol shows."""

from __future__ import annotations

from typing import List

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
        lines.append(f"Running or stopped: {summary.backlog} micrographs are waiting")
    if summary.failed:
        lines.append(
            f"{summary.failed} of the discarded micrographs failed; their attribute _cryoiceReason gives the reason"
        )
    if summary.unmatched_picks:
        words = "have no micrograph in the input; they are rejected without a goodness"
        lines.append(f"{summary.unmatched_picks} coordinates {words}")
    if summary.mean_bad_area is not None:
        lines.append(f"Mean bad area per micrograph: {100 * summary.mean_bad_area:.1f} %")
    if summary.rejected_by_class:
        classes = sorted(summary.rejected_by_class.items(), key=lambda pair: -pair[1])
        lines.append("Rejected by class: " + ", ".join(f"{name} {number}" for name, number in classes))
    return lines + [f"*Warning:* {warning}" for warning in summary.warnings]
