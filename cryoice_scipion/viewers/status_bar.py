# SPDX-License-Identifier: GPL-3.0-or-later
"""Status line of a run, with warnings below it and a button that opens the report."""

from __future__ import annotations

import tkinter as tk
import webbrowser
from pathlib import Path
from typing import Callable, Optional

from cryoice_scipion.constants import ACCEPTED, DISCARDED, FAILED
from cryoice_scipion.core.errors import plural
from cryoice_scipion.core.grades.grading import counts_in_words
from cryoice_scipion.core.records import Summary
from cryoice_scipion.core.reports.html import NAME
from cryoice_scipion.core.results.run_reader import Records

WARNING = "#fff3cd"


class StatusBar(tk.Frame):
    """Top of the window: status, warnings, and buttons for session map and report; ``say`` shows error messages."""

    def __init__(
        self, master: tk.Misc, folder: Path, say: Callable[[str], None], open_map: Callable[[], object]
    ) -> None:
        """Create the status bar of the run in ``folder``, which contains the report."""
        super().__init__(master, bg="white")
        self._folder, self._say = folder, say
        self.words = tk.Label(self, bg="white", anchor="w", justify=tk.LEFT, font=("TkDefaultFont", 12))
        self.words.grid(row=0, column=0, sticky="ew")
        tk.Button(self, text="Session map", command=open_map).grid(row=0, column=1, sticky="e", padx=4)
        tk.Button(self, text="Report", command=self._open_report).grid(row=0, column=2, sticky="e")
        self.warning = tk.Label(self, bg=WARNING, anchor="w", justify=tk.LEFT, padx=6, pady=3)
        self.columnconfigure(0, weight=1)
        self.bind("<Configure>", lambda event: self._wrap(event.width))

    def tell(self, records: Records, summary: Optional[Summary]) -> None:
        """Update the status and the warnings."""
        areas = [one.bad_area for one in records.micrographs if one.bad_area is not None]
        statuses = [one.status for one in records.micrographs]
        named = [f"{statuses.count(name):,} {name}" for name in (ACCEPTED, DISCARDED, FAILED) if name in statuses]
        shown = f"{len(statuses):,} {plural(len(statuses), 'micrograph')}: {', '.join(named)}"
        words = [shown if named else "No micrographs screened yet"]
        if areas:
            words.append(f"mean bad area {100 * sum(areas) / len(areas):.1f} %")
        if summary is not None and summary.grades:
            words.append(counts_in_words(summary.grades))
        words.append(_state(summary))
        self.words.config(text="   ·   ".join(words))
        warnings = summary.warnings if summary is not None else []
        self.warning.config(text="\n".join(f"Warning: {words}" for words in warnings))
        if warnings:
            self.warning.grid(row=1, column=0, columnspan=3, sticky="ew", pady=(4, 0))
        else:
            self.warning.grid_remove()

    def _wrap(self, width: int) -> None:
        self.words.config(wraplength=max(300, width - 230))
        self.warning.config(wraplength=max(300, width - 20))

    def _open_report(self) -> None:
        path = self._folder / NAME
        if not path.is_file():
            self._say("The run has not written a report yet.")
        elif not webbrowser.open(path.resolve().as_uri()):
            self._say(f"No web browser was found. Open this file yourself: {path.resolve()}")


def _state(summary: Optional[Summary]) -> str:
    if summary is None:
        return "starting"
    waiting = f"{summary.backlog:,} {plural(summary.backlog, 'micrograph')} waiting"
    if summary.awaits_reference:
        waiting += "; results begin when the reference micrographs have arrived"
    return "finished" if summary.finished else f"running or stopped; {waiting}"
