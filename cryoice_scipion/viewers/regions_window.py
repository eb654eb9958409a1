# SPDX-License-Identifier: GPL-3.0-or-later
"""Window of the regions that a search has found: a list, the contact sheet, and marks for the next search."""

from __future__ import annotations

import csv
import tkinter as tk
from pathlib import Path
from tkinter import ttk
from typing import Any, Dict, List, Optional, Tuple

from PIL import Image, ImageTk
from pyworkflow.gui import Window
from pyworkflow.viewer import View

from cryoice_scipion.constants import BAD, GOOD
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.regions.labels import LabelledBox
from cryoice_scipion.core.results.review_files import add_labels, read_labels
from cryoice_scipion.core.results.run_folder import REGIONS
from cryoice_scipion.core.results.run_reader import read_records
from cryoice_scipion.core.screening.region_search_files import SHEET, cell_of, columns_within
from cryoice_scipion.viewers.pick_marks import CHOSEN, LABEL_COLOURS
from cryoice_scipion.viewers.screen_window import ScreenWindow
from cryoice_scipion.viewers.screened_run import ScreenedRun
from cryoice_scipion.viewers.viewer_screen import ScreenView
from cryoice_scipion.viewers.widgets import Flow, Panes, bind_key
from cryoice_scipion.viewers.windows import open_window

COLUMNS = {"#": 36, "Class": 116, "Conf.": 48, "Size (Å)": 66, "Marked": 66, "Micrograph": 100}  # widths, px
NUMBERS = ("#", "Conf.", "Size (Å)")
MOST = 2000  # rows of the list
EDGE = 8  # px below and right of the contact sheet
NEXT = "Duplicate the run and execute the new run to search again with the marks."
SHOW, RIGHT, WRONG = "Show on the micrograph", "Right: mark as bad (B)", "Wrong: mark as good (G)"


class RegionsView(View):
    """View that opens the window of a search."""

    def __init__(self, title: str, folder: Path, run: ScreenedRun, top: int, parent: Any = None) -> None:
        """Take the folder of the search, the screening that it searched, and the number of regions on the sheet."""
        self._arguments = (title, folder, run, top, parent)
        self.window: Optional[RegionsWindow] = None

    def show(self) -> None:
        """Open the window."""
        self.window = RegionsWindow(*self._arguments)
        open_window(self.window)


class RegionsWindow(Window):
    """Shows the regions, best first. Right and wrong ones are marked in the labels of the screening."""

    def __init__(self, title: str, folder: Path, run: ScreenedRun, top: int, parent: Any = None) -> None:
        """Read the files of a search; see :class:`RegionsView`."""
        super().__init__(f"{title}: regions", parent, minsize=(800, 480))
        self.run, self._top = run, top
        self.screening: Optional[ScreenWindow] = None
        self._sheet_file = folder / SHEET
        with open(folder / REGIONS, encoding="utf-8", newline="") as stream:
            self.rows: List[Dict[str, str]] = list(csv.DictReader(stream))
        self._sheet: Optional[Image.Image] = None  # the contact sheet as the search wrote it
        self._shown: Any = None  # the contact sheet; Tk shows a picture only while Python keeps it
        self._columns = 0
        self._make()
        self._fill()

    def desiredDimensions(self) -> Tuple[int, int]:
        """Return the size of the window: room for the contact sheet on a large screen."""
        return min(1900, self.root.winfo_screenwidth() - 10), min(1080, self.root.winfo_screenheight() - 60)

    def _make(self) -> None:
        self.root.config(bg="white", padx=10, pady=8)
        panes = Panes(self.root)
        panes.grid(row=0, column=0, sticky="news")
        panes.show(self._make_list(panes), 0.36, 260)
        panes.show(self._make_sheet(panes), 0.64, 300)
        bar = Flow(self.root, bg="white")
        bar.grid(row=1, column=0, sticky="ew", pady=(6, 0))
        acts = {SHOW: self.show_on_micrograph, RIGHT: lambda: self.mark(False), WRONG: lambda: self.mark(True)}
        self.buttons = {
            words: bar.add(tk.Button(bar, text=words, command=act, padx=6, pady=1)) for words, act in acts.items()
        }
        self.told = bar.add(tk.Label(bar, bg="white", fg="#333333", justify=tk.LEFT, wraplength=700))
        self.root.columnconfigure(0, weight=1)
        self.root.rowconfigure(0, weight=1)
        bind_key(self.root, "<Key-b>", lambda: self.mark(False))
        bind_key(self.root, "<Key-g>", lambda: self.mark(True))
        self.initial_focus = self.tree

    def _make_list(self, master: tk.Misc) -> tk.Frame:
        frame = tk.Frame(master, bg="white")
        self.tree = ttk.Treeview(frame, columns=list(COLUMNS), show="headings", selectmode="extended")
        for name, width in COLUMNS.items():
            anchor = "e" if name in NUMBERS else "w"
            self.tree.column(name, width=width, minwidth=30, anchor=anchor, stretch=name == "Micrograph")
            self.tree.heading(name, text=name)
        for kind, colour in LABEL_COLOURS.items():
            self.tree.tag_configure(kind, foreground=colour)
        rolling = ttk.Scrollbar(frame, command=self.tree.yview)
        self.tree.configure(yscrollcommand=rolling.set)
        self.tree.grid(row=0, column=0, sticky="news")
        rolling.grid(row=0, column=1, sticky="ns")
        frame.rowconfigure(0, weight=1)
        frame.columnconfigure(0, weight=1)
        self.tree.bind("<<TreeviewSelect>>", lambda _event: self._point())
        self.tree.bind("<Double-Button-1>", lambda _event: self.show_on_micrograph())
        return frame

    def _make_sheet(self, master: tk.Misc) -> tk.Frame:
        frame = tk.Frame(master, bg="white")
        self.canvas = tk.Canvas(frame, bg="white", highlightthickness=0)
        down = ttk.Scrollbar(frame, command=self.canvas.yview)
        self.canvas.config(yscrollcommand=down.set)
        self.canvas.grid(row=0, column=0, sticky="news")
        down.grid(row=0, column=1, sticky="ns")
        frame.rowconfigure(0, weight=1)
        frame.columnconfigure(0, weight=1)
        if self._sheet_file.is_file():
            with Image.open(self._sheet_file) as image:
                self._sheet = image.convert("RGB")
            self.canvas.bind("<Configure>", lambda event: self._arrange(columns_within(event.width)))
        else:
            self.canvas.create_text(20, 20, text="The search has found no region.", anchor="nw")
        for event, turns in (("<Button-4>", -1), ("<Button-5>", 1)):
            self.canvas.bind(event, lambda _event, turns=turns: self.canvas.yview_scroll(turns, "units"))
        self.canvas.bind("<Button-1>", self._clicked)
        self.canvas.bind("<Double-Button-1>", lambda _event: self.show_on_micrograph())
        return frame

    # ---- list and sheet -------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Fill the list, with what is marked in the labels of the screening."""
        try:
            marked = read_labels(self.run.folder)
        except CryoIceError as error:
            marked = {}
            self._say(str(error), "#a00000")
        for index, row in enumerate(self.rows[:MOST]):
            label = next((one.label for one in marked.get(row["micrograph"], []) if one.edges == _box(row)), "")
            size = f"{float(row['diameter_A']):,.0f}"
            shown = (row["id"], row["class"], f"{float(row['confidence']):.2f}", size, label, row["micrograph"])
            tags = (GOOD if label == GOOD else BAD,) if label else ()
            if self.tree.exists(str(index)):
                self.tree.item(str(index), values=shown, tags=tags)
            else:
                self.tree.insert("", tk.END, iid=str(index), values=shown, tags=tags)
        if self.rows and not self.tree.selection():
            self.tree.selection_set("0")

    @property
    def chosen(self) -> List[Dict[str, str]]:
        """Return the selected regions."""
        return [self.rows[int(key)] for key in self.tree.selection()]

    def _arrange(self, columns: int) -> None:
        """Show the contact sheet in so many columns."""
        if self._sheet is None or columns == self._columns:
            return
        self._columns = columns
        cells = self._cells()
        right, bottom = (max(edges) for edges in zip(*(cell[2:] for cell in cells.values())))
        shown = Image.new("RGB", (right + EDGE, bottom + EDGE), "white")
        for key, cell in cells.items():
            shown.paste(self._sheet.crop(cell_of(int(key))), cell[:2])
        self._shown = ImageTk.PhotoImage(shown, master=self.root)
        self.canvas.delete("all")
        self.canvas.create_image(0, 0, image=self._shown, anchor="nw")
        self.canvas.config(scrollregion=(0, 0, *shown.size))
        self._point()

    def _cells(self) -> Dict[str, Tuple[int, int, int, int]]:
        """Return the shown cells of the contact sheet by the key of their row; later regions have none."""
        keys = self.tree.get_children()[: self._top] if self._columns else ()
        return {key: cell_of(int(key), self._columns) for key in keys}

    def _point(self) -> None:
        """Frame the selected regions on the contact sheet."""
        self.canvas.delete("chosen")
        cells, selection = self._cells(), self.tree.selection()
        for left, top, right, bottom in (cells[key] for key in selection if key in cells):
            self.canvas.create_rectangle(
                left - 3, top - 3, right + 3, bottom + 2, outline=CHOSEN, width=5, tags="chosen"
            )
        for button in self.buttons.values():
            button.config(state=tk.NORMAL if selection else tk.DISABLED)

    def _clicked(self, event: Any) -> None:
        x, y = self.canvas.canvasx(event.x), self.canvas.canvasy(event.y)
        for key, (left, top, right, bottom) in self._cells().items():
            if left <= x <= right and top <= y <= bottom:
                self.tree.selection_set(key)
                self.tree.see(key)
                self.tree.focus_set()

    # ---- actions --------------------------------------------------------------------------------------------

    def show_on_micrograph(self) -> None:
        """Show the first selected region in the window of the screening."""
        if not self.chosen:
            return
        row = self.chosen[0]
        keys = {record.stem: record.id for record in read_records(self.run.folder)}
        if self.screening is None or not self.screening.root.winfo_exists():
            view = ScreenView(self.run, self.master or self)  # the project's window can open a training
            view.show()
            self.screening = view.window
        if self.screening is not None and row["micrograph"] in keys:
            x, y, width, height = _box(row)
            self.screening.root.lift()
            self.screening.labelling.look()
            self.screening.go_to(keys[row["micrograph"]], (x, y, x + width, y + height))

    def mark(self, is_good: bool) -> None:
        """Mark the selected regions as good, or as bad with their class, in the labels of the screening."""
        number, new = len(self.chosen), {}  # type: int, Dict[str, List[LabelledBox]]
        if not number:
            return
        for row in self.chosen:
            edges = dict(zip(("x", "y", "width", "height"), _box(row)))
            label = {"good": True} if is_good else {"class": row["class"]}
            new.setdefault(row["micrograph"], []).append(LabelledBox.make(**edges, **label))
        try:
            add_labels(self.run.folder, new)
        except CryoIceError as error:
            self._say(str(error), "#a00000")
            return
        self._say(f"{number} region{'s' * (number > 1)} marked as {GOOD if is_good else BAD}. {NEXT}")
        self._fill()

    def _say(self, words: str, colour: str = "#333333") -> None:
        self.told.config(text=words, fg=colour)


def _box(row: Dict[str, str]) -> Tuple[float, float, float, float]:
    """Return left and top edge, width and height of a region, px of the micrograph."""
    x, y, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
    return x, y, width, height
