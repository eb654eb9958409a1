# SPDX-License-Identifier: GPL-3.0-or-later
"""Window of a screening: table of micrographs, a large picture, and the threshold. It also works during a run."""

from __future__ import annotations

import contextlib
import tkinter as tk
from typing import Any, Dict, Optional, Tuple

import numpy as np
from pyworkflow.gui import Window
from pyworkflow.viewer import View

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.maps.scoring import is_kept
from cryoice_scipion.core.records import Summary
from cryoice_scipion.core.results.picture_layers import Layers, read_layers
from cryoice_scipion.core.results.run_reader import Records, RunReader, read_summary
from cryoice_scipion.viewers.background import Background
from cryoice_scipion.viewers.micrograph_picture import MicrographPicture
from cryoice_scipion.viewers.micrograph_table import ALL, MicrographTable
from cryoice_scipion.viewers.screened_run import ScreenedRun
from cryoice_scipion.viewers.status_bar import StatusBar
from cryoice_scipion.viewers.threshold_panel import ThresholdPanel
from cryoice_scipion.viewers.timeline_panel import TimelinePanel
from cryoice_scipion.viewers.windows import open_window

LOOK = 3000  # ms between two checks for new records
SETTLE = 250  # ms after the last change of the threshold until table and plot are updated
KEPT_PICTURES = 12  # pictures kept in memory, so that going back is fast


class ScreenView(View):
    """View that opens the window of a run."""

    def __init__(self, run: ScreenedRun, parent: Any = None, **options: Any) -> None:
        """Store a run and the options of :class:`ScreenWindow`."""
        self._arguments, self._options = (run, parent), options
        self.window: Optional[ScreenWindow] = None

    def show(self) -> None:
        """Open the window."""
        self.window = ScreenWindow(*self._arguments, **self._options)
        open_window(self.window)


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
        run : ScreenedRun
        parent : pyworkflow.gui.Window, optional
        show_only : str
            Initial filter of the table; see ``micrograph_table.FILTERS``.
        overlays : tuple of str
            Initial overlays of the picture; empty: the default ones.
        threshold : float, optional
            Initial threshold; None: that of the run.
        """
        super().__init__(f"{run.title}: screening", parent, minsize=(900, 560))
        self.run = run
        self.records: Optional[Records] = None
        self._reader, self._indices = RunReader(run.folder), {}  # type: RunReader, Dict[int, int]
        self._pictures: Dict[int, Tuple[Any, Layers, Any]] = {}
        self._settling: Optional[str] = None
        self._wanted: Optional[int] = None  # the id of the micrograph that is shown, or being read
        self._make()
        self.table.filter.set(show_only)
        if overlays:
            for name, switch in self.picture.on.items():
                switch.set(name in overlays)
        if threshold is not None:
            self.threshold.set(threshold)
        self._background = Background(self.root, self.say)
        self._look()

    def desiredDimensions(self) -> Tuple[int, int]:
        """Return the size of the window: slightly smaller than the screen."""
        return min(1720, self.root.winfo_screenwidth() - 10), min(1080, self.root.winfo_screenheight() - 60)

    # ---- widgets --------------------------------------------------------------------------------------------

    def _make(self) -> None:
        self.root.config(bg="white", padx=10, pady=8)
        self.status_bar = StatusBar(self.root, self.run.folder, self.say)
        self.status_bar.grid(row=0, column=0, columnspan=3, sticky="ew")
        self.table = MicrographTable(self.root, self._choose)
        self.picture = MicrographPicture(self.root)
        self._make_side()
        self.table.grid(row=1, column=0, sticky="news", pady=6)
        self.picture.grid(row=1, column=1, sticky="news", padx=8, pady=6)
        for column, weight in ((0, 0), (1, 1), (2, 0)):
            self.root.columnconfigure(column, weight=weight)
        self.root.rowconfigure(0, weight=0)
        self.root.rowconfigure(1, weight=1)
        for key, by in (("<Left>", -1), ("<Prior>", -1), ("<Right>", 1), ("<Next>", 1)):
            self.root.bind(key, lambda event, by=by: self._key(event, by))
        self.initial_focus = self.table.tree

    def _make_side(self) -> None:
        width = min(400, self.root.winfo_screenwidth() // 4)
        side = tk.Frame(self.root, bg="white", width=width)
        side.grid(row=1, column=2, sticky="ns", pady=6)
        side.grid_propagate(False)
        self.threshold = ThresholdPanel(side, self.run.threshold, lambda _threshold: self._threshold_moved())
        self.threshold.grid(row=0, column=0, sticky="news")
        self.plus = tk.Button(side, text="+ Coordinates", command=self.save, state=tk.DISABLED)
        self.plus.grid(row=1, column=0, sticky="ew", pady=(4, 0))
        self.told = tk.Label(side, bg="white", anchor="nw", justify=tk.LEFT, wraplength=width - 10)
        self.told.grid(row=2, column=0, sticky="ew", pady=4)
        self.timeline = TimelinePanel(side, self.go_to)
        self.timeline.grid(row=3, column=0, sticky="news")
        side.columnconfigure(0, weight=1)
        side.rowconfigure(0, weight=3)
        side.rowconfigure(3, weight=2)

    def say(self, words: str, colour: str = "#a00000") -> None:
        """Show a message to the user."""
        self.told.config(text=words, fg=colour)

    # ---- records --------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Check for new records, and schedule the next check."""
        self._background.run(lambda: (self._reader.look(), read_summary(self.run.folder)), self._looked)
        self.root.after(LOOK, self._look)

    def _looked(self, found: Tuple[Optional[Records], Optional[Summary]]) -> None:
        records, summary = found
        if records is not None:
            self.records = records
            self._indices = {record.id: index for index, record in enumerate(records.micrographs)}
            self.threshold.show(records)
            self.plus.config(state=tk.NORMAL if len(records.ids) else tk.DISABLED)
            self._settle()
            if self._wanted is not None:
                self._choose(self._wanted)
            self.run.keep_relations()
        if self.records is not None:
            self.status_bar.tell(self.records, summary)

    # ---- one micrograph -------------------------------------------------------------------------------------

    def go_to(self, key: int) -> None:
        """Select a micrograph by its id, even if the filter hides it."""
        if key not in self.table.shown:
            self.table.show_only(ALL)
        self.table.choose(key)

    def _choose(self, key: int) -> None:
        if self.records is None or key not in self._indices:
            return
        self._wanted = key
        records, index = self.records, self._indices[key]
        record, ids = records.micrographs[index], records.ids[records.of(index)]
        self.picture.describe(record)
        self.timeline.point_at(index)
        self._count(index)
        known = self._pictures.get(key)
        if known is not None and known[0] == (record, len(ids)):
            self.picture.show(known[1], known[2], self._kept(index))
            return
        self.picture.show(None, np.full((len(ids), 2), np.nan), self._kept(index))

        def read() -> Optional[Tuple[Layers, Any]]:
            if self._wanted != key:
                return None  # another micrograph was selected in the meantime
            layers = read_layers(self.run.folder, record)
            try:
                return layers, self.run.positions(ids)
            except CryoIceError as error:
                layers.problems.append(str(error))
                return layers, np.full((len(ids), 2), np.nan)

        def show(found: Optional[Tuple[Layers, Any]]) -> None:
            if found is None:
                return
            while len(self._pictures) >= KEPT_PICTURES:
                del self._pictures[next(iter(self._pictures))]
            self._pictures[key] = ((record, len(ids)), *found)
            if self._wanted == key and len(found[1]) == len(self._kept(self._indices[key])):
                self.picture.show(*found, self._kept(self._indices[key]))

        self._background.run(read, show)

    def _kept(self, index: int) -> Any:
        """Return which coordinates of a micrograph are kept at the threshold."""
        records, part = self.records, self.records.of(index)  # type: ignore[union-attr]
        kept = is_kept(records.goodness[part], self.threshold.threshold)  # type: ignore[union-attr]
        return kept & records.open[part]  # type: ignore[union-attr]

    def _count(self, index: int) -> None:
        kept = self._kept(index)
        self.threshold.count(int(kept.sum()), len(kept))

    # ---- threshold ------------------------------------------------------------------------------------------

    def _threshold_moved(self) -> None:
        if self._wanted in self._indices:
            index = self._indices[self._wanted]
            self.picture.mark(self._kept(index))
            self._count(index)
        if self._settling is not None:
            self.root.after_cancel(self._settling)
        self._settling = self.root.after(SETTLE, self._settle)

    def _settle(self) -> None:
        """Update table and plot to the current threshold."""
        self._settling = None
        if self.records is not None:
            kept = self.records.kept_counts(self.threshold.threshold)
            self.table.fill(self.records, kept)
            self.timeline.show(self.records, kept)
            if self._wanted in self._indices:
                self.timeline.point_at(self._indices[self._wanted])

    def save(self) -> None:
        """Save the coordinates kept at the threshold as a new output of the protocol."""
        records, threshold = self.records, self.threshold.threshold
        if records is None:
            return
        ids = records.ids[records.kept(threshold)]

        def done(name: str, number: int) -> None:
            words = f"Saved {number:,} coordinates as {name}."
            if number < len(ids):
                words += f" {len(ids) - number:,} more are screened, but not yet in the outputs of the run."
            self.say(words, "#006400")
            self._refresh_project()

        def run_alone(work: Any, then: Any) -> None:
            self.plus.config(state=tk.DISABLED)
            self._background.run(work, then, lambda: self.plus.config(state=tk.NORMAL))

        try:
            self.say("Saving ...", "#333333")
            self.run.save(ids, threshold, run_alone, done)
        except CryoIceError as error:
            self.say(str(error))

    def _refresh_project(self) -> None:
        """Refresh the project window, so that it shows the new output."""
        view = getattr(self.master, "getViewWidget", lambda: None)()
        with contextlib.suppress(AttributeError):
            view.refreshRuns()

    # ---- window ---------------------------------------------------------------------------------------------

    def _key(self, event: Any, by: int) -> None:
        if not isinstance(event.widget, (tk.Entry, tk.Scale)):
            self.table.step(by)
