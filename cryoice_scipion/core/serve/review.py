# SPDX-License-Identifier: GPL-3.0-or-later
"""Accept and reject micrographs by hand, count what a threshold keeps, and write the lists of the review."""

from __future__ import annotations

import threading
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.constants import ACCEPTED, FAILED
from cryoice_scipion.core.errors import CryoIceError, SettingsError
from cryoice_scipion.core.formats.coordinates import write_star
from cryoice_scipion.core.formats.micrograph_lists import write_micrographs
from cryoice_scipion.core.maps.scoring import is_kept, pick_threshold
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.review_files import (
    REJECTED,
    VERDICTS,
    Stamp,
    change_verdicts,
    read_verdicts,
    stamp_of,
)
from cryoice_scipion.core.screening.stars import with_pixel_size
from cryoice_scipion.core.serve.run_view import RunView

LISTS = "review"  # folder in that of the run
_KNOWN = (ACCEPTED, REJECTED, "")  # "": as the run decided
_MARGINS = 10  # whose scores are kept
#: A micrograph as it was when its coordinates were scored, and their goodness.
_Scored = Tuple[MicrographRecord, NDArray[np.float64]]


class Review:
    """The manual verdicts of a run, kept in ``review.json`` in its folder."""

    def __init__(self, view: RunView) -> None:
        """Read the verdicts of an earlier server.

        Raises
        ------
        CryoIceError
            When the file is damaged.
        """
        self._view, self._lock = view, threading.Lock()
        self._stamp, self._verdicts = self.stamp, read_verdicts(view.folder)
        self._goodness: Dict[float, Dict[int, _Scored]] = {}  # by margin and micrograph
        self._unreadable: Dict[int, CryoIceError] = {}  # by micrograph; since the last error that was raised
        self._wanted = -1.0  # the margin of the last request
        self._computing = threading.Lock()

    @property
    def stamp(self) -> Stamp:
        """Return what changes with the verdicts."""
        return stamp_of(self._view.folder / VERDICTS)

    @property
    def verdicts(self) -> Dict[str, str]:
        """Return the verdicts by stem as they are now; the viewer of Scipion may have changed them."""
        now = self.stamp
        if now != self._stamp:
            self._verdicts, self._stamp = read_verdicts(self._view.folder), now
        return self._verdicts

    def set(self, stems: Sequence[str], verdict: str) -> None:
        """Set the verdict on micrographs, and write the file and the lists of micrographs.

        Raises
        ------
        SettingsError
            When it is no verdict.
        CryoIceError
            When the folder cannot be written.
        """
        if verdict not in _KNOWN:
            raise SettingsError("verdict", f"'{verdict}' is not known")
        with self._lock:
            change_verdicts(self._view.folder, dict.fromkeys(stems, verdict))
            self._write_lists()

    def accepted(self) -> Dict[int, bool]:
        """Return whether each micrograph is accepted, by hand or else by the run; by id, as the run lists them.

        No verdict makes a failed micrograph an accepted one, as in the viewer.
        """
        verdicts = self.verdicts
        return {
            one.id: one.status != FAILED and verdicts.get(one.stem, one.status) == ACCEPTED
            for one in self._view.records().micrographs
        }

    def _write_lists(self) -> None:
        records, accepted = self._view.records().micrographs, self.accepted()
        for name, wanted in ((ACCEPTED, True), (REJECTED, False)):
            part = {one.path: one.pixel_size for one in records if accepted.get(one.id) is wanted}
            write_micrographs(self._view.folder / LISTS / f"micrographs_{name}.star", part)

    def counts(self, threshold: Optional[float], margin: Optional[float]) -> Dict[str, Any]:
        """Return how many coordinates and micrographs are kept at a threshold and a margin; None: those of the run.

        With another margin than the run's, the scores are computed in the background. ``ready`` is the share of the
        micrographs that the counts hold for so far.
        """
        records, maps, accepted = self._view.records(), self._view.maps(), self.accepted()
        limit = pick_threshold(self._view.threshold(threshold), maps.model)
        is_open = np.array([accepted.get(one.id, False) for one in records.micrographs], dtype=bool)
        if margin is None:
            kept = is_kept(records.goodness, limit) & np.repeat(is_open, records.picks) & ~records.failed
            number, of, ready = int(kept.sum()), len(kept), 1.0
        else:
            found, given = self._scored_at(margin), self._view.given()
            mapped = [one for one in records.micrographs if one.id in maps.tasks]
            todo = [one for one in mapped if not _is_current(one, found.get(one.id), len(given.picks.get(one.id, ())))]
            if todo:
                self._refuse_unreadable(todo)
                self._wanted = margin
                threading.Thread(target=self._compute, args=(margin, found, todo), daemon=True).start()
            opened = {one.id for one, is_it in zip(records.micrographs, is_open) if is_it}
            done = [(one.id, found[one.id][1]) for one in mapped if one.id in found]
            number = sum(int(given.kept(key, values, limit).sum()) for key, values in done if key in opened)
            of = sum(len(values) for _, values in done)
            ready = 1 - len(todo) / max(1, len(mapped))
        return {"kept": number, "of": of, "ready": ready, "accepted": int(is_open.sum()), "micrographs": len(is_open)}

    def _scored_at(self, margin: float) -> Dict[int, _Scored]:
        """Return what is known at a margin; of many margins, the one that was asked for first is forgotten."""
        with self._lock:
            if margin not in self._goodness and len(self._goodness) >= _MARGINS:
                del self._goodness[next(iter(self._goodness))]
            return self._goodness.setdefault(margin, {})

    def _compute(self, margin: float, found: Dict[int, _Scored], todo: List[MicrographRecord]) -> None:
        """Score the coordinates of micrographs at a margin; at most one margin at a time."""
        if not self._computing.acquire(blocking=False):
            return
        try:
            for one in todo:
                if self._wanted != margin:  # the slider has moved on
                    return
                try:
                    found[one.id] = one, self._view.preview(one.id, margin).goodness
                except CryoIceError as error:
                    self._unreadable[one.id] = error
        finally:
            self._computing.release()

    def _refuse_unreadable(self, todo: List[MicrographRecord]) -> None:
        """Raise the error of a micrograph when all others are scored. The next call tries it again."""
        errors = [self._unreadable[one.id] for one in todo if one.id in self._unreadable]
        if len(errors) == len(todo):
            self._unreadable.clear()
            raise errors[0]

    def save(self, threshold: Optional[float], margin: Optional[float]) -> Dict[str, Any]:
        """Write the coordinates that are kept and rejected at a threshold and a margin, and the lists of micrographs.

        None: the threshold, or the margin, of the run.

        Raises
        ------
        CryoIceError
            When the folder cannot be written, or a map cannot be read.
        """
        given, maps = self._view.given(), self._view.maps()
        with self._lock:
            self._write_lists()
        files = [f"{LISTS}/micrographs_{name}.star" for name in (ACCEPTED, REJECTED)]
        if given.table is None:
            return {"files": files, "kept": 0, "rejected": 0}
        limit = pick_threshold(self._view.threshold(threshold), maps.model)
        kept = np.zeros(len(given.table), dtype=bool)
        goodness = np.full(len(kept), np.nan)
        accepted = self.accepted()
        for one in self._view.records().micrographs:
            if one.id in maps.tasks and given.rows.get(one.id):
                rows = given.rows[one.id]
                goodness[rows] = self._view.preview(one.id, margin).goodness
                kept[rows] = given.kept(one.id, goodness[rows], limit) & accepted.get(one.id, False)
        table = given.table.table.drop(columns="cryoiceClass", errors="ignore")  # of another threshold
        table = table.assign(cryoiceGoodness=np.round(goodness, 9))
        for name, chosen in (("kept", kept), ("rejected", ~kept)):
            files.append(f"{LISTS}/coordinates_{name}.star")
            optics = given.table.optics
            write_star(self._view.folder / files[-1], with_pixel_size(table[chosen], optics), optics)
        return {"files": files, "kept": int(kept.sum()), "rejected": int((~kept).sum())}


def _is_current(record: MicrographRecord, scored: Optional[_Scored], picks: int) -> bool:
    """Return whether a micrograph has been scored since its last record, and with as many coordinates as it has."""
    return scored is not None and scored[0] is record and len(scored[1]) == picks
