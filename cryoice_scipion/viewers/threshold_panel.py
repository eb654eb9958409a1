# SPDX-License-Identifier: GPL-3.0-or-later
"""Panel with the histogram of goodness and an adjustable threshold."""

from __future__ import annotations

import tkinter as tk
from typing import Any, Callable, Optional

import numpy as np
from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg
from matplotlib.figure import Figure

from cryoice_scipion.core.images.palette import KEPT, REJECTED
from cryoice_scipion.core.results.run_reader import Records
from cryoice_scipion.core.results.run_sums import BINS

LEFT, RIGHT, TOP, BOTTOM = 58, 16, 8, 40  # px around the axes
HANDLE = 18  # px, the length of the slider's handle
SAME = 5e-4  # smaller differences are ignored, because a slider rounds to thousandths
SMALL = 8  # pt


class ThresholdPanel(tk.Frame):
    """Slider, histogram and counts; ``on_change`` is called with each new threshold."""

    def __init__(self, master: tk.Misc, run_threshold: Optional[float], on_change: Callable[[float], None]) -> None:
        """Start at the threshold of the run; if it is unknown or -1 (keep all), start at 0."""
        super().__init__(master, bg="white")
        self.run_threshold = run_threshold
        self.threshold = max(0.0, run_threshold or 0.0)
        self._on_change = on_change
        self._records: Optional[Records] = None
        self._make()

    def _make(self) -> None:
        tk.Label(self, text="Goodness", bg="white", font=("TkDefaultFont", 11, "bold")).grid(
            row=0, column=0, sticky="w"
        )
        self.logarithmic = tk.BooleanVar(self, False)
        tk.Checkbutton(self, text="log scale", variable=self.logarithmic, command=self._draw, bg="white").grid(
            row=0, column=1, sticky="e"
        )
        self._make_figure()
        self.slider = tk.Scale(
            self, from_=0, to=1, resolution=-1, orient=tk.HORIZONTAL, showvalue=False, bg="white", troughcolor="#dddddd"
        )
        self.slider.config(
            sliderlength=HANDLE, highlightthickness=0, digits=6, command=lambda value: self._slid(float(value))
        )
        self.slider.grid(row=2, column=0, columnspan=2, sticky="ew", padx=(LEFT - HANDLE // 2, RIGHT - HANDLE // 2))
        bar = tk.Frame(self, bg="white")
        bar.grid(row=3, column=0, columnspan=2, sticky="ew", pady=4)
        tk.Label(bar, text="Threshold", bg="white").pack(side=tk.LEFT)
        self.entry = tk.Entry(bar, width=7, justify=tk.RIGHT)
        self.entry.pack(side=tk.LEFT, padx=4)
        for event in ("<Return>", "<KP_Enter>", "<FocusOut>"):
            self.entry.bind(event, lambda _event: self._typed())
        self.reset = tk.Button(bar, text="Reset to run", command=self._reset)
        if self.run_threshold is not None:
            self.reset.pack(side=tk.LEFT)
            words = "keeps all" if self.run_threshold < 0 else f"{self.run_threshold:.3f}"
            tk.Label(bar, text=f"({words})", bg="white", fg="#666666").pack(side=tk.LEFT)
        self.counts = tk.Label(self, bg="white", anchor="nw", justify=tk.LEFT)
        self.bind("<Configure>", lambda event: self.counts.config(wraplength=max(200, event.width - 10)))
        self.counts.grid(row=4, column=0, columnspan=2, sticky="ew")
        self.rowconfigure(1, weight=1)
        self.columnconfigure(0, weight=1)
        self._show_value()

    def _make_figure(self) -> None:
        self.figure = Figure(figsize=(3.6, 2.0), dpi=100)
        self.axes = self.figure.add_subplot()
        self.canvas = FigureCanvasTkAgg(self.figure, master=self)
        widget = self.canvas.get_tk_widget()
        widget.config(highlightthickness=0, height=150, width=300)
        widget.grid(row=1, column=0, columnspan=2, sticky="news")
        edges = np.linspace(0, 1, BINS + 1)
        nothing, width = np.zeros(BINS), 1 / BINS
        self._below = self.axes.bar(edges[:-1], nothing, width=width, align="edge", color=REJECTED)
        self._above = self.axes.bar(edges[:-1], nothing, width=width, align="edge", color=KEPT)
        self._line = self.axes.axvline(self.threshold, color="black", linewidth=1)
        self.axes.set_xlim(0, 1)
        self.axes.set_xlabel("goodness (1 = clean)", fontsize=SMALL)
        self.axes.set_ylabel("coordinates", fontsize=SMALL)
        self.axes.tick_params(labelsize=SMALL)
        for name in ("button_press_event", "motion_notify_event"):
            self.canvas.mpl_connect(name, self._dragged)
        self.canvas.mpl_connect("resize_event", lambda _event: self._fit())
        self._fit()

    def show(self, records: Records) -> None:
        """Show the records of a run."""
        self._records = records
        self._draw()

    def count(self, kept: int, picks: int) -> None:
        """Show the numbers of kept coordinates, of the current micrograph (given) and of all micrographs."""
        records = self._records
        if records is None:
            return
        every, left = len(records.ids), records.kept_number(self.threshold)
        discarded = int((~records.open).sum())
        unscored = int(np.isnan(records.goodness[records.open]).sum())
        lines = [f"All micrographs: {left:,} of {every:,} kept{_share(left, every)}"]
        lines.append(f"This micrograph: {kept:,} of {picks:,} kept{_share(kept, picks)}")
        never = [f"{discarded:,} on discarded micrographs"] if discarded else []
        never += [f"{unscored:,} without goodness"] if unscored else []
        lines.append(f"Always rejected: {', '.join(never)}" if never else "")
        self.counts.config(text="\n".join(lines))

    def set(self, threshold: float) -> None:
        """Move the threshold."""
        self.threshold = min(max(threshold, 0.0), 1.0)
        self._show_value()
        self._draw()
        self._on_change(self.threshold)

    def _show_value(self) -> None:
        self.entry.delete(0, tk.END)
        self.entry.insert(0, f"{self.threshold:.3f}")
        self.slider.set(self.threshold)

    def _slid(self, value: float) -> None:
        if abs(value - self.threshold) > SAME:
            self.set(round(value, 3))

    def _typed(self) -> None:
        try:
            value = float(self.entry.get().replace(",", "."))
        except ValueError:
            self._show_value()
            return
        if abs(value - self.threshold) > SAME:
            self.set(value)

    def _reset(self) -> None:
        self.set(self.run_threshold or 0.0)

    def _dragged(self, event: Any) -> None:
        if event.inaxes is self.axes and event.button == 1:
            self.set(round(float(event.xdata), 3))

    def _draw(self) -> None:
        """Draw the histogram, with each bar split at the threshold."""
        self._line.set_xdata([self.threshold, self.threshold])
        if self._records is not None:
            values = self._records.ordered
            edges = np.searchsorted(values, np.linspace(0, 1, BINS + 1))
            edges[-1] = len(values)  # the last bin holds 1 too
            counts = np.diff(edges)
            below = np.clip(np.searchsorted(values, self.threshold) - edges[:-1], 0, counts)
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


def _share(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.1f} %)" if whole else ""
