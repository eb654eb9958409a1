# SPDX-License-Identifier: GPL-3.0-or-later
"""Panel that shows one micrograph, with checkboxes for its overlays."""

from __future__ import annotations

import tkinter as tk
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
from PIL import ImageTk

from cryoice_scipion.constants import CLASSES, GOOD
from cryoice_scipion.core.images.caption import bar_length
from cryoice_scipion.core.images.palette import KEPT, REJECTED, class_colour
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.micrograph_fields import in_words, shown_values
from cryoice_scipion.core.results.picture_layers import MAP_COLOUR, MASK_COLOUR, Layers, paint

RADIUS = 6  # px, of a circle; a cross reaches as far
SMALLEST = 0.005  # classes with a smaller area fraction are not listed
SQUARE = "■"
PICKS, BAR = "picks", "bar"
SWITCHES = {  # overlays: symbol, its colour, label, whether it is on at first
    "map": ("■", MAP_COLOUR, "P(BAD) map", False),
    "mask": ("▢", "#555555", "bad area", True),
    "kept": ("○", KEPT, "kept", True),
    "rejected": ("✕", REJECTED, "rejected", True),
}


class MicrographPicture(tk.Frame):
    """Shows a micrograph. When the threshold changes, only the coordinates are redrawn."""

    def __init__(self, master: tk.Misc) -> None:
        """Create an empty panel."""
        super().__init__(master, bg="white")
        self.layers: Optional[Layers] = None
        self._positions = np.zeros((0, 2))
        self._kept = np.zeros(0, dtype=bool)
        self._items: List[Tuple[int, ...]] = []  # canvas items of each coordinate
        self._is_reading = False
        self._photo: Any = None  # Tk forgets pictures that nobody holds
        self._spot, self._size = (0, 0), (0, 0)  # of the picture in the canvas, px
        self.on: Dict[str, tk.BooleanVar] = {}
        self.words: Dict[str, tk.Label] = {}
        self._make()

    def _make(self) -> None:
        self.title = tk.Label(self, bg="white", anchor="w", font=("TkDefaultFont", 12, "bold"))
        self.title.grid(row=0, column=0, sticky="ew")
        self.subtitle = tk.Text(self, bg="white", width=1, height=4, wrap=tk.WORD, font="TkDefaultFont", takefocus=0)
        self.subtitle.config(borderwidth=0, highlightthickness=0, cursor="arrow", state=tk.DISABLED)
        self.subtitle.grid(row=1, column=0, sticky="ew", pady=(0, 4))
        self.canvas = tk.Canvas(self, bg="#eeeeee", highlightthickness=0, width=320, height=320)
        self.canvas.grid(row=2, column=0, sticky="news")
        bar = tk.Frame(self, bg="white")
        bar.grid(row=3, column=0, pady=(6, 0))
        for column, (name, (sign, colour, words, on)) in enumerate(SWITCHES.items()):
            self.on[name] = tk.BooleanVar(self, on)
            change: Callable[[], None] = self.paint if name in ("map", "mask") else self._mark
            box = tk.Checkbutton(
                bar, variable=self.on[name], command=change, bg="white", activebackground="white", highlightthickness=0
            )
            box.grid(row=0, column=3 * column, padx=(2, 0))
            label = tk.Label(bar, text=sign, fg=colour, bg="white", font=("TkDefaultFont", 12, "bold"))
            label.grid(row=0, column=3 * column + 1)
            self.words[name] = tk.Label(bar, text=words, bg="white")
            self.words[name].grid(row=0, column=3 * column + 2)
        self.rowconfigure(2, weight=1)
        self.columnconfigure(0, weight=1)
        self.canvas.bind("<Configure>", lambda _event: self.paint())

    def describe(self, record: MicrographRecord) -> None:
        """Show name, status, bad area and grade, with the area of each class in the colour of the picture."""
        self.title.config(text=record.stem)
        words = in_words(shown_values(record))
        if record.reason:
            words += f": {record.reason}"
        if record.grade:
            words += f"\nWhy {record.grade}: {record.grade_reason} Confidence {record.grade_confidence:.2f}."
        areas = sorted(((share, name) for name, share in record.areas.items() if name != GOOD), reverse=True)
        found = [(name, f"\u00a0{name}\u00a0{100 * share:.0f}\u00a0%") for share, name in areas if share >= SMALLEST]
        text = self.subtitle
        text.config(state=tk.NORMAL)
        text.delete("1.0", tk.END)
        text.insert(tk.END, f"{words}\n" + ("Area by class:" if found else ""))
        for name, share in found:
            text.insert(tk.END, "   ", "", SQUARE, name, share)
        text.config(state=tk.DISABLED)
        self._colour_squares()

    def _colour_squares(self) -> None:
        """Colour the squares in the text as in the picture."""
        by_class = self.layers is None or self.layers.bad is None or self.layers.codes is not None
        for name in CLASSES:
            self.subtitle.tag_config(name, foreground=class_colour(name) if by_class else MASK_COLOUR)

    def show(self, layers: Optional[Layers], positions: Any, kept: Any) -> None:
        """Show a micrograph; None while it is being read.

        Parameters
        ----------
        positions : numpy.ndarray, (n, 2)
            x and y in px of the micrograph; NaN if unknown.
        kept : numpy.ndarray, (n,), bool
        """
        self.layers, self._positions, self._kept, self._is_reading = layers, positions, kept, layers is None
        self._colour_squares()
        self.paint()

    def mark(self, kept: Any) -> None:
        """Redraw the coordinates that are now kept instead of rejected, or the reverse."""
        changed, self._kept = np.flatnonzero(kept != self._kept), kept
        for index in changed if self._items else ():
            self.canvas.delete(*self._items[index])
            self._items[index] = self._draw_pick(index)
        self._finish_marks()

    def paint(self) -> None:
        """Draw the picture as large as possible, and the coordinates over it."""
        self.canvas.delete("all")
        room = self.canvas.winfo_width(), self.canvas.winfo_height()
        layers, self._photo = self.layers, None
        if layers is None or layers.grey is None:
            problems = [] if layers is None else ["No picture available.", *layers.problems]
            words = "Loading ..." if self._is_reading else "\n".join(problems)
            self.canvas.create_text(room[0] // 2, room[1] // 2, text=words, width=max(100, room[0] - 40))
            return
        rows, columns = layers.shape
        scale = min(room[0] / columns, room[1] / rows)
        self._size = max(1, round(columns * scale)), max(1, round(rows * scale))
        self._spot = (room[0] - self._size[0]) // 2, (room[1] - self._size[1]) // 2
        painted = paint(layers, self._size, self.on["map"].get(), self.on["mask"].get())
        self._photo = ImageTk.PhotoImage(painted, master=self.canvas)
        self.canvas.create_image(*self._spot, image=self._photo, anchor="nw")
        self._draw_bar(layers.width / self._size[0])
        for line, words in enumerate(layers.problems):
            self.canvas.create_text(8, 8 + 16 * line, text=words, anchor="nw", fill="#a00000", width=room[0] - 16)
        self._mark()

    def _mark(self) -> None:
        """Draw all coordinates, the kept ones on top."""
        self.canvas.delete(PICKS)
        self._items = []
        if self._photo is not None:
            self._items = [()] * len(self._kept)
            for index in np.argsort(self._kept, kind="stable"):
                self._items[index] = self._draw_pick(index)
        self._finish_marks()

    def _finish_marks(self) -> None:
        self.canvas.tag_raise(BAR)
        for name, count in (("kept", self._kept.sum()), ("rejected", (~self._kept).sum())):
            self.words[name].config(text=f"{name} {count}")

    def _draw_pick(self, index: int) -> Tuple[int, ...]:
        """Draw a coordinate with a light rim unless it is hidden; return the canvas items."""
        kept = bool(self._kept[index])
        if not self.on["kept" if kept else "rejected"].get() or np.isnan(self._positions[index, 0]):
            return ()
        rows, columns = self.layers.shape  # type: ignore[union-attr]
        x, y = (self._positions[index] + 0.5) * np.divide(self._size, (columns, rows)) + self._spot
        box = x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS
        if kept:
            rings = (("white", 4), (KEPT, 2))
            return tuple(self.canvas.create_oval(*box, outline=ink, width=wide, tags=PICKS) for ink, wide in rings)
        strokes = [
            (ink, wide, line)
            for ink, wide in (("white", 4), (REJECTED, 2))
            for line in (box, (box[0], box[3], box[2], box[1]))
        ]
        return tuple(self.canvas.create_line(*line, fill=ink, width=wide, tags=PICKS) for ink, wide, line in strokes)

    def _draw_bar(self, scale: float) -> None:
        """Draw the scale bar; ``scale`` is in Å per px."""
        length = bar_length(self._size[0], scale)
        across = length * 10 / scale
        left, bottom = self._spot[0] + 12, self._spot[1] + self._size[1] - 12
        words = self.canvas.create_text(left, bottom - 8, text=f"{length} nm", anchor="sw", tags=BAR)
        wide = max(left + across, self.canvas.bbox(words)[2])
        paper = self.canvas.create_rectangle(left - 6, bottom - 28, wide + 6, bottom + 6, fill="white", tags=BAR)
        self.canvas.itemconfig(paper, outline="")
        self.canvas.tag_lower(paper, words)
        self.canvas.create_rectangle(left, bottom - 5, left + across, bottom, fill="black", tags=BAR)
