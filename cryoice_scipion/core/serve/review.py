# SPDX-License-Identifier: GPL-3.0-or-later
"""Accept and reject micrographs by hand, count what a threshold keeps, and write the lists of the review."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
from numpy.typing import NDArray

from cryoice_scipion.constants import ACCEPTED
from cryoice_scipion.core.errors import CryoIceError, SettingsError
from cryoice_scipion.core.formats.coordinates import write_star
from cryoice_scipion.core.formats.micrograph_lists import write_micrographs
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.maps.scoring import is_kept, pick_threshold
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.serve.run_view import RunView

FILE, LISTS = "review.json", "review"
REJECTED_BY_HAND = "rejected"
VERDICTS = (ACCEPTED, REJECTED_BY_HAND, "")  # "": as the run decided


class Review:
    """The manual verdicts of a run, kept in ``review.json`` in its folder."""

    def __init__(self, view: RunView) -> None:
        """Read the verdicts of an earlier server."""
        self._view, self._path, self._lock = view, view.folder / FILE, threading.Lock()
        self.verdicts: Dict[str, str] = _read(self._path)
        self._goodness: Dict[float, Dict[int, NDArray[np.float64]]] = {}  # by margin and micrograph
        self._computing = threading.Lock()

    def set(self, stem: str, verdict: str) -> None:
        """Set the verdict on a micrograph, and write the file and the lists of micrographs.

        Raises
        ------
        SettingsError
            When it is no verdict.
        CryoIceError
            When the folder cannot be written.
        """
        if verdict not in VERDICTS:
            raise SettingsError("verdict", f"'{verdict}' is not known")
        with self._lock:
            changed = {**self.verdicts, stem: verdict}
            self.verdicts = {name: value for name, value in changed.items() if value}
            with replacing(self._path) as temporary:
                content = {"version": 1, "micrographs": dict(sorted(self.verdicts.items()))}
                temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            self._write_lists()

    def is_accepted(self, record: MicrographRecord) -> bool:
        """Return whether a micrograph is accepted: by hand, or else by the run."""
        return self.verdicts.get(record.stem, record.status) == ACCEPTED

    def _write_lists(self) -> None:
        records = self._view.records().micrographs
        for name, wanted in ((ACCEPTED, True), (REJECTED_BY_HAND, False)):
            part = {one.path: one.pixel_size for one in records if self.is_accepted(one) is wanted}
            write_micrographs(self._view.folder / LISTS / f"micrographs_{name}.star", part)

    def counts(self, threshold: Optional[float], margin: Optional[float]) -> Dict[str, Any]:
        """Return how many coordinates and micrographs are kept.

        With another margin than the run's, the scores are computed in the background. ``ready`` is the share of the
        micrographs that the counts hold for so far.
        """
        records, maps = self._view.records(), self._view.maps()
        limit = pick_threshold(threshold, maps.model)
        is_open = np.array([self.is_accepted(one) for one in records.micrographs], dtype=bool)
        if margin is None:
            kept = is_kept(records.goodness, limit) & np.repeat(is_open, records.picks)
            number, of, ready = int(kept.sum()), len(kept), 1.0
        else:
            found = self._goodness.setdefault(margin, {})
            todo = [key for key in maps.tasks if key not in found]
            if todo:
                threading.Thread(target=self._compute, args=(margin, todo), daemon=True).start()
            opened = {one.id for one, is_it in zip(records.micrographs, is_open) if is_it}
            done = list(found.items())
            number = sum(int(is_kept(values, limit).sum()) for key, values in done if key in opened)
            of = sum(len(values) for _, values in done)
            ready = 1 - len(todo) / max(1, len(maps.tasks))
        accepted = int(is_open.sum())
        return {"kept": number, "of": of, "ready": ready, "accepted": accepted, "micrographs": len(is_open)}

    def _compute(self, margin: float, todo: List[int]) -> None:
        """Score the coordinates of all micrographs at a margin; at most one margin at a time."""
        if not self._computing.acquire(blocking=False):
            return
        try:
            for key in todo:
                self._goodness[margin][key] = self._view.preview(key, margin).goodness
        except CryoIceError:
            pass  # the page asks again, and shows the error of the micrograph
        finally:
            self._computing.release()

    def save(self, threshold: Optional[float], margin: Optional[float]) -> Dict[str, Any]:
        """Write the coordinates that are kept and rejected at a threshold and a margin, and the lists of micrographs.

        Raises
        ------
        CryoIceError
            When the folder cannot be written, or a map cannot be read.
        """
        given, maps = self._view.given(), self._view.maps()
        with self._lock:
            self._write_lists()
        files = [f"{LISTS}/micrographs_{name}.star" for name in (ACCEPTED, REJECTED_BY_HAND)]
        if given.table is None:
            return {"files": files, "kept": 0, "rejected": 0}
        limit = pick_threshold(threshold, maps.model)
        kept = np.zeros(len(given.table), dtype=bool)
        goodness = np.full(len(kept), np.nan)
        for one in self._view.records().micrographs:
            if one.id in maps.tasks and given.rows.get(one.id):
                rows = given.rows[one.id]
                goodness[rows] = self._view.preview(one.id, margin).goodness
                kept[rows] = is_kept(goodness[rows], limit) & self.is_accepted(one)
        table = given.table.table.drop(columns="cryoiceClass", errors="ignore")  # of another threshold
        table = table.assign(cryoiceGoodness=np.round(goodness, 9))
        for name, chosen in (("kept", kept), ("rejected", ~kept)):
            files.append(f"{LISTS}/coordinates_{name}.star")
            write_star(self._view.folder / files[-1], table[chosen], given.table.optics)
        return {"files": files, "kept": int(kept.sum()), "rejected": int((~kept).sum())}


def _read(path: Path) -> Dict[str, str]:
    """Return the verdicts in a file; none if there is no file.

    Raises
    ------
    CryoIceError
        When the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["micrographs"]
        return {str(stem): str(verdict) for stem, verdict in found.items() if verdict in VERDICTS}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise CryoIceError(path, "is damaged", "correct or remove it") from None
