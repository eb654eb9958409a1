# SPDX-License-Identifier: GPL-3.0-or-later
"""Heading of the shown micrograph: name, status with the whole reason, grade, and the area of each class."""

from __future__ import annotations

import tkinter as tk
from typing import Optional

from cryoice_scipion.constants import CLASSES, GOOD
from cryoice_scipion.core.images.palette import class_colour
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.micrograph_fields import in_words, shown_values
from cryoice_scipion.core.results.picture_layers import MASK_COLOUR, Layers
from cryoice_scipion.viewers.widgets import NameLabel

SMALLEST = 0.005  # classes with a smaller area fraction are not listed
SQUARE = "■"
MOST_LINES = 8  # of the text; a longer one can be scrolled


class MicrographHeading(tk.Frame):
    """Shows what is known about a micrograph. It is as high as its text."""

    def __init__(self, master: tk.Misc) -> None:
        """Create an empty heading."""
        super().__init__(master, bg="white")
        self.title = NameLabel(self, bg="white", font=("TkDefaultFont", 12, "bold"))
        self.title.grid(row=0, column=0, sticky="ew")
        self.text = tk.Text(self, bg="white", width=1, height=2, wrap=tk.WORD, font="TkDefaultFont", takefocus=0)
        self.text.config(borderwidth=0, highlightthickness=0, cursor="arrow", state=tk.DISABLED)
        self.text.grid(row=1, column=0, sticky="ew", pady=(0, 4))
        self.columnconfigure(0, weight=1)
        self.text.bind("<Configure>", lambda _event: self._fit())

    def describe(self, record: MicrographRecord) -> None:
        """Show name, status, bad area and grade, with the area of each class in the colour of the picture."""
        self.title.show(record.stem)
        words = in_words(shown_values(record))
        if record.particle_diameter:
            words += f", discs of {record.particle_diameter:.0f} Å ({record.diameter_from})"
        if record.reason:
            words += f"\nWhy {record.status}: {record.reason}"
        if record.grade:
            words += f"\nWhy {record.grade}: {record.grade_reason} Confidence {record.grade_confidence:.2f}."
        areas = sorted(((share, name) for name, share in record.areas.items() if name != GOOD), reverse=True)
        found = [(name, f"\u00a0{name}\u00a0{100 * share:.0f}\u00a0%") for share, name in areas if share >= SMALLEST]
        squares = [part for name, share in found for part in ("   ", "", SQUARE, name, share, "")]
        self._write(words + ("\nArea by class:" if found else ""), "", *squares)

    def clear(self) -> None:
        """Show nothing."""
        self.title.show("")
        self._write()

    def _write(self, *parts: str) -> None:
        """Show texts, each followed by its tag."""
        self.text.config(state=tk.NORMAL)
        self.text.delete("1.0", tk.END)
        if parts:
            self.text.insert(tk.END, *parts)
        self.text.config(state=tk.DISABLED)
        self._fit()

    def colour(self, layers: Optional[Layers]) -> None:
        """Colour the squares in the text as in the picture."""
        by_class = layers is None or layers.bad is None or layers.codes is not None
        for name in CLASSES:
            self.text.tag_config(name, foreground=class_colour(name) if by_class else MASK_COLOUR)

    def _fit(self) -> None:
        (lines,) = self.text.count("1.0", "end", "displaylines") or (1,)
        self.text.config(height=min(max(2, lines), MOST_LINES))
