# SPDX-License-Identifier: GPL-3.0-or-later
"""All files of a run that are made from its journal, and when each is written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Optional

from cryoice_scipion.core.records import Judgement, Reference
from cryoice_scipion.core.screening.folder import MICROGRAPHS, SUMMARY, writing
from cryoice_scipion.core.screening.tables import MicrographTable, Tally, write_summary

if TYPE_CHECKING:
    from cryoice_scipion.core.data.coordinates import PickTable
    from cryoice_scipion.core.screening.stars import StarFiles

EVERY = 60.0  # s between two versions of the report and of the coordinate files
_SHARE = 0.05  # of the time at most that goes into them, however long they are


class Outputs:
    """Table, summary, coordinate files and report of a run."""

    def __init__(
        self,
        folder: Path,
        judgements: Callable[[], Iterator[Judgement]],
        settings: Mapping[str, Any],
        card: str = "",
        picks: Optional[PickTable] = None,
        unmatched: int = 0,
        batch: int = 1,
    ) -> None:
        """Take up what the journal holds already.

        Parameters
        ----------
        judgements : callable
            Reads them from the journal; called again each time the report is written.
        settings : mapping
            What the report shows.
        card : str
            Text of the model card, for the report.
        picks : PickTable, optional
            Where the columns of the coordinate files come from; None: none are written.
        unmatched : int
            Coordinates whose micrograph is not in the run.
        batch : int
            summary.json is written after this many micrographs.
        """
        self.folder, self._judgements, self._batch, self._unmatched = folder, judgements, max(1, batch), unmatched
        self._settings, self._card = dict(settings), card
        self._picks = picks
        self._due, self._fresh = time.monotonic() + EVERY, 0
        self.reload()

    def reload(self) -> None:
        """Take everything from the journal anew."""
        self._stars = _star_files(self.folder, self._picks)
        self.tally = Tally()
        self._table = MicrographTable(self.folder / MICROGRAPHS)
        for judgement in self._judgements():
            self._count(judgement)
            self._table.note(judgement)
        self._table.refresh()

    def add(
        self, judgement: Judgement, earlier: Optional[Judgement], backlog: int, reference: Optional[Reference]
    ) -> None:
        """Take a judgement that is in the journal; ``earlier`` is the one of the same micrograph that it replaces."""
        if earlier is not None:
            self.tally.add(earlier, -1)
        self._count(judgement)
        self.tally.session += earlier is None
        self._table.add(judgement)
        self._fresh += 1
        if self._fresh >= self._batch:
            self._write_summary(backlog, reference, False)
        if time.monotonic() >= self._due:
            self._write_slow()

    def finish(self, backlog: int, reference: Optional[Reference], finished: bool, everything: bool) -> None:
        """Bring the summary up to date, and with ``everything`` the files whose cost grows with the run as well."""
        self._write_summary(backlog, reference, finished)
        if everything or time.monotonic() >= self._due:
            self._write_slow()

    def _count(self, judgement: Judgement) -> None:
        self.tally.add(judgement)
        if self._stars is not None:
            self._stars.add(judgement)

    def _write_summary(self, backlog: int, reference: Optional[Reference], finished: bool) -> None:
        write_summary(self.folder / SUMMARY, self.tally.summary(backlog, self._unmatched, reference, finished))
        self._fresh = 0

    def _write_slow(self) -> None:
        started = time.monotonic()
        self._table.refresh()
        if self._stars is not None:
            self._stars.write()
        from cryoice_scipion.core.reports.html import write_report  # slow to load: not for who only lists protocols

        with writing(self.folder):
            write_report(self.folder, self._judgements(), self._settings, self._card)
        ended = time.monotonic()
        self._due = ended + max(EVERY, (ended - started) / _SHARE)


def _star_files(folder: Path, picks: Optional[PickTable]) -> Optional[StarFiles]:
    if picks is None:
        return None
    from cryoice_scipion.core.screening.stars import StarFiles  # loads pandas

    return StarFiles(folder, picks)
