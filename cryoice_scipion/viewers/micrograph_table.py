# SPDX-License-Identifier: GPL-3.0-or-later
"""Table of the micrographs of a run, with sorting, filtering and navigation."""

from __future__ import annotations

import tkinter as tk
from tkinter import ttk
from tkinter.font import Font
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from cryoice_scipion.constants import ACCEPTED, ALL_GRADES, DISCARDED, FAILED, GOOD_GRADES
from cryoice_scipion.core.images.shortening import shortened
from cryoice_scipion.core.results.micrograph_fields import shown_fields
from cryoice_scipion.core.results.run_reader import Numbers, Records
from cryoice_scipion.viewers.widgets import Flow, Tooltip, bind_key

ALL = "all"
NOT_ACCEPTED = "discarded or failed"
FILTERS: Dict[str, Tuple[str, ...]] = {
    ALL: (ACCEPTED, DISCARDED, FAILED),
    ACCEPTED: (ACCEPTED,),
    NOT_ACCEPTED: (DISCARDED, FAILED),
}
SELECTED = "selected on the map"  # a filter, once micrographs are selected
ANY_GRADE, BAD_OR_UNSURE = "all grades", "bad or unsure"
GRADES: Dict[str, Tuple[str, ...]] = {
    ANY_GRADE: (*ALL_GRADES, ""),
    BAD_OR_UNSURE: tuple(name for name in ALL_GRADES if name not in GOOD_GRADES),
    **{name: (name,) for name in ALL_GRADES},
}


class _Column(NamedTuple):
    title: str
    width: int
    anchor: str
    falling: bool  # whether the first click sorts in descending order


WIDTHS = {"status": 72, "outlier": 72, "grade": 96}  # px


def columns() -> Dict[str, _Column]:
    """Return the columns: the fields that are shown, between the name and the counts at the chosen threshold."""
    fields = {
        field.column: _Column(
            field.label, WIDTHS.get(field.column, 82), "e" if field.is_number else "w", field.is_number
        )
        for field in shown_fields()
    }
    return {
        "order": _Column("#", 38, "e", False),
        "name": _Column("Micrograph", NAME_WIDTH, "w", False),
        **fields,
        "kept": _Column("Kept", 54, "e", True),
        "rejected": _Column("Rejected", 86, "e", True),
    }


NAME_WIDTH = 130  # px, least width of the names
#: The columns that a narrow list hides, in this order.
DISPENSABLE = ("outlier", "order", "kept", "status", "grade", "rejected")
PADDING = 10  # px of a cell around its text


class MicrographTable(tk.Frame):
    """Table of micrographs; ``on_select`` is called with the id of the selected one."""

    def __init__(self, master: tk.Misc, on_select: Callable[[int], None]) -> None:
        """Create an empty table."""
        super().__init__(master, bg="white")
        self._on_select = on_select
        self._values: Dict[str, Tuple[Any, ...]] = {}
        self._keys: Dict[str, Dict[str, Any]] = {}
        self._labels: Dict[str, Tuple[str, str]] = {}  # status and grade of each row
        self._names: Dict[str, str] = {}  # of each row, in full
        self._on_map: Set[int] = set()  # ids of micrographs that are selected on the map of the session
        self._columns, self._fields = columns(), shown_fields()
        self.sorted_by, self.falling = "order", False
        self.filter, self.grade = tk.StringVar(self, ALL), tk.StringVar(self, ANY_GRADE)
        self._make()

    def _make(self) -> None:
        bar = Flow(self, bg="white")
        bar.grid(row=0, column=0, columnspan=2, sticky="ew", pady=(0, 4))
        bar.add(tk.Label(bar, text="Show", bg="white"))
        self.choice, self.grade_choice = (
            ttk.Combobox(bar, textvariable=variable, values=list(values), state="readonly", width=width)
            for variable, values, width in ((self.filter, FILTERS, 16), (self.grade, GRADES, 12))
        )
        for choice in (self.choice, self.grade_choice):
            bar.add(choice)
            choice.bind("<<ComboboxSelected>>", lambda _event: self._filtered())
        self.tree = ttk.Treeview(self, columns=list(self._columns), show="headings", selectmode="browse")
        for name, column in self._columns.items():
            self.tree.column(name, width=column.width, minwidth=30, anchor=column.anchor, stretch=name == "name")
            self.tree.heading(name, command=lambda name=name: self.sort(name))
        self._font = Font(self, name="TkDefaultFont", exists=True)
        self.tree.bind("<Configure>", lambda event: self._fit(event.width))
        Tooltip(self.tree, self._tip)
        self.tree.tag_configure(DISCARDED, foreground="#7a3b00")
        self.tree.tag_configure(FAILED, foreground="#a00000")
        rolling = ttk.Scrollbar(self, command=self.tree.yview)
        self.tree.configure(yscrollcommand=rolling.set)
        self.tree.grid(row=1, column=0, sticky="news")
        rolling.grid(row=1, column=1, sticky="ns")
        bar = tk.Frame(self, bg="white")
        bar.grid(row=2, column=0, columnspan=2, sticky="ew", pady=(6, 0))
        self.previous = tk.Button(bar, text="◀ Previous", command=lambda: self.step(-1))
        self.next = tk.Button(bar, text="Next ▶", command=lambda: self.step(1))
        self.label = tk.Label(bar, bg="white")
        self.previous.pack(side=tk.LEFT)
        self.next.pack(side=tk.RIGHT)
        self.label.pack(fill=tk.BOTH, expand=True)
        self.rowconfigure(1, weight=1)
        self.columnconfigure(0, weight=1)
        self.tree.bind("<<TreeviewSelect>>", lambda _event: self._selected())
        self._head()

    @property
    def chosen(self) -> Optional[int]:
        """Return the id of the selected micrograph."""
        selection = self.tree.selection()
        return int(selection[0]) if selection else None

    @property
    def shown(self) -> List[int]:
        """Return the ids of the micrographs in the table, from top to bottom."""
        return [int(key) for key in self.tree.get_children()]

    def fill(self, records: Records, kept: Numbers) -> None:
        """Show the micrographs of a run, with the number of kept coordinates of each."""
        gone = set(self._values) - {str(record.id) for record in records.micrographs}
        for key in gone:
            self.tree.delete(key)
            del self._values[key], self._keys[key], self._labels[key], self._names[key]
        for index, (record, picks, left) in enumerate(zip(records.micrographs, records.picks, kept)):
            key, rejected = str(record.id), int(picks - left)
            share = rejected / picks if picks else None
            fields = [field.value(record) for field in self._fields]
            values = (
                index + 1,
                self._short(record.stem),
                *("" if value is None else field.shown(value) for field, value in zip(self._fields, fields)),
                int(left),
                str(rejected) if share is None else f"{rejected} ({100 * share:.0f} %)",
            )
            if key not in self._values:
                self.tree.insert("", tk.END, iid=key, values=values, tags=(record.status,))
            elif self._values[key] != values:
                self.tree.item(key, values=values, tags=(record.status,))
            self._values[key], self._labels[key] = values, (record.status, record.grade)
            self._names[key] = record.stem
            ranks = [None if value is None else field.rank(value) for field, value in zip(self._fields, fields)]
            known = (index, record.stem, *ranks, int(left), share)
            self._keys[key] = dict(zip(self._columns, known))
        self._arrange()

    def sort(self, name: str, falling: Optional[bool] = None) -> None:
        """Sort by a column; a second call for the same column reverses the order."""
        if falling is None:
            falling = not self.falling if name == self.sorted_by else self._columns[name].falling
        self.sorted_by, self.falling = name, falling
        self._head()
        self._arrange()

    def show_only(self, name: str, grade: str = ANY_GRADE) -> None:
        """Set the filters; see ``FILTERS`` and ``GRADES``."""
        self.filter.set(name)
        self.grade.set(grade)
        self._arrange()

    def show_selected(self, keys: Sequence[int]) -> None:
        """Show these micrographs only, until another filter is chosen."""
        self._on_map = set(keys)
        self.choice.config(values=[*FILTERS, SELECTED])
        self.show_only(SELECTED)

    def bind_keys(self, root: tk.Misc) -> None:
        """Bind the keys that select the next or previous micrograph."""
        for key, by in (("<Left>", -1), ("<Prior>", -1), ("<Right>", 1), ("<Next>", 1)):
            bind_key(root, key, lambda by=by: self.step(by))

    def step(self, by: int) -> None:
        """Select the next or previous micrograph in the table."""
        shown, chosen = self.tree.get_children(), self.tree.selection()
        if shown:
            index = shown.index(chosen[0]) + by if chosen and chosen[0] in shown else 0
            self.choose(int(shown[min(max(index, 0), len(shown) - 1)]))

    def choose(self, key: int) -> None:
        """Select a micrograph by its id."""
        if str(key) in self.tree.get_children():
            self.tree.selection_set(str(key))
            self.tree.focus(str(key))
            self.tree.see(str(key))

    def _filtered(self) -> None:
        self.tree.focus_set()  # else the keys would belong to the menu
        self._arrange()

    def _head(self) -> None:
        for name, column in self._columns.items():
            arrow = (" ▼" if self.falling else " ▲") if name == self.sorted_by else ""
            self.tree.heading(name, text=column.title + arrow)

    def _arrange(self) -> None:
        """Sort the rows that match the filters; rows without a value come last."""
        statuses = FILTERS.get(self.filter.get(), FILTERS[ALL])
        grades, name = GRADES[self.grade.get()], self.sorted_by
        rows = [key for key, (status, grade) in self._labels.items() if status in statuses and grade in grades]
        if self.filter.get() == SELECTED:
            rows = [key for key in rows if int(key) in self._on_map]
        rows.sort(key=lambda key: self._keys[key]["order"])
        with_value = [key for key in rows if self._keys[key][name] is not None]
        without = [key for key in rows if self._keys[key][name] is None]
        with_value.sort(key=lambda key: self._keys[key][name], reverse=self.falling)
        chosen = self.tree.selection()
        self.tree.set_children("", *with_value, *without)
        if chosen and chosen[0] not in rows:
            self.tree.selection_remove(*chosen)
        if not self.tree.selection():
            self.step(0)
        self._show_position()

    def _selected(self) -> None:
        self._show_position()
        if self.chosen is not None:
            self._on_select(self.chosen)

    def _show_position(self) -> None:
        shown, chosen = self.tree.get_children(), self.tree.selection()
        index = shown.index(chosen[0]) + 1 if chosen and chosen[0] in shown else 0
        self.label.config(text=f"{index} of {len(shown)}" if shown else "none")
        self.previous.config(state=tk.NORMAL if index > 1 else tk.DISABLED)
        self.next.config(state=tk.NORMAL if index < len(shown) else tk.DISABLED)

    # ---- room -----------------------------------------------------------------------------------------------

    def _fit(self, width: int) -> None:
        """Show as many columns as there is room for, and shorten the names to theirs."""
        shown = list(self._columns)
        for name in DISPENSABLE:
            if sum(self._columns[one].width for one in shown) > width and (name == "order" or name != self.sorted_by):
                shown.remove(name)
        self.tree.config(displaycolumns=shown)
        rest = sum(self._columns[name].width for name in shown if name != "name")
        self.tree.column("name", width=max(NAME_WIDTH, width - rest))
        for key, name in self._names.items():
            self.tree.set(key, "name", self._short(name))

    def _short(self, name: str) -> str:
        return shortened(name, int(self.tree.column("name", "width")) - PADDING, self._font.measure)

    def _tip(self, event: Any) -> str:
        """Return the full name of the row under the mouse, or what a click on the heading does."""
        if self.tree.identify_region(event.x, event.y) == "heading":
            return "Click to sort. A wider list shows more columns."
        name = self._names.get(self.tree.identify_row(event.y), "")
        return name if name != self._short(name) else ""
