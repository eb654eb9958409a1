# SPDX-License-Identifier: GPL-3.0-or-later
"""Window with the number of coordinates by both scores: the goodness and the picker's own."""

from __future__ import annotations

import tkinter as tk
from typing import Any, Optional

import numpy as np
from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg
from matplotlib.figure import Figure

from cryoice_scipion.viewers.score_axis import GOODNESS, SCORE, WORDS

CELLS = 40  # hexagons across


class JointPlot:
    """Shows how many coordinates have each pair of scores. The lines are the thresholds; they follow the panel."""

    def __init__(self, master: tk.Misc) -> None:
        """Open no window yet."""
        self._master = master
        self.window: Optional[tk.Toplevel] = None
        self.figure = Figure(figsize=(5.6, 4.6), dpi=100, layout="constrained")

    def show(self, goodness: Any, scores: Any) -> None:
        """Open the window, and count the coordinates that have both scores; (coordinates,), NaN if unknown."""
        if not self._is_open:
            self.window = tk.Toplevel(self._master, bg="white")
            self.window.title("Both scores of the coordinates")
            self._canvas = FigureCanvasTkAgg(self.figure, master=self.window)
            self._canvas.get_tk_widget().pack(fill=tk.BOTH, expand=True)
        known = np.isfinite(goodness) & np.isfinite(scores)
        self.figure.clear()
        axes = self.figure.add_subplot(xlabel=WORDS[GOODNESS], ylabel=WORDS[SCORE])
        look = {"bins": "log", "mincnt": 1, "cmap": "cividis", "linewidths": 0.1}
        self.cells = axes.hexbin(goodness[known], scores[known], gridsize=CELLS, **look)
        self.figure.colorbar(self.cells, label="coordinates")
        limits = axes.axis()
        self.lines = axes.axvline(0, color="black"), axes.axhline(0, color="black", linestyle="--")
        axes.axis(limits)

    def move(self, threshold: float, minimum: Optional[float]) -> None:
        """Move the lines, if the window is open; None: no score of the picker is too low."""
        if self._is_open:
            upright, level = self.lines
            upright.set_xdata([threshold, threshold])
            level.set_visible(minimum is not None)
            level.set_ydata([minimum or 0.0] * 2)
            self._canvas.draw_idle()

    @property
    def _is_open(self) -> bool:
        return self.window is not None and bool(self.window.winfo_exists())
