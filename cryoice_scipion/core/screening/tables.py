# SPDX-License-Identifier: GPL-3.0-or-later
"""What a facility's monitor reads of a run: micrographs.csv, appended, and summary.json, replaced."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional
from typing import Counter as CounterType

from cryoice_scipion.constants import ACCEPTED, CLASSES, DISCARDED, FAILED, VERSION
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.records import RECORDS_VERSION, Judgement, Reference, Summary, to_json
from cryoice_scipion.core.screening.folder import writing
from cryoice_scipion.core.screening.judging import MOSTLY_BAD_FLAG
from cryoice_scipion.core.screening.reference import LARGE_SHIFT

Row = Dict[str, Any]
COLUMNS = [
    "records_version", "id", "stem", "path", "status", "reason", "bad_area", *(f"area_{name}" for name in CLASSES),
    "picks", "kept", "rejected", "seconds", "pixel_size", "flags",
]  # fmt: skip


def row_of(judgement: Judgement) -> Row:
    """Return a micrograph's row of micrographs.csv."""
    failed = judgement.status == FAILED
    areas = {f"area_{name}": "" if failed else f"{judgement.areas.get(name, 0.0):.5f}" for name in CLASSES}
    return {
        "records_version": RECORDS_VERSION,
        "id": judgement.id,
        "stem": judgement.stem,
        "path": judgement.path,
        "status": judgement.status,
        "reason": judgement.reason,
        "bad_area": "" if judgement.bad_area is None else f"{judgement.bad_area:.5f}",
        **areas,
        "picks": len(judgement.scores),
        "kept": judgement.kept,
        "rejected": len(judgement.scores) - judgement.kept,
        "seconds": f"{judgement.seconds:.3f}",
        "pixel_size": "" if judgement.pixel_size is None else f"{judgement.pixel_size:g}",
        "flags": ";".join(judgement.flags),
    }


class MicrographTable:
    """micrographs.csv: one row a micrograph, in the order in which they were judged."""

    def __init__(self, path: Path) -> None:
        """Take the path; the first :meth:`refresh` writes the file, and so mends what a crash tore."""
        self.path = path
        self._rows: Dict[int, str] = {}
        self._stale = True

    def note(self, judgement: Judgement) -> None:
        """Take a row that the next refresh writes."""
        self._rows[judgement.id] = _text(row_of(judgement))
        self._stale = True

    def add(self, judgement: Judgement) -> None:
        """Append a row in one write, so that a reader never sees half of it; a changed one waits for a refresh."""
        self._stale = self._stale or judgement.id in self._rows
        self._rows[judgement.id] = text = _text(row_of(judgement))
        if self._stale:
            return
        with writing(self.path.parent):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(descriptor, text.encode("utf-8"))
            finally:
                os.close(descriptor)

    def refresh(self) -> None:
        """Write the whole table anew, atomically, if a row changed."""
        if not self._stale:
            return
        with writing(self.path.parent), replacing(self.path) as temporary:
            with open(temporary, "w", encoding="utf-8") as stream:
                stream.write(_text(dict(zip(COLUMNS, COLUMNS))))
                stream.writelines(self._rows.values())
        self._stale = False


def _text(row: Row) -> str:
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, lineterminator="\n").writerow(row)
    return text.getvalue()


class Tally:
    """Running sums over the micrographs that are judged; what :class:`Summary` needs, at constant cost."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.count: CounterType[str] = Counter()
        self.sums: CounterType[str] = Counter()
        self.areas: CounterType[str] = Counter()
        self.rejected_by_class: CounterType[str] = Counter()
        self.started, self.session = time.monotonic(), 0

    def add(self, judgement: Judgement, sign: int = 1) -> None:
        """Add a micrograph, or with ``sign`` -1 take it out again because it is judged anew."""
        count, rejected = self.count, Counter(score.cls for score in judgement.scores if not score.kept)
        count["micrographs"] += sign
        count[judgement.status] += sign
        count["mostly_bad"] += sign * (MOSTLY_BAD_FLAG in judgement.flags)
        count["picks"] += sign * len(judgement.scores)
        count["kept"] += sign * judgement.kept
        self.sums["seconds"] += sign * judgement.seconds  # type: ignore[assignment]
        self.sums["bad_area"] += sign * (judgement.bad_area or 0.0)  # type: ignore[assignment]
        for name, share in judgement.areas.items():
            self.areas[name] += sign * share  # type: ignore[assignment]
        for name, number in rejected.items():
            self.rejected_by_class[name] += sign * number

    def summary(self, backlog: int, unmatched: int, reference: Optional[Reference], finished: bool) -> Summary:
        """Return the state of the run."""
        count, mapped = self.count, self.count[ACCEPTED] + self.count[DISCARDED]
        picks, rejected = count["picks"], count["picks"] - count["kept"]
        hours = (time.monotonic() - self.started) / 3600
        return Summary(
            version=VERSION,
            updated=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            finished=finished,
            micrographs=count["micrographs"],
            accepted=count[ACCEPTED],
            discarded=count[DISCARDED],
            failed=count[FAILED],
            backlog=backlog,
            mostly_bad=count["mostly_bad"],
            picks=picks,
            kept=count["kept"],
            rejected=rejected,
            rejected_share=round(rejected / picks, 6) if picks else None,
            unmatched_picks=unmatched,
            mean_bad_area=round(self.sums["bad_area"] / mapped, 6) if mapped else None,
            areas={name: round(self.areas[name] / mapped, 6) for name in CLASSES if mapped and self.areas[name] > 1e-9},
            rejected_by_class={name: number for name, number in sorted(self.rejected_by_class.items()) if number},
            seconds_per_micrograph=round(self.sums["seconds"] / mapped, 3) if mapped else None,
            micrographs_per_hour=round(self.session / hours, 1) if self.session and hours else None,
            reference=to_json(reference) if reference else None,
            warnings=self.warnings(reference),
        )

    def warnings(self, reference: Optional[Reference]) -> List[str]:
        """Return what somebody should look at before going on with the results."""
        found = []
        mapped = self.count[ACCEPTED] + self.count[DISCARDED]
        if 2 * self.count["mostly_bad"] > mapped:
            found.append(
                f"{self.count['mostly_bad']} of {mapped} micrographs are bad almost all over: look at the thumbnails; "
                "either the data are bad, or the model, its contrast or the pixel size do not fit them"
            )
        if reference is not None and abs(reference.shift) > LARGE_SHIFT:
            looks = "worse" if reference.shift > 0 else "cleaner"
            found.append(
                f"these micrographs look {looks} to the model than those it was made with (its log-odds were shifted "
                f"by {-reference.shift:+.1f}): check the pixel size, and look at the thumbnails"
            )
        return found


def write_summary(path: Path, summary: Summary) -> None:
    """Replace summary.json, atomically."""
    with writing(path.parent), replacing(path) as temporary:
        temporary.write_text(json.dumps(to_json(summary), indent=2) + "\n", encoding="utf-8")
