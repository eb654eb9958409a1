# SPDX-License-Identifier: GPL-3.0-or-later
"""Window of a model: training curves, accuracy, worst disagreements with the labels, and the model card."""

from __future__ import annotations

import csv
import tkinter as tk
from pathlib import Path
from tkinter import ttk
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple, Union

from PIL import Image, ImageTk, UnidentifiedImageError
from pyworkflow.gui import Window
from pyworkflow.viewer import View

from cryoice_scipion.core.detectors.model_folder import read_card
from cryoice_scipion.core.reports.mistakes import PICTURE, TABLE
from cryoice_scipion.viewers.dashboard import DashboardView, has_dashboard, missing
from cryoice_scipion.viewers.markdown_text import MarkdownText
from cryoice_scipion.viewers.windows import open_window

SIZE = (1160, 670)  # px
MARGIN = 10  # px
POLL = 300  # ms between two looks whether the dashboard has started
SCALES = (0.6, 1.5)  # smallest and largest scale of plots, so that they stay legible and sharp
ROWS = 6  # visible rows of the table
COLUMNS = {"number": 60, "label": 120, "p_bad": 70, "micrograph": 480, "x": 80, "y": 80, "origin": 110}  # px
HEADINGS = {"number": "No.", "label": "label", "p_bad": "P(BAD)", "x": "x (px)", "y": "y (px)"}


Picture = Union[Image.Image, str]  # or the reason why it cannot be shown


class Plots(NamedTuple):
    """A tab of plots: title, files, and an explanation for the user."""

    title: str
    names: Sequence[str]
    words: str


PLOTS = (
    Plots("Training", ("curves.png",), "Training and validation loss should both decrease. A rising validation loss "
          "means overfitting. If a new network is trained, the epoch with the lowest validation loss is kept."),
    Plots("ROC, precision and recall", ("roc.png", "precision_recall.png"), "How well the model separates good and bad "
          "positions on micrographs that were not used for training. The dot marks the recommended threshold."),
    Plots("Calibration", ("calibration.png",), "On the diagonal, probabilities are correct: of the positions with "
          "P(BAD) = 0.8, 80 % are bad. The lower plot shows how often each probability occurs."),
)  # fmt: skip
MISTAKES = (
    "The positions where the model and the labels disagree most, on micrographs that were not used for training. "
    "Correct wrong labels and train again. Ctrl+C copies the selected rows."
)


class ModelView(View):
    """View that opens the window of a model folder."""

    def __init__(self, title: str, folder: Path, parent: Any = None) -> None:
        self._arguments = (title, folder, parent)

    def show(self) -> None:
        """Open the window."""
        open_window(ModelWindow(*self._arguments))


class ModelWindow(Window):
    """Shows the contents of a model folder in tabs; missing files, as in older models, have no tab."""

    def __init__(self, title: str, folder: Path, parent: Any = None) -> None:
        Window.__init__(self, title, parent, minsize=(640, 480))
        self.folder = folder
        width, height = self.root.winfo_screenwidth() - 60, self.root.winfo_screenheight() - 160
        self.tabs = ttk.Notebook(self.root, width=min(SIZE[0], width), height=min(SIZE[1], height))
        self.tabs.grid(row=0, column=0, sticky="news", padx=MARGIN, pady=MARGIN)
        for page in PLOTS:
            paths = [folder / name for name in page.names if (folder / name).is_file()]
            if paths:
                self._add(page.title, page.words, lambda frame, paths=paths: self._plots(frame, paths))
        if (folder / PICTURE).is_file():
            self._add("Hardest mistakes", MISTAKES, self._mistakes)
        if read_card(folder):
            self._add("Model card", "", self._card)
        if has_dashboard(folder):
            bar = tk.Frame(self.root)
            bar.grid(row=1, column=0, sticky="ew", padx=MARGIN, pady=(0, MARGIN))
            self.dashboard = tk.Button(bar, text="Open dashboard (TensorBoard)", command=self.open_dashboard)
            self.dashboard.pack(side=tk.RIGHT)
            self.told = tk.Entry(bar, state="readonly", borderwidth=0, highlightthickness=0)  # its text can be copied
            self.told.pack(side=tk.LEFT, fill=tk.X, expand=True)

    def open_dashboard(self) -> None:
        """Open the dashboard in the browser, or show how to install TensorBoard."""
        problem = missing()
        if problem:
            self.showError(problem)
        else:
            view = DashboardView(self.folder)
            view.show()
            self._tell(view)

    def _tell(self, view: DashboardView) -> None:
        """Show the address of the dashboard once it has started; there may be no browser on this machine."""
        words, is_starting = view.state()
        self.told.config(state=tk.NORMAL)
        self.told.delete(0, tk.END)
        self.told.insert(0, words)
        self.told.config(state="readonly")
        if is_starting:
            self.root.after(POLL, self._tell, view)

    @staticmethod
    def can_show(folder: Path) -> bool:
        """Return whether a model folder contains anything that this window shows."""
        return any((folder / name).is_file() for page in PLOTS for name in page.names) or bool(read_card(folder))

    def _add(self, title: str, words: str, fill: Callable[[tk.Frame], None]) -> None:
        """Add a tab with an explanation at the top and the content that ``fill`` creates below."""
        page = tk.Frame(self.tabs, bg="white")
        self.tabs.add(page, text=title)
        page.rowconfigure(1, weight=1)
        page.columnconfigure(0, weight=1)
        if words:
            label = tk.Label(page, text=words, bg="white", justify=tk.LEFT, anchor="w")
            label.grid(row=0, column=0, sticky="ew", padx=MARGIN, pady=MARGIN)
            label.bind("<Configure>", lambda event: event.widget.config(wraplength=event.width))
        frame = tk.Frame(page, bg="white")
        frame.grid(row=1, column=0, sticky="news")
        frame.rowconfigure(0, weight=1)
        frame.columnconfigure(0, weight=1)
        fill(frame)

    def _plots(self, frame: tk.Frame, paths: Sequence[Path]) -> None:
        """Show plots side by side, as large as possible."""
        canvas, plots = self._pictures(frame, paths)
        sizes = [plot.size for plot in plots if isinstance(plot, Image.Image)]

        def fit(event: Any) -> None:
            width, height = sum(size[0] for size in sizes), max(size[1] for size in sizes)
            scale = min((event.width - MARGIN * len(sizes)) / width, (event.height - MARGIN) / height)
            _draw(canvas, plots, min(max(scale, SCALES[0]), SCALES[1]))

        if sizes:
            canvas.bind("<Configure>", fit)

    def _pictures(self, frame: tk.Frame, paths: Sequence[Path]) -> Tuple[tk.Canvas, List[Picture]]:
        """Show pictures side by side at full size, with scroll bars if the window is smaller."""
        canvas, pictures = tk.Canvas(frame, bg="white", highlightthickness=0), [_read(path) for path in paths]
        canvas.grid(row=0, column=0, sticky="news")
        _draw(canvas, pictures)
        for orient, view, sticky, cell in (
            (tk.VERTICAL, "yview", "ns", {"row": 0, "column": 1}),
            (tk.HORIZONTAL, "xview", "ew", {"row": 1, "column": 0}),
        ):
            bar = ttk.Scrollbar(frame, orient=orient, command=getattr(canvas, view))
            bar.grid(sticky=sticky, **cell)
            canvas.config(**{f"{view[0]}scrollcommand": lambda low, high, bar=bar: _set_or_hide(bar, low, high)})
        for event, step in (("<Button-4>", -1), ("<Button-5>", 1)):
            canvas.bind(event, lambda _event, step=step: canvas.yview_scroll(step, "units"))
        return canvas, pictures

    def _mistakes(self, frame: tk.Frame) -> None:
        """Show the picture of the patches above a table with their full micrograph names."""
        split = ttk.PanedWindow(frame, orient=tk.VERTICAL)
        split.grid(row=0, column=0, sticky="news")
        upper, lower = tk.Frame(split, bg="white"), tk.Frame(split, bg="white")
        for part in (upper, lower):
            part.rowconfigure(0, weight=1)
            part.columnconfigure(0, weight=1)
        split.add(upper, weight=1)
        split.add(lower, weight=0)
        self._pictures(upper, [self.folder / PICTURE])
        self.mistakes = _table(lower, read_mistakes(self.folder))

    def _card(self, frame: tk.Frame) -> None:
        text = MarkdownText(frame, read_card(self.folder))
        bar = ttk.Scrollbar(frame, command=text.yview)
        text.config(yscrollcommand=bar.set)
        text.grid(row=0, column=0, sticky="news")
        bar.grid(row=0, column=1, sticky="ns")


def read_mistakes(folder: Path) -> List[Dict[str, str]]:
    """Return the rows of mistakes.csv as text; none if the file does not exist."""
    if not (folder / TABLE).is_file():
        return []
    with open(folder / TABLE, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _read(path: Path) -> Picture:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        return f"{path.name}: cannot be shown ({error})"


def _draw(canvas: tk.Canvas, pictures: Sequence[Picture], scale: float = 1.0) -> None:
    """Draw pictures side by side; for an unreadable one, draw the reason."""
    canvas.delete("all")
    canvas.shown, left = [], 0  # type: ignore[attr-defined]  # Tk shows a picture only while Python keeps it
    for picture in pictures:
        if isinstance(picture, str):
            canvas.create_text(left + MARGIN, MARGIN, text=picture, anchor="nw")
            continue
        size = round(picture.width * scale), round(picture.height * scale)
        resized = picture if size == picture.size else picture.resize(size, Image.LANCZOS)
        canvas.shown.append(ImageTk.PhotoImage(resized, master=canvas))  # type: ignore[attr-defined]
        canvas.create_image(left, 0, image=canvas.shown[-1], anchor="nw")  # type: ignore[attr-defined]
        left += size[0] + MARGIN
    canvas.config(scrollregion=canvas.bbox("all"))


def _table(frame: tk.Frame, rows: List[Dict[str, str]]) -> ttk.Treeview:
    table = ttk.Treeview(frame, columns=list(COLUMNS), show="headings", height=ROWS, selectmode="extended")
    for name, width in COLUMNS.items():
        table.heading(name, text=HEADINGS.get(name, name))
        table.column(name, width=width, stretch=name == "micrograph", anchor="w")
    for row in rows:
        table.insert("", tk.END, values=[row.get(name, "") for name in COLUMNS])
    bar = ttk.Scrollbar(frame, command=table.yview)
    table.config(yscrollcommand=bar.set)
    table.grid(row=0, column=0, sticky="news")
    bar.grid(row=0, column=1, sticky="ns")
    table.bind("<Control-c>", lambda _event: _copy(table))
    return table


def _copy(table: ttk.Treeview) -> None:
    """Copy the selected rows to the clipboard, separated by tabs."""
    lines = ["\t".join(map(str, table.item(item, "values"))) for item in table.selection()]
    table.clipboard_clear()
    table.clipboard_append("\n".join(lines))


def _set_or_hide(bar: ttk.Scrollbar, low: str, high: str) -> None:
    """Update a scroll bar, and hide it if there is nothing to scroll."""
    bar.set(low, high)
    if float(low) <= 0 and float(high) >= 1:
        bar.grid_remove()
    else:
        bar.grid()
