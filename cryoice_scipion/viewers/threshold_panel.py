# SPDX-License-Identifier: GPL-3.0-or-later
"""Panel with the histogram of a score and an adjustable threshold: the goodness, or the picker's own score."""

from __future__ import annotations

import tkinter as tk
from tkinter import ttk
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np
from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg
from matplotlib.figure import Figure

from cryoice_scipion.constants import KEEP_ALL
from cryoice_scipion.core.images.palette import KEPT, REJECTED
from cryoice_scipion.core.results.run_reader import Records
from cryoice_scipion.core.results.run_sums import BINS
from cryoice_scipion.viewers.joint_plot import JointPlot
from cryoice_scipion.viewers.kept_counts import counts_in_words
from cryoice_scipion.viewers.pick_marks import CHOSEN
from cryoice_scipion.viewers.score_axis import GOODNESS, SCORE, WORDS, Axis
from cryoice_scipion.viewers.widgets import Flow, Tooltip

LEFT, RIGHT, TOP, BOTTOM = 58, 16, 8, 40  # px around the axes
HANDLE = 18  # px, the length of the slider's handle
SAME = 5e-4  # of the range; smaller differences are ignored, because a slider rounds to thousandths
SMALL = 8  # pt
HELP = "Drag: move the threshold. Drag with the right button: show the picks of these bars on the picture."


class ThresholdPanel(tk.Frame):
    """Slider, histogram and counts; ``on_change`` is called after each change, ``on_select`` after each selection."""

    def __init__(
        self,
        master: tk.Misc,
        run_threshold: Optional[float],
        on_change: Callable[[], None],
        on_select: Callable[[], None] = lambda: None,
    ) -> None:
        """Start at the threshold of the run; if it is unknown or -1 (keep all), start at 0."""
        super().__init__(master, bg="white")
        self.run_threshold = run_threshold
        self.axes_of: Dict[str, Axis] = {GOODNESS: Axis(threshold=max(0.0, run_threshold or 0.0)), SCORE: Axis()}
        self.axis = tk.StringVar(self, GOODNESS)
        self.selected: Optional[Tuple[float, float]] = None  # range of the shown score
        self._from: Optional[float] = None  # where a selection began
        self._on_change, self._on_select = on_change, on_select
        self._records: Optional[Records] = None
        self._scores: Any = None
        self.joint = JointPlot(self)
        self._make()

    @property
    def threshold(self) -> float:
        """Return the threshold of the goodness; -1 if the slider is at 0 and the run keeps all."""
        threshold = self.axes_of[GOODNESS].threshold
        return KEEP_ALL if self.run_threshold == KEEP_ALL and threshold <= 0 else threshold

    @property
    def minimum(self) -> Optional[float]:
        """Return the lowest score of the picker that is kept; None: any."""
        axis = self.axes_of[SCORE]
        return axis.threshold if len(axis.values) and axis.threshold > axis.low else None

    @property
    def _now(self) -> Axis:
        return self.axes_of[self.axis.get()]

    def _make(self) -> None:
        bar = tk.Frame(self, bg="white")
        bar.grid(row=0, column=0, sticky="ew")
        self.choice = ttk.Combobox(bar, textvariable=self.axis, values=[GOODNESS], state="readonly", width=12)
        self.choice.pack(side=tk.LEFT)
        self.choice.bind("<<ComboboxSelected>>", lambda _event: self._turned())
        self.both = tk.Button(bar, text="Both ...", padx=4, pady=0, command=self._show_both)
        Tooltip(self.both, lambda _event: "Plot the two scores of the coordinates against each other.")
        self.logarithmic = tk.BooleanVar(self, False)
        switch = tk.Checkbutton(bar, text="log scale", variable=self.logarithmic, command=self._draw, bg="white")
        switch.pack(side=tk.RIGHT)
        self._make_figure()
        self.slider = tk.Scale(
            self, from_=0, to=1, resolution=-1, orient=tk.HORIZONTAL, showvalue=False, bg="white", troughcolor="#dddddd"
        )
        self.slider.config(
            sliderlength=HANDLE, highlightthickness=0, digits=6, command=lambda value: self._slid(float(value))
        )
        self.slider.grid(row=2, column=0, sticky="ew", padx=(LEFT - HANDLE // 2, RIGHT - HANDLE // 2))
        bar = Flow(self, bg="white")
        bar.grid(row=3, column=0, sticky="ew", pady=2)
        bar.add(tk.Label(bar, text="Threshold", bg="white"))
        self.entry = bar.add(tk.Entry(bar, width=7, justify=tk.RIGHT))
        self.entry.bind("<FocusOut>", lambda _event: self._typed())
        for event in ("<Return>", "<KP_Enter>"):  # the focus leaves the field, so that keys work again
            self.entry.bind(event, lambda _event: self.canvas.get_tk_widget().focus_set())
        self.reset = bar.add(tk.Button(bar, command=self._reset, padx=4))
        self.origin = bar.add(tk.Label(bar, bg="white", fg="#666666"))
        self.counts = tk.Label(self, bg="white", anchor="nw", justify=tk.LEFT)
        self.bind("<Configure>", lambda event: self.counts.config(wraplength=max(200, event.width - 10)))
        self.counts.grid(row=4, column=0, sticky="ew")
        self.rowconfigure(1, weight=1)
        self.columnconfigure(0, weight=1)
        self._show_value()

    def _make_figure(self) -> None:
        self.figure = Figure(figsize=(3.6, 2.0), dpi=100)
        self.axes = self.figure.add_subplot()
        self.canvas = FigureCanvasTkAgg(self.figure, master=self)
        widget = self.canvas.get_tk_widget()
        widget.config(highlightthickness=0, height=110, width=280)
        widget.grid(row=1, column=0, sticky="news")
        Tooltip(widget, lambda _event: HELP, below=True)
        nothing = np.zeros(BINS)
        self._below = self.axes.bar(np.arange(BINS) / BINS, nothing, width=1 / BINS, align="edge", color=REJECTED)
        self._above = self.axes.bar(np.arange(BINS) / BINS, nothing, width=1 / BINS, align="edge", color=KEPT)
        self._line = self.axes.axvline(self._now.threshold, color="black", linewidth=1)
        self._band = self.axes.axvspan(0, 0, color=CHOSEN, alpha=0.6, visible=False, zorder=0)
        self.axes.set_ylabel("coordinates", fontsize=SMALL)
        self.axes.tick_params(labelsize=SMALL)
        for name, handle in (
            ("button_press_event", self._dragged),
            ("motion_notify_event", self._dragged),
            ("button_release_event", self._released),
            ("resize_event", lambda _event: self._fit()),
        ):
            self.canvas.mpl_connect(name, handle)
        self._scale_axis()
        self._fit()

    def begin_again(self, run_threshold: Optional[float]) -> None:
        """Show nothing of a run that was started anew, and its new threshold unless the user has moved the old one."""
        axis, before = self.axes_of[GOODNESS], self.run_threshold
        self.run_threshold = run_threshold
        if axis.threshold == max(0.0, before or 0.0):
            axis.threshold = max(0.0, run_threshold or 0.0)
        self.counts.config(text="")
        self._show_value()

    def show(self, records: Records, scores: Optional[Any] = None) -> None:
        """Show the records of a run.

        Parameters
        ----------
        scores : numpy.ndarray, (coordinates,), optional
            The picker's score of each coordinate, NaN if unknown; None: it gave none.
        """
        self._records, self._scores = records, scores
        self.axes_of[GOODNESS].values = records.ordered
        if scores is not None and np.isfinite(scores).any():
            self._show_scores(records, scores)
        else:
            self.axes_of[SCORE].values = np.zeros(0)
        self._draw()

    def _show_scores(self, records: Records, scores: Any) -> None:
        axis = self.axes_of[SCORE]
        was_all = axis.threshold <= axis.low
        known = np.sort(scores[np.isfinite(scores)])
        axis.low, axis.high = float(known[0]), float(max(known[-1], known[0] + 1e-6))
        axis.values = np.sort(scores[np.isfinite(scores) & records.on_accepted])
        axis.threshold = axis.low if was_all else axis.threshold
        self.choice.config(values=[GOODNESS, SCORE])
        self.both.pack(side=tk.LEFT, padx=4)
        if self._now is axis:
            self._scale_axis()

    def _show_both(self) -> None:
        """Show both scores of all coordinates in a window."""
        self.joint.show(self._records.goodness, self._scores)  # type: ignore[union-attr]
        self._draw()

    def count(self, kept: int, picks: int) -> None:
        """Show the numbers of kept coordinates, of the current micrograph (given) and of all micrographs."""
        if self._records is not None:
            self.counts.config(text=counts_in_words(self._records, self.threshold, kept, picks))

    def set(self, threshold: float) -> None:
        """Move the threshold of the shown score."""
        axis = self._now
        axis.threshold = min(max(threshold, axis.low), axis.high)
        self._show_value()
        self._draw()
        self._on_change()

    def select(self, ends: Optional[Tuple[float, float]]) -> None:
        """Select a range of the shown score; None: nothing."""
        self.selected = ends
        self._band.set_visible(ends is not None)
        if ends is not None:
            self._band.remove()
            self._band = self.axes.axvspan(*ends, color=CHOSEN, alpha=0.6, zorder=0)
        self.canvas.draw_idle()
        self._on_select()

    def chosen(self, goodness: Any, scores: Optional[Any]) -> Optional[Any]:
        """Return which of some coordinates are in the selected range, given both scores; None: nothing is selected."""
        if self.selected is None:
            return None
        return self._now.is_between(goodness if self.axis.get() == GOODNESS else scores, *self.selected)

    def _turned(self) -> None:
        """Show the other score."""
        self.canvas.get_tk_widget().focus_set()  # else the keys would belong to the menu
        self.select(None)
        self._scale_axis()
        self._show_value()
        self._draw()

    def _scale_axis(self) -> None:
        axis = self._now
        for bars in (self._below, self._above):
            for number, one in enumerate(bars):
                one.set_x(axis.low + axis.step * number / BINS)
                one.set_width(axis.step / BINS)
        self.axes.set_xlim(axis.low, axis.high)
        self.axes.set_xlabel(WORDS[self.axis.get()], fontsize=SMALL)

    def _show_value(self) -> None:
        axis = self._now
        self.entry.delete(0, tk.END)
        self.entry.insert(0, f"{axis.threshold:.3f}")
        self.slider.set((axis.threshold - axis.low) / axis.step)
        of_run, words = self.run_threshold, "Reset to run"
        told = "" if of_run is None else "(keeps all)" if of_run < 0 else f"({of_run:.3f})"
        if self.axis.get() == SCORE:
            words, told = "Keep all", ""
        self.reset.config(text=words)
        self.origin.config(text=told)

    def _slid(self, value: float) -> None:
        axis = self._now
        if abs(value - (axis.threshold - axis.low) / axis.step) > SAME:
            self.set(round(axis.low + value * axis.step, 3))

    def _typed(self) -> None:
        try:
            value = float(self.entry.get().replace(",", "."))
        except ValueError:
            self._show_value()
            return
        if abs(value - self._now.threshold) > SAME * self._now.step:
            self.set(value)

    def _reset(self) -> None:
        self.set(self.run_threshold or 0.0 if self.axis.get() == GOODNESS else self._now.low)

    def _dragged(self, event: Any) -> None:
        if event.inaxes is not self.axes:
            return
        at = float(event.xdata)
        if event.button == 1:
            self.set(round(at, 3))
        elif event.button == 3:
            if event.name == "button_press_event":
                self._from = at
            ends = self._now.bins_between(at if self._from is None else self._from, at)
            again = event.name == "button_press_event" and ends == self.selected
            if again or ends != self.selected:
                self._from = None if again else self._from
                self.select(None if again else ends)

    def _released(self, event: Any) -> None:
        if event.button == 3:
            self._from = None

    def _draw(self) -> None:
        """Draw the histogram, with each bar split at the threshold."""
        axis = self._now
        self.joint.move(self.axes_of[GOODNESS].threshold, self.minimum)
        self._line.set_xdata([axis.threshold, axis.threshold])
        if self._records is not None:
            counts, below = axis.histogram()
            for low, high, number, rejected in zip(self._below, self._above, counts, below):
                low.set_height(rejected)
                high.set_y(rejected)
                high.set_height(number - rejected)
            most = max(1, int(counts.max(initial=0)))
            if self.logarithmic.get():
                self.axes.set_yscale("symlog", linthresh=1)
                self.axes.set_ylim(0, 2 * most)
            else:
                self.axes.set_yscale("linear")
                self.axes.set_ylim(0, 1.05 * most)
            self.axes.tick_params(labelsize=SMALL)
        self.canvas.draw_idle()

    def _fit(self) -> None:
        """Align the axes with the slider."""
        width, height = self.figure.get_size_inches() * self.figure.dpi
        if width > LEFT + RIGHT and height > TOP + BOTTOM:
            self.figure.subplots_adjust(LEFT / width, BOTTOM / height, 1 - RIGHT / width, 1 - TOP / height)
            self.canvas.draw_idle()
