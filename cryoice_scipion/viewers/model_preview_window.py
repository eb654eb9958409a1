# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose a threshold in a window: one micrograph, its map, and the coordinates that a slider keeps."""

from __future__ import annotations

import queue
import tkinter as tk
from tkinter import ttk
from typing import Any, List, Optional, Tuple

import numpy as np
from pyworkflow.gui.dialog import RESULT_CANCEL, RESULT_YES, Dialog

from cryoice_scipion.convert import MicrographRow
from cryoice_scipion.core.errors import CryoIceError, counted
from cryoice_scipion.core.images.palette import REJECTED
from cryoice_scipion.core.images.shortening import shortened
from cryoice_scipion.core.records import MapResult, MicrographTask, Reference
from cryoice_scipion.core.results.picture_layers import Layers
from cryoice_scipion.core.results.threshold_preview import ThresholdPreview
from cryoice_scipion.viewers.micrograph_picture import MicrographPicture
from cryoice_scipion.viewers.model_preview import Preview
from cryoice_scipion.viewers.pick_marks import Marks
from cryoice_scipion.viewers.widgets import NameLabel, Panes, Tooltip, font_of

POLL, PAUSE = 100, 40  # ms between two checks for news; ms without a slider move before the picture is drawn
SIDE = 240  # px, width of the texts
MARGIN = 8  # px
FRAME = 110  # px of the screen that window frames and panels take
LARGEST = 1500, 1000  # px, size of the window at first
DIGITS = 3  # of a threshold, as in the recommendation of a training


class PreviewDialog(Dialog):
    """Show micrographs as the run will screen them; *Apply* sets ``value`` to the threshold."""

    def __init__(self, parent: Any, preview: Preview, threshold: Optional[float]) -> None:
        """Open the window and return when it is closed.

        Parameters
        ----------
        parent : tkinter widget
        preview : Preview
            Maps the micrographs; it is closed with the window.
        threshold : float, optional
            Where the slider starts; None: at the model's recommended threshold, with its own one for masks.
        """
        self.preview, self.value = preview, None  # type: Preview, Optional[float]
        self.applied, self._given = False, threshold  # whether *Apply* was pressed; the value in the form
        self.recommended = preview.model.threshold_for_picks
        self._begin = self.recommended if threshold is None else threshold
        self.rows: List[MicrographRow] = []
        self._mapped: Optional[Tuple[MicrographTask, MapResult]] = None
        self._shown: Optional[ThresholdPreview] = None
        self._reference, self._drawing = None, ""  # type: Optional[Reference], str
        buttons = [("Apply", RESULT_YES), ("Close", RESULT_CANCEL)]
        width, height = parent.winfo_screenwidth() - FRAME, parent.winfo_screenheight() - FRAME
        self._size = min(LARGEST[0], width), min(LARGEST[1], height)
        corner = (width + FRAME - self._size[0]) // 2, FRAME // 4
        title = "Threshold: preview of the run"
        Dialog.__init__(self, parent, title, buttons=buttons, default="Apply", position=corner)

    # ---- widgets --------------------------------------------------------------------------------------------

    def body(self, master: tk.Frame) -> None:
        """Make the widgets: micrographs on the left, the chosen one in the middle, counts on the right."""
        panes = Panes(master)
        panes.grid(row=0, column=0, sticky="news")
        master.rowconfigure(0, weight=1)
        master.columnconfigure(0, weight=1)
        middle, right = tk.Frame(panes, bg="white"), tk.Frame(panes)
        panes.show(self._makeList(panes), 0.2, 120)
        panes.show(middle, 0.58, 300)
        panes.show(right, 0.22, SIDE)
        self.title_label = NameLabel(middle, bg="white", font=("TkDefaultFont", 12, "bold"))
        self.title_label.grid(row=0, column=0, sticky="ew")
        self.picture = MicrographPicture(middle)
        self.picture.grid(row=1, column=0, sticky="news")
        middle.rowconfigure(1, weight=1)
        middle.columnconfigure(0, weight=1)
        self.counts, self.baseline, self.state = (
            tk.Label(right, justify=tk.LEFT, anchor="nw", wraplength=SIDE - MARGIN, fg=colour)
            for colour in ("#1a1a1a", "#5a5a5a", "#1a1a1a")
        )
        for row, label in enumerate((self.counts, self.baseline, self.state)):
            label.grid(row=row, sticky="ew", padx=MARGIN // 2, pady=(0, MARGIN))
        self._makeSlider(master)
        self._say("Reading the input and starting the detector …")
        self._sayBaseline(None, 0)
        self.geometry("{}x{}".format(*self._size))
        self.resizable(True, True)
        self.after(POLL, self._look)

    def _makeList(self, master: tk.Misc) -> tk.Frame:
        frame = tk.Frame(master)
        frame.rowconfigure(1, weight=1)
        frame.columnconfigure(0, weight=1)
        tk.Label(frame, text="Micrographs", anchor="w").grid(row=0, column=0, sticky="ew")
        self.names = tk.Listbox(frame, width=10, exportselection=False)
        bar = ttk.Scrollbar(frame, command=self.names.yview)
        self.names.config(yscrollcommand=bar.set)
        self.names.grid(row=1, column=0, sticky="news")
        bar.grid(row=1, column=1, sticky="ns")
        self.names.bind("<<ListboxSelect>>", lambda _event: self._choose())
        self.names.bind("<Configure>", lambda _event: self._fitNames())
        Tooltip(self.names, self._tip)
        return frame

    def _fitNames(self) -> None:
        """Shorten the names to the width of the list."""
        font, room = font_of(self.names), self.names.winfo_width() - MARGIN
        short, chosen = [shortened(row.name, room, font.measure) for row in self.rows], self.names.curselection()
        if list(self.names.get(0, tk.END)) != short:
            self.names.delete(0, tk.END)
            self.names.insert(tk.END, *short)
            for index in chosen:
                self.names.selection_set(index)

    def _tip(self, event: Any) -> str:
        index = self.names.nearest(event.y)
        box = self.names.bbox(index) if 0 <= index < len(self.rows) else None
        if not box or not box[1] <= event.y < box[1] + box[3] or self.names.get(index) == self.rows[index].name:
            return ""
        return self.rows[index].name

    def _makeSlider(self, master: tk.Frame) -> None:
        frame = tk.Frame(master)
        frame.grid(row=1, column=0, sticky="ew", pady=(MARGIN, 0))
        frame.columnconfigure(1, weight=1)
        tk.Label(frame, text="Threshold (higher removes more)").grid(row=0, column=0, sticky="s", padx=MARGIN)
        self.slider = tk.Scale(frame, from_=0, to=1, resolution=10**-DIGITS, orient=tk.HORIZONTAL, showvalue=True)
        self.slider.set(self._begin)
        self.slider.config(command=lambda _value: self._applySoon())
        self.slider.grid(row=0, column=1, sticky="ew")
        text = f"Recommended: {self.recommended:.{DIGITS}g}"
        self.recommend = tk.Button(frame, text=text, command=lambda: self.slider.set(self.recommended))
        self.recommend.grid(row=0, column=2, sticky="s", padx=MARGIN)

    # ---- news from the preview ------------------------------------------------------------------------------

    def _look(self) -> None:
        """Handle the preview's news; called again and again."""
        while True:
            try:
                kind, value = self.preview.news.get_nowait()
            except queue.Empty:
                break
            getattr(self, f"_on{kind.capitalize()}")(value)
        self.after(POLL, self._look)

    def _onListed(self, rows: List[MicrographRow]) -> None:
        self.rows = sorted(rows, key=lambda row: row.id)
        self._fitNames()
        if self.rows:
            self.names.selection_set(0)
            self._choose()
        else:
            self._say("The input has no micrographs yet. Open this window again when the first ones have arrived.")

    def _onMapped(self, mapped: Tuple[MicrographTask, MapResult]) -> None:
        if mapped[0].id == self._chosen():
            self._mapped = mapped
            self._say("")
            self._show()

    def _onBaseline(self, baseline: Tuple[Reference, int]) -> None:
        reference, total = baseline
        self._sayBaseline(reference, total)
        before, self._reference = self._reference, reference
        if reference.logit_offset != (before.logit_offset if before else 0.0) or reference.one_class is not None:
            self._show()

    def _onFailed(self, line: str) -> None:
        self._say(line, REJECTED)
        if self._mapped is None or self._mapped[0].id != self._chosen():  # do not leave another one's picture
            self._mapped = self._shown = None
            self.counts.config(text="")
            self.picture.show(Layers(problems=[line]), Marks())

    # ---- the shown micrograph -------------------------------------------------------------------------------

    def _chosen(self) -> Optional[int]:
        chosen = self.names.curselection()
        return self.rows[chosen[0]].id if chosen else None

    def _choose(self) -> None:
        key = self._chosen()
        if key is not None:
            name = self.rows[self.names.curselection()[0]].name
            self.title_label.show(name)
            self._say(f"Mapping {name} …")
            self.preview.ask(key)

    def _show(self) -> None:
        """Score the mapped micrograph and show it."""
        if self._mapped is None:
            return
        try:
            settings = self.preview.config, self.preview.model
            self._shown = ThresholdPreview(self.preview.folder, *self._mapped, *settings, self._reference)
        except CryoIceError as error:
            self._say(str(error), REJECTED)
            return
        self._applyThreshold()

    def _applySoon(self) -> None:
        """Apply the threshold once the slider has stopped; each of its steps calls this."""
        if self._drawing:
            self.after_cancel(self._drawing)
        self._drawing = self.after(PAUSE, self._applyThreshold)

    def _applyThreshold(self) -> None:
        self._drawing = ""
        if self._shown is None:
            return
        result = self._shown.apply(self._threshold())
        number = len(result.marks)
        share = f" ({100 * result.kept / number:.0f} %)" if number else ""
        words = f"{result.kept} of {counted(number, 'coordinate')} kept{share}\nbad area {100 * result.bad_area:.1f} %"
        if self._shown.grade:
            words += f"\ngrade {self._shown.grade.name} ({self._shown.grade.confidence:.2f})"
        if result.reason:
            words += f"\nthe micrograph is discarded: {result.reason}"
        self.counts.config(text=words)
        step = self._mapped[1].pixel_size  # type: ignore[index]
        positions = np.array([mark[:2] for mark in result.marks]).reshape(-1, 2)
        kept = np.array([mark[2] for mark in result.marks], dtype=bool)
        marks = Marks(positions, kept, self._shown.diameter / 2 / step, self.preview.config.margin / step)
        self.picture.show(self._shown.layers(result), marks)

    def _sayBaseline(self, reference: Optional[Reference], total: int) -> None:
        """Say how far the session's baseline is measured, and its contrast."""
        given, number = self.preview.config.reference, len(reference.micrographs) if reference else 0
        if given == 0:
            words = (
                "The scores are the model's own: the form asks for no reference micrographs, so nothing is subtracted."
            )
        elif number < total or not total:
            progress = f" ({number} of {counted(total, 'micrograph')})" if total else ""
            words = f"The scores may still change: the baseline of the session is being measured{progress} …"
        elif number >= given:
            words = (
                f"The baseline of the session is measured on the first {counted(given, 'micrograph')}, as in the run."
            )
        else:
            words = (
                f"The baseline of the session is measured on the {counted(total, 'micrograph')} of the input. The run "
                f"measures it on up to {given} if more arrive; scores may then differ a little."
            )
        if reference is not None and reference.contrast == "bright":
            words += " Particles are brighter than the ice, so the micrographs are inverted."
        if self.preview.lacks_gpu:
            words += " This machine has no usable GPU, so the preview uses the CPU."
        self.baseline.config(text=words)

    def _say(self, words: str, colour: str = "#1a1a1a") -> None:
        self.state.config(text=words, fg=colour)

    # ---- the end --------------------------------------------------------------------------------------------

    def apply(self) -> None:
        """Store the slider's value; called when *Apply* is pressed."""
        self.value, self.applied = self._threshold(), True

    def _threshold(self) -> Optional[float]:
        """Return the slider's value; None at the recommended threshold, which an empty field in the form means.

        The model recommends different thresholds for masks and coordinates, so the number would change the masks.
        """
        value = round(float(self.slider.get()), DIGITS)
        if abs(value - self.recommended) >= 10**-DIGITS:
            return value
        return self._given if self._given is not None and abs(self._given - value) < 10**-DIGITS else None

    def destroy(self) -> None:
        """Close the window and end the worker."""
        self.preview.close()
        Dialog.destroy(self)
