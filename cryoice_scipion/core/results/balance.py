# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe the coordinate counts of a run in one line: input = kept + rejected + left out, by reason."""

from __future__ import annotations

from typing import Dict, Iterable, List, Mapping, Sequence, Tuple

from cryoice_scipion.constants import AMBIGUOUS, DISABLED, LOW_SCORE, UNMATCHED, UNREADABLE, WAITING
from cryoice_scipion.core.errors import CoordinatesError, counted, plural
from cryoice_scipion.core.records import PickCounts, Summary

_CHECK_NAMES = "check the micrograph names in the coordinate files"
_NAMES_SHOWN = 5
#: Singular and plural of each reason for leaving coordinates out.
_REASONS: Dict[str, Tuple[str, str]] = {
    UNMATCHED: ("unmatched", "unmatched"),
    AMBIGUOUS: ("with an ambiguous name", "with ambiguous names"),
    UNREADABLE: ("unreadable row", "unreadable rows"),
    DISABLED: ("disabled by the picker", "disabled by the picker"),
    LOW_SCORE: ("below the score cut-off", "below the score cut-off"),
    WAITING: ("waiting to be screened", "waiting to be screened"),
}


def sentence(rows: int, files: int, results: Sequence[Tuple[int, str]], left_out: Mapping[str, int]) -> str:
    """Return the coordinate counts in one line.

    Parameters
    ----------
    rows : int
        Number of input coordinates.
    files : int
        Number of files that contain them; 0: not from files.
    results : sequence of (number, word)
        Coordinates that are not left out, for example ``(900, "kept")``.
    left_out : mapping
        Number of coordinates left out, by reason.
    """
    source = f" in {counted(files, 'file')}" if files else ""
    line = f"{counted(rows, 'coordinate')}{source}: " + ", ".join(f"{number} {word}" for number, word in results)
    total = sum(left_out.values())
    reasons = ", ".join(_reason(reason, number) for reason, number in left_out.items() if number)
    return line + (f", {total} left out ({reasons})" if total else "")


def balance_line(summary: Summary) -> str:
    """Return the coordinate counts of a run in one line, from summary.json."""
    results = [(summary.kept, "kept"), (summary.rejected, "rejected")]
    line = sentence(summary.input_picks, summary.files_read, results, summary.left_out)
    return line if summary.adds_up else f"{line}; these counts do not add up"


def complaints_on(given: PickCounts, left_out: Mapping[str, int], adds_up: bool = True) -> List[str]:
    """Return one line per problem of the input coordinates; none if all of them could be used."""
    lines = []
    if given.not_read:
        number = counted(len(given.not_read), "coordinate file")
        lines.append(f"{number} could not be read: {names_in_short(given.not_read)}; correct or remove them")
    if left_out.get(UNREADABLE):
        number = counted(left_out[UNREADABLE], "row")
        are = plural(left_out[UNREADABLE], "is", "are")
        lines.append(f"{number} of the coordinate files could not be read and {are} left out; the log lists the lines")
    if left_out.get(AMBIGUOUS):
        number = counted(left_out[AMBIGUOUS], "coordinate")
        lines.append(
            f"{number} left out, because the name of the micrograph matches several micrographs: rename the "
            "micrographs, or use full names in the coordinate files"
        )
    if given.files and not given.rows:
        lines.append(f"{counted(given.files, 'coordinate file holds', 'coordinate files hold')} no coordinates")
    if given.rows and left_out.get(UNMATCHED) == given.rows:
        lines.append(
            "no coordinate matches a micrograph of this run: check the micrograph names in the coordinate files"
        )
    if not adds_up:
        lines.append(
            f"the counts of kept, rejected and left-out coordinates do not add up to the {given.rows} of the input: "
            "coordinate files were removed or changed since an earlier session; screen into a new folder"
        )
    return lines


def has_losses(given: PickCounts) -> bool:
    """Return whether a part of the input coordinates could not be read or used."""
    return bool(given.not_read or any(given.left_out.get(reason) for reason in (UNREADABLE, AMBIGUOUS)))


def file_lines(given: PickCounts, shown: int = 20) -> List[str]:
    """Return a line for each file that was not used, with the reason."""
    lines = [f"not read: {error}" for error in list(given.not_read.values())[:shown]]
    if len(given.not_read) > shown:
        lines.append(f"not read: {counted(len(given.not_read) - shown, 'more file')}")
    if given.other:
        files = counted(len(given.other), "file")
        lines.append(f"{files} without coordinates or of another format not used: {names_in_short(given.other)}")
    return lines


def _reason(reason: str, number: int) -> str:
    one, several = _REASONS.get(reason, (reason, reason))
    return counted(number, one, several)


def names_in_short(paths: Iterable[str]) -> str:
    """Return the first names of a list in alphabetical order."""
    names = sorted(paths)
    return ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")


def all_unmatched(number: int, names: str = "") -> CoordinatesError:
    """Return the error when no coordinate matches a micrograph."""
    reason = f"of {counted(number, 'coordinate')}, none matches a micrograph by name"
    return CoordinatesError("--coordinates", reason + _in_files(names), _CHECK_NAMES)


def none_screened(number: int, names: str) -> CoordinatesError:
    """Return the error when no coordinate is on a micrograph that a running screening has finished."""
    reason = f"of {counted(number, 'coordinate')}, none is on a micrograph that is screened so far"
    return CoordinatesError(
        "--coordinates", reason + _in_files(names), f"run the command again later, or {_CHECK_NAMES}"
    )


def _in_files(names: str) -> str:
    return f" (names in the files: {names})" if names else ""
