# SPDX-License-Identifier: GPL-3.0-or-later
"""Write micrographs.csv, which grows by appending, and summary.json, which is replaced, for monitoring programs."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from cryoice_scipion.constants import (
    ACCEPTED,
    ALL_GRADES,
    AMBIGUOUS,
    CLASSES,
    COORDINATES_SCALED,
    DISCARDED,
    FAILED,
    FILE_CHANGED,
    GOOD_GRADES,
    OUTSIDE,
    UNMATCHED,
    UNSURE,
    VERSION,
    WAITING,
)
from cryoice_scipion.core.errors import counted, plural
from cryoice_scipion.core.grades.grading import counts_in_words
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.maps.bad_area import MOSTLY_BAD_FLAG
from cryoice_scipion.core.records import PickCounts, Reference, Summary, to_json
from cryoice_scipion.core.results.balance import complaints_on
from cryoice_scipion.core.results.micrograph_fields import columns, row_of
from cryoice_scipion.core.results.outliers import UNUSUAL_FLAG
from cryoice_scipion.core.results.run_folder import writing
from cryoice_scipion.core.results.run_sums import RunSums
from cryoice_scipion.core.results.throughput import Throughput
from cryoice_scipion.core.screening.csv_table import CsvTable

SESSION_UNUSUAL = (
    "unusual session: either most micrographs are bad over most of their area, or the model is not suited to them; "
    "check the thumbnails, the pixel size and the contrast"
)
UNUSUAL_SHOWN = 10  # micrographs, in summary.json and report
_BAD_REFERENCE, _BAD_AREA = 0.25, 0.5  # share of the micrographs that the outlier map is fitted to; of their area
_MANY_OUTSIDE = 0.05  # share of the coordinates
REASONS_SHOWN = 3  # in the message of a run in which all micrographs fail


class MicrographTable(CsvTable):
    """micrographs.csv: one row a micrograph."""

    def __init__(self, path: Path) -> None:
        """Take the path."""
        super().__init__(path, columns(), lambda record: [row_of(record)])


def summarise(
    sums: RunSums,
    throughput: Throughput,
    backlog: int,
    given: Optional[PickCounts],
    reference: Optional[Reference],
    finished: bool,
) -> Summary:
    """Return the state of a run, without :func:`failure_of` among its warnings; the cost does not grow with the run.

    Parameters
    ----------
    given : PickCounts, optional
        Counts of the input coordinates; None: the input has only the coordinates of the micrographs.
    """
    rejected = sums.picks - sums.kept
    given = PickCounts(sums.picks) if given is None else given
    left_out, adds_up = balance_of(sums, given, finished)
    areas = sums.areas
    return Summary(
        version=VERSION,
        started=throughput.started,
        updated=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        finished=finished,
        micrographs=len(sums.micrographs),
        accepted=sums.status[ACCEPTED],
        discarded=sums.status[DISCARDED],
        failed=sums.status[FAILED],
        backlog=backlog,
        mostly_bad=sums.flags[MOSTLY_BAD_FLAG],
        picks=sums.picks,
        kept=sums.kept,
        rejected=rejected,
        rejected_share=round(rejected / sums.picks, 6) if sums.picks else None,
        unmatched_picks=left_out.get(UNMATCHED, 0) + left_out.get(AMBIGUOUS, 0),
        input_picks=given.rows,
        left_out=left_out,
        files_read=given.files,
        files_not_read=sorted(given.not_read),
        files_of_other_format=sorted(given.other),
        adds_up=adds_up,
        mean_bad_area=_rounded(sums.bad_area, 6),
        areas={name: round(areas[name], 6) for name in CLASSES if areas.get(name)},
        rejected_by_class=dict(sorted(sums.rejected_by_class.items())),
        seconds_per_micrograph=_rounded(sums.seconds, 3),
        micrographs_per_hour=throughput.per_hour,
        recent_per_hour=throughput.recent_per_hour,
        reference=_reference_shown(reference) if reference else None,
        session_logit=_rounded(sums.session_logit, 3),
        session_unusual=sums.is_unusual,
        particle_diameter=_rounded(sums.particle_diameter, 2),
        diameter_from=", ".join(sorted(sums.diameter_origins)),
        unusual=sums.flags[UNUSUAL_FLAG],
        grades={name: sums.grades[name] for name in ALL_GRADES if sums.grades[name]},
        regions=sums.regions.counts,
        most_unusual=[
            {"micrograph": one.stem, "outlier": one.outlier, "p_value": one.outlier_p}
            for one in sums.most_unusual(UNUSUAL_SHOWN)
        ],
        warnings=warnings_of(sums, reference) + complaints_on(given, left_out, adds_up or not finished),
    )


def balance_of(sums: RunSums, given: PickCounts, finished: bool) -> Tuple[Dict[str, int], bool]:
    """Return the number of coordinates left out, by reason, and whether every input coordinate is accounted for.

    Input coordinates are counted in the files, kept and rejected ones in the journal. In an unfinished run, the
    difference are coordinates that wait to be scored.
    """
    left_out = dict(sorted(given.left_out.items()))
    waiting = given.matched - sums.picks
    if waiting > 0 and not finished:
        left_out[WAITING] = waiting
    return left_out, waiting == 0 or (waiting > 0 and not finished)


def warnings_of(sums: RunSums, reference: Optional[Reference]) -> List[str]:
    """Return warnings that the user should read before using the results, except :func:`failure_of`."""
    found = [line for line in [_pixel_size_warning(sums)] if line] + _coordinate_warnings(sums)
    mostly_bad = sums.flags[MOSTLY_BAD_FLAG]
    if 2 * mostly_bad > sums.mapped:
        are_bad = plural(mostly_bad, "is bad over almost all of its area", "are bad over almost all of their area")
        found.append(
            f"{mostly_bad} of {counted(sums.mapped, 'micrograph')} {are_bad}: check the thumbnails; "
            "either the data are bad, or the model, the contrast or the pixel size is wrong for them"
        )
    if sums.flags[FILE_CHANGED]:
        one = "micrograph changed after it was screened, and was"
        several = "micrographs changed after they were screened, and were"
        found.append(f"{counted(sums.flags[FILE_CHANGED], one, several)} screened again: flag file_changed")
    if sums.is_unusual:
        found.append(SESSION_UNUSUAL)
    return found + _bad_grades_warning(sums) + _bad_reference_warning(sums, reference)


def _bad_grades_warning(sums: RunSums) -> List[str]:
    """Return a line if more than half of the micrographs have a bad grade."""
    bad = {name: number for name, number in sums.grades.items() if name not in (*GOOD_GRADES, UNSURE)}
    number, graded = sum(bad.values()), sum(sums.grades.values())
    if 2 * number <= graded:
        return []
    of = f"{number} of {counted(graded, 'micrograph')} {plural(number, 'has', 'have')}"
    return [f"{of} a bad grade ({counts_in_words(bad)}): look at some of them"]


def _bad_reference_warning(sums: RunSums, reference: Optional[Reference]) -> List[str]:
    """Return a line if the micrographs that define what is usual look bad to the model."""
    fitted = reference.one_class.fitted if reference and reference.one_class else []
    bad = [key for key in fitted if key in sums.micrographs and (sums.micrographs[key].bad_area or 0.0) > _BAD_AREA]
    if len(bad) <= _BAD_REFERENCE * len(fitted):
        return []
    return [
        f"{len(bad)} of the {len(fitted)} reference micrographs that 'outlier' compares with are bad over more than "
        "half of their area: a bad micrograph may have a low 'outlier', and a clean one a high one"
    ]


def _reference_shown(reference: Reference) -> Dict[str, Any]:
    """Return the reference without the matrices of the outlier map."""
    shown = to_json(reference)
    del shown["one_class"]
    return shown


def failure_of(sums: RunSums) -> str:
    """Return one line with the first reasons if all micrographs failed; an empty text otherwise."""
    if sums.mapped or not sums.status[FAILED]:
        return ""
    failed = sums.failed
    reasons = [one.reason for one in failed[:REASONS_SHOWN]]
    more = len(failed) - len(reasons)
    text = " / ".join([*reasons, f"and {more} more"] if more else reasons)
    return f"no micrograph could be screened ({len(failed)} failed): {text}"


def _pixel_size_warning(sums: RunSums) -> str:
    """Return one line if headers contradict the given pixel size, with the values of the first micrograph."""
    if not sums.pixel_sizes:
        return ""
    first = min(sums.pixel_sizes)
    given, header = sums.pixel_sizes[first]
    of = f"{len(sums.pixel_sizes)} of {counted(sums.mapped, 'micrograph')}"
    return (
        f"the given pixel size differs from the header in {of} "
        f"({sums.micrographs[first].stem}: {given:g} Å/px given, {header:g} Å/px in the header); "
        "the given one is used; check which one is correct"
    )


def _coordinate_warnings(sums: RunSums) -> List[str]:
    """Return a line if many coordinates are outside, and a line for each other pixel size of coordinates."""
    found = []
    outside = sums.rejected_by_class[OUTSIDE]
    if outside > _MANY_OUTSIDE * sums.picks:
        lie = plural(outside, "lies", "lie")
        found.append(
            f"{outside} of {counted(sums.picks, 'coordinate')} {lie} outside the frame: check the pixel size of the "
            "coordinates (--coordinates-pixel-size), and whether x and y are swapped"
        )
    for flag, number in sorted(sums.noted_sizes.items()):
        name, _, size = flag.partition("=")
        micrographs = counted(number, "micrograph")
        if name == COORDINATES_SCALED:
            found.append(
                f"the coordinates of {micrographs} are at {size} Å/px, not at that of the micrographs: "
                "they were scaled; --coordinates-pixel-size corrects this"
            )
        else:
            found.append(
                f"the coordinate files of {micrographs} say {size} Å/px, which is not the given pixel size; the "
                "given one is used: check which one is right"
            )
    return found


def _rounded(value: Optional[float], digits: int) -> Optional[float]:
    return None if value is None else round(value, digits)


def write_summary(path: Path, summary: Summary) -> None:
    """Replace summary.json, atomically."""
    with writing(path.parent), replacing(path) as temporary:
        temporary.write_text(json.dumps(to_json(summary), indent=2) + "\n", encoding="utf-8")
