# SPDX-License-Identifier: GPL-3.0-or-later
"""Panel that shows one micrograph: zoom, pan, overlays, low-pass filter and contrast."""

from __future__ import annotations

import dataclasses
import tkinter as tk
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np
from PIL import ImageTk

from cryoice_scipion.core.images.caption import bar_length
from cryoice_scipion.core.images.palette import KEPT, REJECTED
from cryoice_scipion.core.images.thumbnails import LOW_PASS
from cryoice_scipion.core.results.picture_layers import LOW_PASSES, MAP_COLOUR, Box, Layers, paint, read_grey
from cryoice_scipion.viewers.background import Background
from cryoice_scipion.viewers.pick_marks import Marks, draw_marks
from cryoice_scipion.viewers.viewport import STEP, Viewport
from cryoice_scipion.viewers.widgets import Flow, Switch, bind_key

SWITCHES = {  # overlays: symbol, its colour, label, whether it is on at first
    "map": ("■", MAP_COLOUR, "P(BAD) map", False),
    "mask": ("▢", "#555555", "bad area", True),
    "kept": ("○", KEPT, "kept", True),
    "rejected": ("✕", REJECTED, "rejected", True),
}
BAR = "bar"  # tag of the scale bar
MAGNIFIED = 1.3  # px of the canvas per px of the stored picture from which more detail is read
AROUND = 3.0  # of the longer side of a box: the square that is shown around it
CLICK = 4  # px that the mouse may move in a click
SETTLE = 200  # ms after the last move of the slider until the micrograph is filtered
FRAME = 15  # ms between two pictures while the mouse moves


class MicrographPicture(tk.Frame):
    """Shows a micrograph. The wheel zooms, dragging pans, and a double click shows the whole micrograph."""

    def __init__(self, master: tk.Misc, on_click: Optional[Callable[[float, float, int], bool]] = None) -> None:
        """Create an empty panel.

        Parameters
        ----------
        on_click : callable, optional
            Called with a position (px of the micrograph) and the number of the mouse button; returns whether the click
            was used. A double click whose clicks were used does not change the view.
        """
        super().__init__(master, bg="white")
        self.layers: Optional[Layers] = None
        self.marks, self.view = Marks(), Viewport()
        self._on_click = on_click
        self._is_reading = False
        self._photo: Any = None  # Tk shows a picture only while Python keeps it
        self._detail: Tuple[Any, Any] = (None, None)  # path and low-pass filter; its grey picture
        self._pressed: Optional[Tuple[int, int, bool]] = None  # where the button went down; whether it is a drag
        self._last, self._is_used = (0, 0), False  # position of the mouse in a drag; whether the last click was used
        self._painting, self._filtering = "", ""  # scheduled calls
        self.on: Dict[str, tk.BooleanVar] = {}
        self.switches: Dict[str, Switch] = {}
        self._make()
        self._background = Background(self, lambda words: self.note.config(text=words))

    def _make(self) -> None:
        self.canvas = tk.Canvas(self, bg="#eeeeee", highlightthickness=0, width=320, height=240)
        self.canvas.grid(row=0, column=0, sticky="news")
        bar = Flow(self, bg="white")
        bar.grid(row=1, column=0, sticky="ew", pady=(6, 0))
        for name, (sign, colour, words, on) in SWITCHES.items():
            self.on[name] = tk.BooleanVar(self, on)
            change: Callable[[], None] = self.paint if name in ("map", "mask") else self._mark
            self.switches[name] = bar.add(Switch(bar, (sign, colour), words, self.on[name], change))
        self.low_pass = self._slider(bar, "Low-pass (Å)", LOW_PASSES, 5, LOW_PASS, self._filter_soon)
        self.contrast = self._slider(bar, "Contrast", (0.5, 4.0), 0.1, 1.0, self._paint_soon)
        self.fit = bar.add(tk.Button(bar, text="Fit", command=self._fit, pady=0))
        self.note = bar.add(tk.Label(bar, bg="white", fg="#666666", wraplength=380, justify=tk.LEFT))
        self.rowconfigure(0, weight=1)
        self.columnconfigure(0, weight=1)
        canvas = self.canvas
        canvas.bind("<Configure>", lambda event: self._resize(event.width, event.height))
        canvas.bind("<Button-4>", lambda event: self._zoom(STEP, event.x, event.y))
        canvas.bind("<Button-5>", lambda event: self._zoom(1 / STEP, event.x, event.y))
        canvas.bind("<MouseWheel>", lambda event: self._zoom(STEP if event.delta > 0 else 1 / STEP, event.x, event.y))
        canvas.bind("<Button-1>", self._press)
        canvas.bind("<B1-Motion>", self._drag)
        canvas.bind("<ButtonRelease-1>", self._release)
        canvas.bind("<Double-Button-1>", self._double)
        canvas.bind("<Button-3>", lambda event: self._click(event.x, event.y, 3))

    @staticmethod
    def _slider(
        bar: Flow, words: str, ends: Tuple[float, float], step: float, value: float, moved: Callable[[], None]
    ) -> tk.Scale:
        frame = tk.Frame(bar, bg="white")
        tk.Label(frame, text=words, bg="white").pack(side=tk.LEFT)
        shown = tk.Label(frame, bg="white", width=4, anchor="w")
        scale = tk.Scale(frame, from_=ends[0], to=ends[1], resolution=step, orient=tk.HORIZONTAL, showvalue=False)
        scale.set(value)
        shown.config(text=f"{value:g}")

        def change(text: str) -> None:
            shown.config(text=f"{float(text):g}")
            moved()

        scale.config(bg="white", highlightthickness=0, troughcolor="#dddddd", length=75, width=12, command=change)
        scale.pack(side=tk.LEFT)
        shown.pack(side=tk.LEFT)
        bar.add(frame)
        return scale

    def show(self, layers: Optional[Layers], marks: Marks) -> None:
        """Show a micrograph; None while it is being read."""
        if layers is not None and (self.layers is None or layers.path != self.layers.path):
            self.note.config(text="")
            self.view.show(layers.shape if layers.grey is not None else (1, 1))
        if layers is None:
            self._detail = None, None  # it may be screened again, because its file is another
        self.layers, self.marks, self._is_reading = layers, marks, layers is None
        self.paint()

    def clear(self) -> None:
        """Show no micrograph."""
        self.show(None, Marks())
        self._is_reading = False
        self.paint()
        self._mark()

    def mark(self, **changes: Any) -> None:
        """Change coordinates or labels; see :class:`Marks`."""
        self.marks = dataclasses.replace(self.marks, **changes)
        self._mark()

    def paint(self) -> None:
        """Draw the visible part of the micrograph, and the coordinates over it."""
        self._painting = ""
        self.canvas.delete("all")
        room = self.canvas.winfo_width(), self.canvas.winfo_height()
        layers, self._photo = self.layers, None
        if layers is None or layers.grey is None:
            problems = [] if layers is None else ["No picture available.", *layers.problems]
            words = "Loading ..." if self._is_reading else "\n".join(problems)
            self.canvas.create_text(room[0] // 2, room[1] // 2, text=words, width=max(100, room[0] - 40))
            return
        box, spot, size = self.view.part()
        layers = dataclasses.replace(layers, grey=self._grey(layers))
        painted = paint(layers, size, self.on["map"].get(), self.on["mask"].get(), box, float(self.contrast.get()))
        self._photo = ImageTk.PhotoImage(painted, master=self.canvas)
        self.canvas.create_image(*spot, image=self._photo, anchor="nw")
        for line, words in enumerate(layers.problems):
            self.canvas.create_text(8, 8 + 16 * line, text=words, anchor="nw", fill="#a00000", width=room[0] - 16)
        self._mark()
        self._draw_bar(layers.width / layers.shape[1] / self.view.scale)

    def _mark(self) -> None:
        """Draw all coordinates."""
        kept = self.marks.kept
        for name, count in (("kept", kept.sum()), ("rejected", (~kept).sum())):
            self.switches[name].words.config(text=f"{name} {count}")
        if self._photo is not None:
            draw_marks(self.canvas, self.view, self.marks, (self.on["rejected"].get(), self.on["kept"].get()))
            self.canvas.tag_raise(BAR)

    def _draw_bar(self, scale: float) -> None:
        """Draw the scale bar; ``scale`` is in Å per px."""
        _, spot, size = self.view.part()
        length = bar_length(size[0], scale)
        across = length * 10 / scale
        left, bottom = spot[0] + 12, spot[1] + size[1] - 12
        words = self.canvas.create_text(left, bottom - 8, text=f"{length} nm", anchor="sw", tags=BAR)
        wide = max(left + across, self.canvas.bbox(words)[2])
        paper = self.canvas.create_rectangle(left - 6, bottom - 28, wide + 6, bottom + 6, fill="white", tags=BAR)
        self.canvas.itemconfig(paper, outline="")
        self.canvas.tag_lower(paper, words)
        self.canvas.create_rectangle(left, bottom - 5, left + across, bottom, fill="black", tags=BAR)

    # ---- grey levels ----------------------------------------------------------------------------------------

    def _grey(self, layers: Layers) -> Any:
        """Return the grey picture: the stored one, or one with more detail or another filter once it is read."""
        low_pass = float(self.low_pass.get())
        stored = self.view.scale * layers.shape[1] / np.asarray(layers.grey).shape[1]  # px of the canvas per its px
        if low_pass == LOW_PASS and stored <= MAGNIFIED:
            return layers.grey
        wanted = layers.path, low_pass
        if self._detail[0] == wanted:
            return layers.grey if self._detail[1] is None else self._detail[1]
        before, self._detail = self._detail, (wanted, None)
        pixel_size = layers.width / layers.shape[1]
        self.note.config(text="reading ...")

        def read() -> Any:
            return read_grey(layers.path, pixel_size, low_pass) if self._detail[0] == wanted else None

        def show(grey: Any) -> None:
            if self._detail[0] == wanted:
                self.note.config(text="")
                self._detail = wanted, grey
                self.paint()

        self._background.run(read, show)
        return before[1] if before[0] and before[0][0] == layers.path and before[1] is not None else layers.grey

    def _filter_soon(self) -> None:
        if self._filtering:
            self.after_cancel(self._filtering)
        self._filtering = self.after(SETTLE, self._filter)

    def _filter(self) -> None:
        self._filtering = ""
        self.paint()

    # ---- mouse ----------------------------------------------------------------------------------------------

    def _resize(self, width: int, height: int) -> None:
        self.view.resize(width, height)
        self.paint()

    def _paint_soon(self) -> None:
        if not self._painting:
            self._painting = self.after(FRAME, self.paint)

    def _zoom(self, factor: float, x: int, y: int) -> None:
        self.view.zoom(factor, x, y)
        self._paint_soon()

    def bind_keys(self, root: tk.Misc) -> None:
        """Bind the keys that magnify."""
        for key, turns in (("<plus>", 1), ("<KP_Add>", 1), ("<minus>", -1), ("<KP_Subtract>", -1)):
            bind_key(root, key, lambda turns=turns: self.zoom_in_middle(turns))

    def zoom_in_middle(self, turns: int) -> None:
        """Magnify as turns of the mouse wheel do, around the middle."""
        self._zoom(STEP**turns, self.view.width // 2, self.view.height // 2)

    def look_at(self, box: Box) -> None:
        """Magnify a box with its surroundings."""
        left, top, right, bottom = box
        self.view.look_at((left + right) / 2, (top + bottom) / 2, AROUND * max(right - left, bottom - top))
        self._paint_soon()

    def _fit(self) -> None:
        self.view.fit()
        self._paint_soon()

    def _press(self, event: Any) -> None:
        self.canvas.focus_set()
        self._pressed, self._last = (event.x, event.y, False), (event.x, event.y)

    def _drag(self, event: Any) -> None:
        if self._pressed is None:
            return
        x, y, is_drag = self._pressed
        if is_drag or max(abs(event.x - x), abs(event.y - y)) > CLICK:
            self._pressed = x, y, True
            self.view.pan(event.x - self._last[0], event.y - self._last[1])
            self._last = event.x, event.y
            self._paint_soon()

    def _release(self, event: Any) -> None:
        pressed, self._pressed = self._pressed, None
        if pressed is not None and not pressed[2]:
            self._click(event.x, event.y, 1)

    def _click(self, x: int, y: int, button: int) -> None:
        self._is_used = False
        across, down = self.view.to_micrograph(x, y)
        inside = 0 <= across < self.view.columns and 0 <= down < self.view.rows
        if self._on_click is not None and self._photo is not None and inside:
            self._is_used = self._on_click(across - 0.5, down - 0.5, button)

    def _double(self, event: Any) -> None:
        if self._is_used:  # two quick clicks mark two places
            self._press(event)
        else:
            self._fit()
