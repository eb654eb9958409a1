# SPDX-License-Identifier: GPL-3.0-or-later
"""The closing balance of a run in words: coordinates given = kept + rejected + left out, by reason."""

from __future__ import annotations

from typing import Dict, Iterable, List, Mapping, Sequence, Tuple

from cryoice_scipion.constants import AMBIGUOUS, DISABLED, UNMATCHED, UNREADABLE, WAITING
from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.records import PickCounts, Summary

_NAMES_SHOWN = 5
#: One and several coordinates that are left out for a reason.
_REASONS: Dict[str, Tuple[str, str]] = {
    UNMATCHED: ("unmatched", "unmatched"),
    AMBIGUOUS: ("with an ambiguous name", "with ambiguous names"),
    UNREADABLE: ("unreadable row", "unreadable rows"),
    DISABLED: ("disabled by the picker", "disabled by the picker"),
    WAITING: ("waiting to be screened", "waiting to be screened"),
}


def sentence(rows: int, files: int, results: Sequence[Tuple[int, str]], left_out: Mapping[str, int]) -> str:
    """Return the balance in one line.

    Parameters
    ----------
    rows : int
        Coordinates of the input.
    files : int
        Files that hold them; 0: none.
    results : sequence of (number, word)
        The coordinates that are not left out, e.g. ``(900, "kept")``.
    left_out : mapping
        The other coordinates, by reason.
    """
    source = f" in {_several(files, 'file')}" if files else ""
    line = f"{_several(rows, 'coordinate')}{source}: " + ", ".join(f"{number} {word}" for number, word in results)
    total = sum(left_out.values())
    reasons = ", ".join(_reason(reason, number) for reason, number in left_out.items() if number)
    return line + (f", {total} left out ({reasons})" if total else "")


def balance_line(summary: Summary) -> str:
    """Return the balance of a run in one line, as summary.json has it."""
    results = [(summary.kept, "kept"), (summary.rejected, "rejected")]
    line = sentence(summary.input_picks, summary.files_read, results, summary.left_out)
    return line if summary.adds_up else f"{line}; this does not add up"


def complaints_on(given: PickCounts, left_out: Mapping[str, int], adds_up: bool = True) -> List[str]:
    """Return what a user should look at in the input, one line each; nothing if all of it was read and understood."""
    lines = []
    if given.not_read:
        number = _several(len(given.not_read), "coordinate file")
        lines.append(f"{number} could not be read: {names_in_short(given.not_read)}; correct or remove them")
    if left_out.get(UNREADABLE):
        number = _several(left_out[UNREADABLE], "row")
        lines.append(f"{number} of the coordinate files could not be read and are left out: the log names the lines")
    if left_out.get(AMBIGUOUS):
        number = _several(left_out[AMBIGUOUS], "coordinate")
        lines.append(
            f"{number} left out, since the name of the micrograph fits several micrographs: rename the micrographs, or "
            "give the coordinate files the full names"
        )
    if given.rows and left_out.get(UNMATCHED) == given.rows:
        lines.append("no coordinate belongs to a micrograph of this run: the names of micrographs and picks differ")
    if not adds_up:
        lines.append(
            f"{_several(given.rows, 'coordinate')} of the input and those kept, rejected and left out do not add up: "
            "coordinate files have gone or have changed since an earlier session; screen into a new folder"
        )
    return lines


def has_losses(given: PickCounts) -> bool:
    """Return whether some of the input could not be read or understood, so that somebody should look at it."""
    return bool(given.not_read or any(given.left_out.get(reason) for reason in (UNREADABLE, AMBIGUOUS)))


def file_lines(given: PickCounts, shown: int = 20) -> List[str]:
    """Return a line for each file that is not in the balance, with the reason."""
    lines = [f"not read: {error}" for error in list(given.not_read.values())[:shown]]
    if len(given.not_read) > shown:
        lines.append(f"not read: and {len(given.not_read) - shown} more files")
    if given.other:
        files = _several(len(given.other), "file")
        lines.append(f"{files} of another format or content not used: {names_in_short(given.other)}")
    return lines


def _reason(reason: str, number: int) -> str:
    one, several = _REASONS.get(reason, (reason, reason))
    return f"{number} {one if number == 1 else several}"


def _several(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def names_in_short(paths: Iterable[str]) -> str:
    """Return the first names of a list, by the alphabet."""
    names = sorted(paths)
    return ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")


def all_unmatched(number: int, names: str = "") -> CoordinatesError:
    """Return the error for coordinates that all belong to micrographs which are not there."""
    reason = f"none of the {number} coordinates belongs to one of the micrographs"
    remedy = "the names of the micrographs and those in the coordinate files must match"
    return CoordinatesError("--coordinates", reason + (f"; they name {names}" if names else ""), remedy)
