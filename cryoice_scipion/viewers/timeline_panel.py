# SPDX-License-Identifier: GPL-3.0-or-later
"""Plot of bad area and rejected coordinates over the session, which shows when the data quality changed."""

from __future__ import annotations

import tkinter as tk
from datetime import datetime
from typing import Any, Callable, List, Optional

import numpy as np
from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from cryoice_scipion.core.images.palette import REJECTED
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.run_reader import Numbers, Records

BAD_AREA = "#0072b2"
SESSION = 300.0  # s: sessions at least this long are plotted over time, shorter ones over the micrograph number
PARTS = 40  # the lines are moving averages over this fraction of a run (1/40)
FAINT = 30  # opacity of single points times the number of micrographs
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 28, 40  # px around the axes
SMALL = 8  # pt


class TimelinePanel(tk.Frame):
    """Plots two quantities over the micrographs; a click selects the micrograph at that position."""

    def __init__(self, master: tk.Misc, on_choose: Callable[[int], None]) -> None:
        """Create an empty plot."""
        super().__init__(master, bg="white")
        self._on_choose = on_choose
        self._records: Optional[Records] = None
        tk.Label(self, text="Over the session", bg="white", font=("TkDefaultFont", 11, "bold")).grid(
            row=0, column=0, sticky="w"
        )
        self.figure = Figure(figsize=(3.6, 2.0), dpi=100)
        self.axes = self.figure.add_subplot()
        self.canvas = FigureCanvasTkAgg(self.figure, master=self)
        widget = self.canvas.get_tk_widget()
        widget.config(highlightthickness=0, height=140, width=300)
        widget.grid(row=1, column=0, sticky="news")
        self.rowconfigure(1, weight=1)
        self.columnconfigure(0, weight=1)
        self.canvas.mpl_connect("button_press_event", self._clicked)
        self.canvas.mpl_connect("resize_event", lambda _event: self._fit())
        self._line: Any = None
        self._moments: Any = np.zeros(0)
        self._fit()

    def show(self, records: Records, kept: Numbers) -> None:
        """Draw a run, given the number of kept coordinates of each micrograph."""
        self._records = records
        self.axes.clear()
        number, picks = len(records.micrographs), records.picks
        over_time = self._set_moments(records.micrographs)
        areas = [record.bad_area for record in records.micrographs]
        bad = 100 * np.array(areas, dtype=np.float64)
        rejected = 100 * np.divide(picks - kept, picks, out=np.full(number, np.nan), where=picks > 0)
        lines = ((bad, BAD_AREA, "bad area", "-", "o"), (rejected, REJECTED, "rejected picks", "--", "x"))
        many = number > PARTS
        for values, colour, words, style, sign in lines:
            faint = {"markersize": 2 if many else 3, "alpha": max(0.05, FAINT / number) if many else 1.0}
            self.axes.plot(self._moments, values, sign, color=colour, **faint)
            self.axes.plot(self._moments, _smooth(values), style, color=colour, linewidth=2, label=words, zorder=3)
        first = self._moments[0] if number else 1
        self._line = self.axes.axvline(first, color="black", linewidth=1, alpha=0.6, visible=number > 0)
        self.axes.set_ylim(-2, 102)
        self.axes.set_xlabel("time" if over_time else "micrograph", fontsize=SMALL)
        self.axes.set_ylabel("%", fontsize=SMALL)
        self.axes.tick_params(labelsize=SMALL)
        locator = AutoDateLocator(maxticks=6) if over_time else MaxNLocator(6, integer=True)
        self.axes.xaxis.set_major_locator(locator)
        formatter = ConciseDateFormatter(locator, show_offset=False) if over_time else ScalarFormatter()
        self.axes.xaxis.set_major_formatter(formatter)
        self.axes.legend(fontsize=SMALL, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
        self.canvas.draw_idle()

    def _set_moments(self, micrographs: List[MicrographRecord]) -> bool:
        """Compute the position of each micrograph on the axis; return True for times, False for numbers."""
        times = [record.screened_at for record in micrographs]
        over_time = bool(times) and min(times) > 0 and max(times) - min(times) >= SESSION
        self._moments = np.arange(1, len(times) + 1)
        if over_time:
            self._moments = date2num([datetime.fromtimestamp(seconds) for seconds in times])
        return over_time

    def point_at(self, index: int) -> None:
        """Mark a micrograph, by its index among the records."""
        if index < len(self._moments):
            self._line.set_xdata([self._moments[index], self._moments[index]])
            self.canvas.draw_idle()

    def _clicked(self, event: Any) -> None:
        if event.inaxes is self.axes and self._records is not None and len(self._moments):
            index = int(np.abs(self._moments - event.xdata).argmin())
            self._on_choose(self._records.micrographs[index].id)

    def _fit(self) -> None:
        width, height = self.figure.get_size_inches() * self.figure.dpi
        if width > LEFT + RIGHT and height > TOP + BOTTOM:
            self.figure.subplots_adjust(LEFT / width, BOTTOM / height, 1 - RIGHT / width, 1 - TOP / height)
            self.canvas.draw_idle()


def _smooth(values: Any) -> Any:
    """Return the moving average, ignoring unknown values."""
    window = np.ones(max(1, len(values) // PARTS))
    if not len(values):
        return values
    known = np.convolve(~np.isnan(values), window, "same")
    total = np.convolve(np.nan_to_num(values), window, "same")
    return np.divide(total, known, out=np.full(len(values), np.nan), where=known > 0.5)
