# SPDX-License-Identifier: GPL-3.0-or-later
"""Window of a screening: table of micrographs, a large picture, and the threshold. It also works during a run."""

from __future__ import annotations

import tkinter as tk
from typing import Any, Dict, Optional, Tuple

import numpy as np
from pyworkflow.gui import Window

from cryoice_scipion.core.errors import counted
from cryoice_scipion.core.maps.scoring import is_kept
from cryoice_scipion.core.records import Summary
from cryoice_scipion.core.results.picture_layers import Box, Layers
from cryoice_scipion.core.results.run_reader import Records, RunReader, read_summary
from cryoice_scipion.viewers.background import Background
from cryoice_scipion.viewers.labelling import Labelling
from cryoice_scipion.viewers.micrograph_heading import MicrographHeading
from cryoice_scipion.viewers.micrograph_picture import MicrographPicture
from cryoice_scipion.viewers.micrograph_table import ALL, MicrographTable
from cryoice_scipion.viewers.pick_marks import Marks
from cryoice_scipion.viewers.picture_reader import PictureReader
from cryoice_scipion.viewers.save_panel import SavePanel
from cryoice_scipion.viewers.screened_run import ScreenedRun
from cryoice_scipion.viewers.session_map_window import SessionMapWindow
from cryoice_scipion.viewers.status_bar import StatusBar
from cryoice_scipion.viewers.threshold_panel import ThresholdPanel
from cryoice_scipion.viewers.timeline_panel import TimelinePanel
from cryoice_scipion.viewers.widgets import Panes
from cryoice_scipion.viewers.windows import open_window

LOOK = 3000  # ms between two checks for new records
LEAST = 60  # px, height below which the timeline is hidden
SETTLE = 250  # ms after the last change of the threshold until table and plot are updated


class ScreenWindow(Window):
    """Shows the table of micrographs, the selected micrograph, the threshold and the timeline of the run."""

    def __init__(
        self,
        run: ScreenedRun,
        parent: Any = None,
        show_only: str = ALL,
        overlays: Tuple[str, ...] = (),
        threshold: Optional[float] = None,
    ) -> None:
        """Create the window of a run.

        Parameters
        ----------
        show_only : str
            Initial filter of the table; see ``micrograph_table.FILTERS``.
        overlays : tuple of str
            Initial overlays of the picture; empty: the default ones.
        threshold : float, optional
            Initial threshold; None: that of the run.
        """
        super().__init__(f"{run.title}: screening", parent, minsize=(900, 560))
        self.run = run
        self.records: Optional[Records] = None  # with the user's decisions
        self._read: Optional[Records] = None  # as the run recorded them
        self._scores: Any = None  # of the picker, for each coordinate
        self._reader, self._indices = RunReader(run.folder), {}  # type: RunReader, Dict[int, int]
        self._settling: Optional[str] = None
        self._wanted: Optional[int] = None  # the id of the micrograph that is shown, or being read
        self._goal: Optional[Tuple[int, Optional[Box]]] = None  # a micrograph to show, and a box of it to magnify
        self._minimum: Optional[float] = None  # lowest score of the picker in ``records``
        self._verdicts: Dict[str, bool] = {}  # decisions in ``records``
        self.labelling = Labelling(run, self.say, self._labelled)
        self._make()
        self.table.filter.set(show_only)
        for name, switch in self.picture.on.items() if overlays else ():
            switch.set(name in overlays)
        if threshold is not None:
            self.threshold.set(threshold)
        self.say(self.labelling.problem)
        self.background = Background(self.root, self.say)
        self._pictures = PictureReader(run, self.background)
        self._look()

    def desiredDimensions(self) -> Tuple[int, int]:
        """Return the size of the window: slightly smaller than the screen."""
        return min(1720, self.root.winfo_screenwidth() - 10), min(1080, self.root.winfo_screenheight() - 60)

    # ---- widgets --------------------------------------------------------------------------------------------

    def _make(self) -> None:
        self.root.config(bg="white", padx=10, pady=8)
        self.status_bar = StatusBar(self.root, self.run.folder, self.say, lambda: open_window(SessionMapWindow(self)))
        self.status_bar.grid(row=0, column=0, sticky="ew")
        self.panes = Panes(self.root)
        self.panes.grid(row=1, column=0, sticky="news", pady=6)
        self.table = MicrographTable(self.panes, self._choose)
        middle = tk.Frame(self.panes, bg="white")
        self.heading = MicrographHeading(middle)
        self.heading.grid(row=0, column=0, sticky="ew")
        self.labelling.make_tools(middle).grid(row=1, column=0, sticky="ew", pady=(0, 4))
        self.picture = MicrographPicture(middle, lambda *click: self.labelling.click(*click, self.picture))
        self.picture.grid(row=2, column=0, sticky="news")
        middle.rowconfigure(2, weight=1)
        middle.columnconfigure(0, weight=1)
        for pane, share in ((self.table, 0.28), (middle, 0.47), (self._make_side(), 0.25)):
            self.panes.show(pane, share, 240)
        self.root.columnconfigure(0, weight=1)
        self.root.rowconfigure(0, weight=0)
        self.root.rowconfigure(1, weight=1)
        for part in (self.table, self.picture, self.labelling):
            part.bind_keys(self.root)
        self.initial_focus = self.table.tree

    def _make_side(self) -> tk.Frame:
        side = tk.Frame(self.panes, bg="white")
        self.threshold = ThresholdPanel(side, self.run.threshold, self._threshold_moved, self._selected)
        self.threshold.grid(row=0, column=0, sticky="news")
        self.saving = SavePanel(side, self)
        self.saving.grid(row=1, column=0, sticky="ew", pady=(4, 0))
        self.timeline = TimelinePanel(side, self.go_to)
        self.timeline.grid(row=2, column=0, sticky="news")
        side.columnconfigure(0, weight=1)
        side.rowconfigure(0, weight=3)
        side.rowconfigure(2, weight=2)
        side.bind("<Configure>", lambda event: self._fit_side(event.height))
        return side

    def _fit_side(self, height: int) -> None:
        """Show the timeline only if there is room for it below the histogram."""
        is_low = height < self.threshold.winfo_reqheight() + self.saving.winfo_reqheight() + LEAST
        (self.timeline.grid_remove if is_low else self.timeline.grid)()

    def say(self, words: str, colour: str = "#a00000") -> None:
        """Show a message to the user."""
        self.saving.told.config(text=words, fg=colour)

    # ---- records --------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Check for new records, and schedule the next check."""

        def look() -> Any:
            records = self._reader.look()
            scores = None if records is None else self.run.scores(records.ids)
            return records, scores, read_summary(self.run.folder)

        self.labelling.look()
        self.background.run(look, self._looked)
        self.root.after(LOOK, self._look)

    def _looked(self, found: Tuple[Optional[Records], Any, Optional[Summary]]) -> None:
        records, scores, summary = found
        if records is not None:
            self._read, self._scores = records, scores
            self._indices = {record.id: index for index, record in enumerate(records.micrographs)}
            if self._wanted is not None and self._wanted not in self._indices:
                self._begin_again()
            self._decide()
            self.saving.enable(records)
            self._settle()
            if self._goal is not None:
                self.go_to(*self._goal)
            elif self._wanted is not None:
                self._choose(self._wanted)
            self.run.keep_relations()
        if self.records is not None:
            self.status_bar.tell(self.records, summary)

    def _begin_again(self) -> None:
        """Clear what is shown of a run that was started anew, perhaps with other settings."""
        self.run.read_settings()
        self._wanted = None
        self.labelling.begin_again()
        self.heading.clear()
        self.picture.clear()
        self.threshold.begin_again(self.run.threshold)

    def _decide(self) -> None:
        """Apply the user's decisions and the lowest score of the picker to the records."""
        if self._read is None:
            return
        labels, self._minimum = self.labelling.labels, self.threshold.minimum
        by_stem = self._verdicts = labels.verdicts if labels is not None else {}
        verdicts = {one.id: by_stem[one.stem] for one in self._read.micrographs if one.stem in by_stem}
        enough = None if self._minimum is None else ~(self._scores < self._minimum)  # unknown scores are enough
        self.records = self._read.changed(verdicts, enough)
        self.threshold.show(self.records, self._scores)

    # ---- one micrograph -------------------------------------------------------------------------------------

    def go_to(self, key: int, box: Optional[Box] = None) -> None:
        """Select a micrograph by its id, even if the filter hides it, and magnify a box of it once it is shown."""
        self._goal = key, box
        if self.records is None:
            return  # the first records are still being read
        if key not in self.table.shown:
            self.table.show_only(ALL)
        self.table.choose(key)
        if key == self._wanted and self.picture.layers is not None:
            self._reach_goal()

    def _reach_goal(self) -> None:
        goal, self._goal = self._goal, None
        if goal is not None and goal[0] == self._wanted and goal[1] is not None:
            self.picture.look_at(goal[1])

    def _choose(self, key: int) -> None:
        if self.records is None or key not in self._indices:
            return
        self._wanted = key
        records, index = self.records, self._indices[key]
        record, ids = records.micrographs[index], records.ids[records.of(index)]
        self.labelling.record = record
        self.labelling.refresh()
        self.heading.describe(record)
        self.timeline.point_at(index)
        self._count(index)
        recorded = self._read.micrographs[index]  # type: ignore[union-attr]
        known = self._pictures.known(recorded, len(ids))
        if known is not None:
            self._show(*known, index)
            return
        self._show(None, np.full((len(ids), 2), np.nan), index)

        def show(layers: Layers, positions: Any) -> None:
            if len(positions) == len(self._kept(self._indices[key])):
                self._show(layers, positions, self._indices[key])

        self._pictures.read(recorded, ids, lambda: self._wanted == key, show)

    def _show(self, layers: Optional[Layers], positions: Any, index: int) -> None:
        """Show the picture of a micrograph with its coordinates and labels."""
        record, labels = self.records.micrographs[index], self.labelling.labels  # type: ignore[union-attr]
        step = record.pixel_size or 1.0
        places = labels.of(record.stem) if labels is not None else ()
        radius, margin = (record.particle_diameter or 0.0) / 2 / step, self.run.margin / step
        marks = Marks(positions, self._kept(index), radius, margin, self._chosen(index), places)
        self.heading.colour(layers)
        self.picture.show(layers, marks)
        if layers is not None:
            self._reach_goal()

    def _kept(self, index: int) -> Any:
        """Return which coordinates of a micrograph are kept at the threshold."""
        records, part = self.records, self.records.of(index)  # type: ignore[union-attr]
        kept = is_kept(records.goodness[part], self.threshold.threshold)  # type: ignore[union-attr]
        return kept & records.open[part]  # type: ignore[union-attr]

    def _chosen(self, index: int) -> Optional[Any]:
        """Return which coordinates of a micrograph are in the selected bins; None: no bin is selected."""
        part = self.records.of(index)  # type: ignore[union-attr]
        scores = None if self._scores is None else self._scores[part]
        return self.threshold.chosen(self.records.goodness[part], scores)  # type: ignore[union-attr]

    def _count(self, index: int) -> None:
        kept = self._kept(index)
        self.threshold.count(int(kept.sum()), len(kept))

    # ---- threshold ------------------------------------------------------------------------------------------

    def _threshold_moved(self) -> None:
        if self.threshold.minimum != self._minimum:
            self._decide()
        if self._wanted in self._indices:
            index = self._indices[self._wanted]
            self.picture.mark(kept=self._kept(index))
            self._count(index)
        if self._settling is not None:
            self.root.after_cancel(self._settling)
        self._settling = self.root.after(SETTLE, self._settle)

    def _selected(self) -> None:
        """Show the coordinates of the selected bins."""
        if self._wanted in self._indices:
            chosen = self._chosen(self._indices[self._wanted])
            self.picture.mark(chosen=chosen)
            words = ("pick of the selected bars is here.", "picks of the selected bars are here.")
            self.say("" if chosen is None else counted(int(chosen.sum()), *words), "#333333")

    def _labelled(self) -> None:
        """Show changed labels, and decisions if there are any."""
        labels, record = self.labelling.labels, self.labelling.record
        if labels is None or record is None:
            return
        if labels.verdicts == self._verdicts:
            self.picture.mark(labels=labels.of(record.stem))
            return
        self._decide()
        self._settle()
        self._choose(record.id)

    def _settle(self) -> None:
        """Update table and plot to the current threshold."""
        self._settling = None
        if self.records is not None:
            kept = self.records.kept_counts(self.threshold.threshold)
            self.table.fill(self.records, kept)
            self.timeline.show(self.records, kept)
            if self._wanted in self._indices:
                self.timeline.point_at(self._indices[self._wanted])
