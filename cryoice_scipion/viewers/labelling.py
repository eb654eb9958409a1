# SPDX-License-Identifier: GPL-3.0-or-later
"""Correct a screening in its viewer: mark good and bad places, accept and reject micrographs, save, and train."""

from __future__ import annotations

import tkinter as tk
from tkinter import ttk
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from cryoice_scipion.constants import BAD, BORDER, FAILED, GOOD, NO_MICROGRAPH, OUTSIDE
from cryoice_scipion.core.errors import CryoIceError, counted
from cryoice_scipion.core.maps.scoring import is_kept
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.review_files import LABEL_CLASSES, SIDE
from cryoice_scipion.core.results.run_reader import read_records
from cryoice_scipion.viewers.labels import Labels, Place
from cryoice_scipion.viewers.pick_marks import LABEL_COLOURS
from cryoice_scipion.viewers.saved_sets import BAD_PLACES, GOOD_PLACES
from cryoice_scipion.viewers.screened_run import ScreenedRun
from cryoice_scipion.viewers.widgets import GAP, Flow, Tooltip, bind_key

LOOK = "look"
TOOLS = {LOOK: "Look (L)", GOOD: "Mark good (G)", BAD: "Mark bad (B)"}
HINTS = {  # of about one length, so that the picture stays where it is
    LOOK: "Wheel: zoom. Drag: move. Double click: all.",
    GOOD: "Click a good place. Right click: remove.",
    BAD: "Click a bad place. Right click: remove.",
}
UNKNOWN_CLASS = "not known"
CLASSES = {str(number): name for number, name in enumerate((BAD, *(name for name in LABEL_CLASSES if name != BAD)))}
CLASS_HELP = f"The class of the bad places that you mark next. Keys 0 to {len(CLASSES) - 1} choose it."
VERDICT = "Accept or reject this micrograph, whatever the run decided. Press again to leave it to the run."
REACH = 12.0  # px of the screen within which a click meets a mark or a pick
FAR = 300.0  # Å: picks of the run that are closer to a mark of the other kind are not added
KINDS = {GOOD_PLACES: GOOD, BAD_PLACES: BAD}


class Labelling:
    """Tools above the picture and a panel beside it. It owns the labels of a run."""

    def __init__(self, run: ScreenedRun, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        """Read the labels of an earlier session.

        Parameters
        ----------
        say : callable
            Shows a message.
        changed : callable
            Called after each change of the labels.
        """
        self._run, self._say, self._changed = run, say, changed
        self.record: Optional[MicrographRecord] = None  # of the shown micrograph
        self._undo_buttons: List[tk.Button] = []  # of this window, and of the map
        self.problem = ""  # why the labels of an earlier session cannot be read
        try:
            self.labels: Optional[Labels] = Labels(run.folder)
        except CryoIceError as error:
            self.labels, self.problem = None, str(error)

    def begin_again(self) -> None:
        """Forget the shown micrograph and the changes of this session; a restart has deleted the labels."""
        self.record = None
        if self.labels is not None:
            self.labels.forget()
        self.refresh()

    # ---- widgets --------------------------------------------------------------------------------------------

    def make_tools(self, master: tk.Misc) -> Flow:
        """Return the row of tools."""
        bar = Flow(master, bg="white")
        self.tool = tk.StringVar(bar, LOOK)
        for name, words in TOOLS.items():
            colour = LABEL_COLOURS.get(name, "black")
            button = tk.Radiobutton(bar, text=words, value=name, variable=self.tool, indicatoron=False, fg=colour)
            button.config(selectcolor="#d9eaff", padx=4, pady=2, command=self._tool_changed)
            bar.add(button)
        self.cls = tk.StringVar(bar)
        self.classes = ttk.Combobox(bar, textvariable=self.cls, values=list(map(_choice, CLASSES)), state="readonly")
        self.classes.config(width=14)
        self.classes.bind("<<ComboboxSelected>>", lambda _event: self._choose_class(self.cls.get().split()[0]))
        Tooltip(bar.add(self.classes), lambda _event: CLASS_HELP)
        self.cls.set(_choice("0"))
        self.verdicts = {}
        pair = bar.add(tk.Frame(bar, bg="white"))  # stays on one line
        for accepted, words in ((True, "Accept (A)"), (False, "Reject (R)")):
            button = tk.Button(pair, text=words, padx=4, pady=1)
            button.config(command=lambda accepted=accepted: self.decide(accepted))
            button.pack(side=tk.LEFT, padx=(0, GAP if accepted else 0))
            self.verdicts[accepted] = button
            Tooltip(button, lambda _event: VERDICT)
        self.hint = bar.add(tk.Label(bar, bg="white", fg="#666666", text=HINTS[LOOK], width=34, anchor="w"))
        return bar

    def make_panel(
        self, master: tk.Misc, save: Callable[[], None], train: Callable[[], None], again: Callable[[], None]
    ) -> tk.Frame:
        """Return the panel with the counts and the buttons *Save labels*, *Train* and *Screen again*."""
        panel = tk.Frame(master, bg="white")
        self.counts = tk.Label(panel, bg="white", anchor="w", justify=tk.LEFT)
        self.counts.grid(row=0, column=0, sticky="ew")
        self.with_run = tk.BooleanVar(panel, True)
        words = "and the run's picks on these micrographs"
        box = tk.Checkbutton(panel, text=words, variable=self.with_run, bg="white", activebackground="white")
        box.config(anchor="w", justify=tk.LEFT)
        box.grid(row=1, column=0, sticky="ew")

        def wrap(event: Any) -> None:
            self.counts.config(wraplength=max(150, event.width - 10))
            box.config(wraplength=max(150, event.width - 40))

        panel.bind("<Configure>", wrap)
        bar = Flow(panel, bg="white")
        bar.grid(row=2, column=0, sticky="ew")
        self.undo_button = self.make_undo(bar, self.undo)
        self.save_button = tk.Button(bar, text="Save labels", command=save)
        self.train_button = tk.Button(bar, text="Train ...", command=train)
        self.again_button = tk.Button(bar, text="Screen again ...", command=again)
        for button in (self.undo_button, self.save_button, self.train_button, self.again_button):
            bar.add(button).config(padx=6)
        Tooltip(self.save_button, lambda _event: "Save the places as two new outputs.")
        Tooltip(self.train_button, lambda _event: "Save the places, and open the form of a training with them.")
        again_words = "Open a form with the settings of this run and the model that was trained last."
        Tooltip(self.again_button, lambda _event: again_words)
        panel.columnconfigure(0, weight=1)
        self.refresh()
        return panel

    def make_undo(self, master: tk.Misc, undo: Callable[[], None]) -> tk.Button:
        """Return a button that is enabled while there is a change to undo."""
        button = tk.Button(master, text="Undo", command=undo)
        self._undo_buttons.append(button)
        button.bind("<Destroy>", lambda _event: self._undo_buttons.remove(button))
        return button

    def bind_keys(self, root: tk.Misc) -> None:
        """Bind the keys that the buttons name, and Ctrl+Z."""
        for name in TOOLS:
            bind_key(root, f"<Key-{name[0]}>", lambda name=name: self._choose_tool(name))
        for key in CLASSES:
            bind_key(root, f"<Key-{key}>", lambda key=key: self._choose_class(key))
        for key, act in (("a", lambda: self.decide(True)), ("r", lambda: self.decide(False))):
            bind_key(root, f"<Key-{key}>", act)
        bind_key(root, "<Control-z>", self.undo)

    def refresh(self) -> None:
        """Show the number of labels, and what can be done with them."""
        labels, record = self.labels, self.record
        counts = {} if labels is None else labels.counts()
        number = 0 if labels is None else len(labels.boxes)
        words = "Labels: none. Mark places (G, B)."
        if number:
            words = f"Labels: {_in_words(counts)} on {counted(number, 'micrograph')}"
        if number == 1:
            words += ". Training needs two micrographs or more"
        self.counts.config(text=words)
        for button, can in (
            *((one, labels is not None and labels.can_undo) for one in self._undo_buttons),
            (self.save_button, number > 0),
            (self.train_button, number > 0),
        ):
            button.config(state=tk.NORMAL if can else tk.DISABLED)
        verdict = None if labels is None or record is None else labels.verdicts.get(record.stem)
        can_decide = labels is not None and record is not None and record.status != FAILED
        for accepted, button in self.verdicts.items():
            relief = tk.SUNKEN if verdict is accepted else tk.RAISED
            button.config(relief=relief, state=tk.NORMAL if can_decide else tk.DISABLED)

    def look(self) -> None:
        """Show what the page or another window has marked meanwhile."""
        try:
            if self.labels is not None and self.labels.look():
                self.refresh()
                self._changed()
        except CryoIceError as error:
            self._say(str(error))

    def _choose_tool(self, name: str) -> None:
        self.tool.set(name)
        self._tool_changed()

    def _choose_class(self, key: str) -> None:
        """Choose the class of bad places by its key, and mark such places."""
        self.cls.set(_choice(key))
        self.classes.selection_clear()
        self.classes.winfo_toplevel().focus_set()  # else the keys would belong to the menu
        self._choose_tool(BAD)

    def _tool_changed(self) -> None:
        self.hint.config(text=HINTS[self.tool.get()])

    # ---- changes --------------------------------------------------------------------------------------------

    def click(self, x: float, y: float, button: int, picture: Any) -> bool:
        """Mark or remove the place under the mouse; return whether the click was used."""
        tool = self.tool.get()
        if self.record is None or self.labels is None or (tool == LOOK and button == 1):
            return False
        labels, stem, reach = self.labels, self.record.stem, REACH / picture.view.scale
        side = SIDE / (self.record.pixel_size or 1.0)
        if button == 3:
            return self._do(lambda: labels.remove(stem, x, y, reach))
        marks = picture.marks
        far = np.hypot(*(marks.positions - (x, y)).T) if len(marks.positions) else np.zeros(0)
        if len(far) and np.nanmin(far, initial=np.inf) <= reach:  # a pick: the place is its centre
            x, y = marks.positions[np.nanargmin(far)]
        label = GOOD if tool == GOOD else CLASSES[self.cls.get().split()[0]]
        return self._do(lambda: labels.mark(stem, Place(float(x), float(y), label), reach, side))

    def decide(self, accepted: bool) -> None:
        """Accept or reject the shown micrograph; again: leave it to the run."""
        labels, record = self.labels, self.record
        if labels is not None and record is not None and record.status != FAILED:
            self._do(lambda: labels.decide([record.stem], accepted))

    def decide_all(self, stems: Sequence[str], accepted: bool) -> None:
        """Accept or reject several micrographs, as :meth:`decide` does with the shown one."""
        labels = self.labels
        if labels is not None and stems:
            self._do(lambda: labels.decide(stems, accepted))

    def undo(self) -> None:
        """Take back the last change."""
        if self.labels is not None and self.labels.can_undo:
            self._do(self.labels.undo)

    def _do(self, change: Callable[[], Any]) -> bool:
        try:
            change()
        except CryoIceError as error:
            self._say(str(error))
        self.refresh()
        self._changed()
        return True

    # ---- what is saved --------------------------------------------------------------------------------------

    def places(self, threshold: float) -> Dict[str, Callable[[], Dict[int, List[Place]]]]:
        """Return, for each kind of output, a function that reads the places to save by micrograph."""
        labels = self.labels
        marked = {} if labels is None else {stem: labels.of(stem) for stem in labels.boxes}
        with_run, found = self.with_run.get(), {}  # type: bool, Dict[str, Dict[int, List[Place]]]

        def read(label: str) -> Dict[int, List[Place]]:
            if not found:
                records = [one for one in read_records(self._run.folder) if one.stem in marked]
                for name in (GOOD, BAD):
                    found[name] = {
                        one.id: self._places_on(one, marked[one.stem], name, threshold if with_run else None)
                        for one in records
                    }
            return found[label]

        return {kind: (lambda label=label: read(label)) for kind, label in KINDS.items()}

    def _places_on(
        self, record: MicrographRecord, marked: Sequence[Place], kind: str, threshold: Optional[float]
    ) -> List[Place]:
        """Return the places of one kind on a micrograph: marked ones, and picks of the run unless threshold is None."""
        own = [place for place in marked if place.kind == kind]
        if threshold is None or not record.scores:
            return own
        wanted = self._picks_of_run(record, kind, threshold)
        picks = self._run.positions([score.id for score in record.scores])[wanted]
        picks = picks[~np.isnan(picks).any(axis=1)]
        far = max(FAR, record.particle_diameter or 0.0) / (record.pixel_size or 1.0)
        for place in marked:
            away = np.hypot(*(picks - place[:2]).T)
            picks = picks[away > (far if place.kind != kind else 1.0)]
        return own + [Place(float(x), float(y), kind) for x, y in picks]

    @staticmethod
    def _picks_of_run(record: MicrographRecord, label: str, threshold: float) -> List[bool]:
        """Return which picks of a micrograph are good, or bad, by the map; those at the border are neither."""
        nothing = (GOOD, BORDER, OUTSIDE, NO_MICROGRAPH, FAILED)  # classes of picks that show nothing bad
        goodness = np.array([np.nan if score.goodness is None else score.goodness for score in record.scores])
        kept = is_kept(goodness, threshold) & ~np.isnan(goodness)
        if label == GOOD:
            return list(kept)
        return [not good and score.cls not in nothing for good, score in zip(kept, record.scores)]


def _choice(key: str) -> str:
    """Return a class in the menu, by its key."""
    return f"{key} {UNKNOWN_CLASS if CLASSES[key] == BAD else CLASSES[key]}"


def _in_words(counts: Mapping[str, int]) -> str:
    """Return the numbers of good and bad places, and of the bad ones of each class."""
    good, bad = counts.get(GOOD, 0), sum(counts.values()) - counts.get(GOOD, 0)
    named = [f"{name} {number}" for name, number in sorted(counts.items()) if name not in (GOOD, BAD)]
    return f"{good} good, {bad} bad" + (f" ({', '.join(named)})" if named else "")
