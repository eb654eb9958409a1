# SPDX-License-Identifier: GPL-3.0-or-later
"""Window with the map of a session: similar micrographs are near each other, and a lasso selects them."""

from __future__ import annotations

import time
import tkinter as tk
from tkinter import ttk
from typing import Any, Callable, Dict, List, Optional

import numpy as np
from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.widgets import LassoSelector
from pyworkflow.gui import Window

from cryoice_scipion.constants import ACCEPTED, DISCARDED, FAILED, FEWEST_CLEAN
from cryoice_scipion.core.errors import CryoIceError, plural
from cryoice_scipion.core.images.palette import KEPT, NEUTRAL, REJECTED, grade_colour
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.micrograph_fields import in_words, shown_values
from cryoice_scipion.core.results.session_map import LEAST, PCA, TSNE, SessionMap, session_map
from cryoice_scipion.viewers.background import Background
from cryoice_scipion.viewers.widgets import Flow, Tooltip

METHODS = {"PCA": PCA, "t-SNE": TSNE}
STATUS_COLOURS = {ACCEPTED: KEPT, DISCARDED: REJECTED, FAILED: NEUTRAL}
COLOURS: Dict[str, Callable[[MicrographRecord], str]] = {
    "status": lambda record: STATUS_COLOURS[record.status],
    "grade": lambda record: grade_colour(record.grade) if record.grade else NEUTRAL,
}
HINT = "Draw around points to select micrographs. Click a point to open its micrograph."
CLICK = 4.0  # px of the screen that the mouse may move in a click
REACH = 12.0  # px of the screen from a point within which a click meets it
EDGE = 0.06  # of the range, around the points: room to draw around the outermost ones
LOOK, AGAIN = 3000, 30.0  # ms between two checks for new records; s between two arrangements of a run that grows
DOT = 40  # size of a point, square points


class SessionMapWindow(Window):
    """The map of the session of a screening's window, where the selected micrographs are shown and decided on."""

    def __init__(self, screening: Any) -> None:
        """Open the map of a :class:`~cryoice_scipion.viewers.screen_window.ScreenWindow`."""
        super().__init__(f"{screening.run.title}: map of the session", screening, minsize=(560, 520))
        self.screening, self.map = screening, None  # type: Any, Optional[SessionMap]
        self._painted: Any = None  # the records that the colours show
        self.selected: List[int] = []  # ids
        self._make()
        self.background = Background(self.root, self.say)
        self.arrange()
        self.root.after(LOOK, self._look)

    def desiredDimensions(self) -> Any:
        """Return the size of the window, which leaves the screening's visible beside it on a large screen."""
        side = min(760, self.root.winfo_screenheight() - 120)
        return side, side + 60

    def _make(self) -> None:
        self.root.config(bg="white", padx=10, pady=8)
        bar = Flow(self.root, bg="white")
        bar.grid(row=0, column=0, sticky="ew")
        self.method, self.colour = tk.StringVar(bar, "PCA"), tk.StringVar(bar, "status")
        for words, variable, values, change in (
            ("Arranged by", self.method, METHODS, self.arrange),
            ("Colour", self.colour, COLOURS, self.paint),
        ):
            frame = tk.Frame(bar, bg="white")
            tk.Label(frame, text=words, bg="white").pack(side=tk.LEFT)
            box = ttk.Combobox(frame, textvariable=variable, values=list(values), state="readonly", width=8)
            box.bind("<<ComboboxSelected>>", lambda _event, change=change: change())
            box.pack(side=tk.LEFT, padx=4)
            bar.add(frame)
        self.words = bar.add(tk.Label(bar, bg="white", fg="#666666"))
        self._make_figure()
        bar = Flow(self.root, bg="white")
        bar.grid(row=2, column=0, sticky="ew", pady=(6, 0))
        self.count = bar.add(tk.Label(bar, bg="white", width=24, anchor="w"))
        actions = {
            "Show in the list": lambda: self.screening.table.show_selected(self.selected),
            "Accept": lambda: self.decide(True),
            "Reject": lambda: self.decide(False),
        }
        self.buttons = {
            words: bar.add(tk.Button(bar, text=words, command=act, padx=6, pady=1)) for words, act in actions.items()
        }
        self.buttons["Undo"] = bar.add(self.screening.labelling.make_undo(bar, self._undo))
        self.buttons["Undo"].config(padx=6, pady=1)
        self.screening.labelling.refresh()
        self.told = tk.Label(self.root, bg="white", fg="#666666", anchor="w", justify=tk.LEFT, text=HINT)
        self.told.grid(row=3, column=0, sticky="ew", pady=(4, 0))
        self.root.columnconfigure(0, weight=1)
        self.root.rowconfigure(0, weight=0)
        self.root.rowconfigure(1, weight=1)
        self.root.bind("<Configure>", lambda event: self.told.config(wraplength=max(300, self.root.winfo_width() - 30)))
        self.select([])

    def _make_figure(self) -> None:
        self.figure = Figure(figsize=(5.5, 5.5), dpi=100)
        self.axes = self.figure.add_axes((0.01, 0.01, 0.98, 0.98))
        self.axes.set_xticks([])
        self.axes.set_yticks([])
        self.canvas = FigureCanvasTkAgg(self.figure, master=self.root)
        widget = self.canvas.get_tk_widget()
        widget.config(highlightthickness=0)
        widget.grid(row=1, column=0, sticky="news", pady=6)
        self.points = self.axes.scatter([], [], s=DOT, linewidths=0.5)
        self.lasso = LassoSelector(self.axes, self._drawn, props={"color": "black", "linewidth": 1})
        Tooltip(widget, self._tip)

    def say(self, words: str) -> None:
        """Show a message to the user."""
        self.told.config(text=words or HINT, fg="#a00000" if words else "#666666")

    # ---- points ---------------------------------------------------------------------------------------------

    @property
    def records(self) -> Dict[int, MicrographRecord]:
        """Return the micrographs by id, with the user's decisions."""
        records = self.screening.records
        return {} if records is None else {one.id: one for one in records.micrographs}

    def arrange(self) -> None:
        """Arrange the micrographs that are screened so far, in the background."""
        method, features = METHODS[self.method.get()], self._features()
        self._number, self._started = len(features), time.monotonic()
        self.words.config(text="Arranging ...")

        def work() -> SessionMap:
            try:
                return session_map(features, method)
            except ImportError:
                raise CryoIceError(
                    "t-SNE", "needs scikit-learn", "install it in Scipion's Python, or use PCA"
                ) from None

        self.background.run(work, self._arranged, lambda: self.words.config(text=self._described()))

    def _features(self) -> Dict[int, List[float]]:
        return {one.id: one.deviations for one in self.records.values() if one.deviations}

    def _look(self) -> None:
        """Show new decisions; arrange again when the run has grown, unless micrographs are selected."""
        if self.map is not None and not self.records.keys() >= set(self.map.ids):  # the run has begun again
            self.select([])
            self._started = -AGAIN
        is_due = self.map is not None and time.monotonic() - self._started > (AGAIN if self.map.ids else 0)
        if is_due and not self.selected and len(self._features()) != self._number:
            self.arrange()
        elif self.screening.records is not self._painted:
            self.paint()
        self.root.after(LOOK, self._look)

    def _described(self) -> str:
        if self.map is None or not self.map.ids:
            if len(self.records) >= LEAST and not self._number:
                return f"The map needs a run with {FEWEST_CLEAN} reference micrographs or more."
            return f"The map needs {LEAST} micrographs or more."
        share = f"; the plane shows {100 * self.map.explained:.0f} % of the variance" if self.map.explained else ""
        return f"{len(self.map.ids):,} {plural(len(self.map.ids), 'micrograph')}{share}"

    def _arranged(self, found: SessionMap) -> None:
        self.map = found
        self.say("")
        self.select([key for key in self.selected if key in found.ids])
        self.points.set_offsets(found.scaled())
        self.axes.set_xlim(-EDGE, 1 + EDGE)
        self.axes.set_ylim(-EDGE, 1 + EDGE)
        self.paint()

    def paint(self) -> None:
        """Colour the points; selected ones have a black rim."""
        if self.map is None:
            return
        self._painted = self.screening.records
        records, colour_of = self.records, COLOURS[self.colour.get()]
        if not all(key in records for key in self.map.ids):
            return  # the run has begun again
        shown = [records[key] for key in self.map.ids]
        self.points.set_facecolor([to_rgba(colour_of(one)) for one in shown])
        chosen = np.isin(self.map.ids, self.selected)
        self.points.set_edgecolor(np.where(chosen[:, None], to_rgba("black"), to_rgba("white")))
        self.points.set_linewidths(np.where(chosen, 2.0, 0.5))
        names = sorted({(self._name(one), colour_of(one)) for one in shown})
        marks = [self.axes.scatter([], [], s=DOT, color=colour, label=name) for name, colour in names]
        if marks:
            self.axes.legend(handles=marks, fontsize=8, loc="best", framealpha=0.8)
        for mark in marks:
            mark.remove()
        self.canvas.draw_idle()

    def _name(self, record: MicrographRecord) -> str:
        return record.status if self.colour.get() == "status" else record.grade or "no grade"

    def _nearest(self, x: float, y: float) -> Optional[int]:
        """Return the micrograph under a point of the figure, px from its lower left corner."""
        if self.map is None or not self.map.ids:
            return None
        away = np.hypot(*(self.axes.transData.transform(self.points.get_offsets()) - (x, y)).T)
        return self.map.ids[int(away.argmin())] if away.min() <= REACH else None

    def _tip(self, event: Any) -> str:
        key = self._nearest(event.x, self.canvas.get_tk_widget().winfo_height() - event.y)
        if key is None or self.map is None or key not in self.records:
            return ""
        record = self.records[key]
        near = ", ".join(self.records[other].stem for other in self.map.neighbours[key] if other in self.records)
        return f"{record.stem}: {in_words(shown_values(record))}. Most similar: {near}."

    # ---- selection ------------------------------------------------------------------------------------------

    def _drawn(self, corners: Any) -> None:
        """Select the micrographs inside a drawn line; a click opens the micrograph under it."""
        if self.map is None or not self.map.ids:
            return
        pixels = self.axes.transData.transform(corners)
        if np.ptp(pixels, axis=0).max() <= CLICK:
            key = self._nearest(*pixels[0])
            if key is not None:
                self.screening.go_to(key)
            return
        inside = Path(corners).contains_points(self.points.get_offsets())
        self.select([key for key, is_in in zip(self.map.ids, inside) if is_in])

    def select(self, keys: List[int]) -> None:
        """Select micrographs by their ids."""
        self.selected = keys
        number = f"{len(keys):,} {plural(len(keys), 'micrograph')}" if keys else "No micrographs"
        self.count.config(text=f"{number} selected")
        for words in ("Show in the list", "Accept", "Reject"):
            self.buttons[words].config(state=tk.NORMAL if keys else tk.DISABLED)
        self.paint()

    def decide(self, accepted: bool) -> None:
        """Accept or reject the selected micrographs; the same decision again leaves them to the run."""
        records = self.records
        known = [records[key] for key in self.selected if key in records]  # the run may have begun again
        stems = [one.stem for one in known if one.status != FAILED]
        self.screening.labelling.decide_all(stems, accepted)
        self.paint()

    def _undo(self) -> None:
        self.screening.labelling.undo()
        self.paint()
