# SPDX-License-Identifier: GPL-3.0-or-later
"""General Tk windows: pages of pictures, and a matplotlib figure."""

from __future__ import annotations

import dataclasses
import tkinter as tk
from pathlib import Path
from typing import Any, List, Sequence

from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg
from PIL import Image, ImageTk
from pyworkflow.gui import Window, centerWindows
from pyworkflow.viewer import View

MARGIN = 8  # px around a picture
CAPTION = 60  # px, approximate height of a caption


@dataclasses.dataclass
class Picture:
    """A picture file and its caption."""

    path: Path
    caption: str


class PicturesView(View):
    """View that opens a window with pages of pictures."""

    def __init__(
        self, title: str, pictures: Sequence[Picture], parent: Any = None, columns: int = 3, rows: int = 2
    ) -> None:
        self._arguments = (title, list(pictures), parent, columns, rows)

    def show(self) -> None:
        """Open the window."""
        open_window(PicturesWindow(*self._arguments))


class FigureView(View):
    """View that opens a window with a matplotlib figure."""

    def __init__(self, title: str, figure: Any, parent: Any = None) -> None:
        self._title, self._figure, self._parent = title, figure, parent

    def show(self) -> None:
        """Open the window."""
        window = Window(self._title, self._parent, minsize=(500, 300))
        canvas = FigureCanvasTkAgg(self._figure, master=window.root)
        canvas.get_tk_widget().grid(row=0, column=0, sticky="news")
        canvas.draw()
        open_window(window)


def open_window(window: Window) -> None:
    """Show a window in the middle of the screen without blocking; pyworkflow's own ``show`` blocks."""
    centerWindows(window.root, dim=window.desiredDimensions())
    window.root.deiconify()
    (window.initial_focus or window.root).focus_set()
    if window.master is None:
        window.root.mainloop()


class PicturesWindow(Window):
    """Shows pages of pictures. Arrow keys and buttons change the page; a click on a picture enlarges it."""

    def __init__(self, title: str, pictures: List[Picture], parent: Any, columns: int, rows: int) -> None:
        Window.__init__(self, title, parent, minsize=(640, 480))
        self.pictures, self.columns, self.number = pictures, columns, columns * rows
        self.page, self._shown = 0, []  # Tk shows a picture only while Python keeps it
        across = (self.root.winfo_screenwidth() - 100) // columns - 2 * MARGIN
        down = (self.root.winfo_screenheight() - 200) // rows - CAPTION - 2 * MARGIN
        self.side = max(160, min(across, down))
        self.frame = tk.Frame(self.root, bg="white")
        self.frame.grid(row=0, column=0, sticky="news")
        self._makeButtons()
        self._fill()

    @property
    def pages(self) -> int:
        """Return the number of pages."""
        return max(1, -(-len(self.pictures) // self.number))

    def turn(self, step: int) -> None:
        """Show another page."""
        page = min(max(self.page + step, 0), self.pages - 1)
        if page != self.page:
            self.page = page
            self._fill()

    def enlarge(self, picture: Picture) -> None:
        """Show one picture in a new window, as large as the screen allows."""
        open_window(PicturesWindow(picture.path.stem, [picture], self, columns=1, rows=1))

    def _makeButtons(self) -> None:
        bar = tk.Frame(self.root)
        if self.pages > 1:
            bar.grid(row=1, column=0, pady=MARGIN)
        self.previous = tk.Button(bar, text="◀ Previous", command=lambda: self.turn(-1))
        self.label = tk.Label(bar, width=36)
        self.next = tk.Button(bar, text="Next ▶", command=lambda: self.turn(1))
        for column, widget in enumerate((self.previous, self.label, self.next)):
            widget.grid(row=0, column=column, padx=MARGIN)
        for key, step in (("<Left>", -1), ("<Prior>", -1), ("<Right>", 1), ("<Next>", 1)):
            self.root.bind(key, lambda _event, step=step: self.turn(step))

    def _fill(self) -> None:
        for widget in self.frame.winfo_children():
            widget.destroy()
        self._shown = []
        start = self.page * self.number
        for index, picture in enumerate(self.pictures[start : start + self.number]):
            cell = self._cell(picture)
            cell.grid(row=index // self.columns, column=index % self.columns, padx=MARGIN, pady=MARGIN, sticky="n")
        last = min(start + self.number, len(self.pictures))
        numbers = str(last) if last == start + 1 else f"{start + 1} to {last}"
        words = f"{numbers} of {len(self.pictures)}" if self.pictures else "no pictures"
        self.label.config(text=f"{words}   (page {self.page + 1} of {self.pages})")
        self.previous.config(state=tk.NORMAL if self.page else tk.DISABLED)
        self.next.config(state=tk.NORMAL if self.page < self.pages - 1 else tk.DISABLED)

    def _cell(self, picture: Picture) -> tk.Frame:
        cell = tk.Frame(self.frame, bg="white")
        try:
            with Image.open(picture.path) as image:
                image.thumbnail((self.side, self.side))
                shown = ImageTk.PhotoImage(image, master=self.root)
            self._shown.append(shown)
            label = tk.Label(cell, image=shown, bg="white", borderwidth=0)
            label.grid(row=0)
            if self.number > 1:
                label.config(cursor="hand2")
                label.bind("<Button-1>", lambda _event: self.enlarge(picture))
        except OSError:
            tk.Label(cell, text="(no picture)", bg="white", width=30, height=8, relief=tk.GROOVE).grid(row=0)
        tk.Label(cell, text=picture.caption, bg="white", wraplength=self.side, justify=tk.LEFT).grid(row=1)
        return cell
