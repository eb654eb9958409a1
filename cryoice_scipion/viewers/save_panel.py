# SPDX-License-Identifier: GPL-3.0-or-later
"""Panel that saves what the screening viewer shows as new outputs: coordinates, micrographs, and labels to train on."""

from __future__ import annotations

import contextlib
import tkinter as tk
from typing import Any, Callable, Dict, List

from cryoice_scipion.constants import ACCEPTED
from cryoice_scipion.core.errors import CryoIceError, plural
from cryoice_scipion.core.results.run_reader import Records


class SavePanel(tk.Frame):
    """Buttons that save, the labels so far, and a line that says what happened."""

    def __init__(self, master: tk.Misc, window: Any) -> None:
        """Create the panel of a :class:`~cryoice_scipion.viewers.screen_window.ScreenWindow`."""
        super().__init__(master, bg="white")
        self._window, self._run = window, window.run
        bar = tk.Frame(self, bg="white")
        bar.grid(row=0, column=0, sticky="ew")
        self.plus = tk.Button(bar, text="+ Coordinates", command=self.save, state=tk.DISABLED)
        self.plus_micrographs = tk.Button(bar, text="+ Micrographs", command=self.save_micrographs, state=tk.DISABLED)
        for button in (self.plus, self.plus_micrographs):
            button.config(padx=4)
            button.pack(side=tk.LEFT, expand=True, fill=tk.X)
        panel = window.labelling.make_panel(
            self, self.save_labels, lambda: self.save_labels(self._train), self._screen_again
        )
        panel.grid(row=1, column=0, sticky="ew", pady=(4, 0))
        self.told = tk.Label(self, bg="white", anchor="nw", justify=tk.LEFT)
        self.told.grid(row=2, column=0, sticky="ew", pady=2)
        self.bind("<Configure>", lambda event: self.told.config(wraplength=max(200, event.width - 10)))
        self.columnconfigure(0, weight=1)

    def enable(self, records: Records) -> None:
        """Enable the buttons for which there is something to save."""
        self.plus.config(state=tk.NORMAL if len(records.ids) else tk.DISABLED)
        self.plus_micrographs.config(state=tk.NORMAL if records.micrographs else tk.DISABLED)

    def save(self) -> None:
        """Save the coordinates kept at the threshold as a new output of the protocol."""
        records, threshold = self._window.records, self._window.threshold.threshold
        if records is None:
            return
        ids = records.ids[records.kept(threshold)]

        def done(saved: Dict[str, int]) -> None:
            self._say_saved(saved, "coordinate")
            missing = len(ids) - sum(saved.values())
            if missing:
                self._window.say(
                    f"{self.told.cget('text')} {missing:,} more are screened, but not yet in the outputs of the run."
                )

        self._save(lambda run: self._run.save_coordinates(ids, threshold, run, done))

    def save_micrographs(self) -> None:
        """Save the accepted and the discarded micrographs, with the user's decisions, as new outputs."""
        if self._window.records is None:
            return
        accepted: List[int] = []
        discarded: List[int] = []
        for record in self._window.records.micrographs:
            (accepted if record.status == ACCEPTED else discarded).append(record.id)
        self._save(
            lambda run: self._run.save_micrographs(
                accepted, discarded, run, lambda saved: self._say_saved(saved, "micrograph")
            )
        )

    def save_labels(self, then: Callable[[Dict[str, int]], None] = lambda saved: None) -> None:
        """Save the marked places as new outputs, and call ``then`` with them."""

        def done(saved: Dict[str, int]) -> None:
            self._say_saved(saved, "place")
            self.after_idle(then, saved)  # the form keeps the window waiting

        places = self._window.labelling.places(self._window.threshold.threshold)
        self._save(lambda run: self._run.save_places(places, run, done))

    def _save(self, save: Callable[[Callable[..., None]], None]) -> None:
        """Save with a function that takes what runs it in another thread; the buttons wait for it."""
        buttons = [
            self.plus,
            self.plus_micrographs,
            self._window.labelling.save_button,
            self._window.labelling.train_button,
        ]

        def run_alone(work: Any, then: Any) -> None:
            states = [(button, button.cget("state")) for button in buttons]
            for button in buttons:
                button.config(state=tk.DISABLED)
            self._window.background.run(work, then, lambda: [button.config(state=state) for button, state in states])

        try:
            self._window.say("Saving ...", "#333333")
            save(run_alone)
        except CryoIceError as error:
            self._window.say(str(error))

    def _say_saved(self, saved: Dict[str, int], what: str) -> None:
        lines = [f"Saved {number:,} {plural(number, what)} as {name}." for name, number in saved.items()]
        self._window.say("\n".join(lines), "#006400")
        self._refresh_project()

    def _train(self, saved: Dict[str, int]) -> None:
        """Open the form of a training with the saved places."""
        try:
            self._run.open_training(list(saved), self._project_view())
        except CryoIceError as error:
            self._window.say(f"{self.told.cget('text')} {error}")

    def _screen_again(self) -> None:
        """Open the form of a screening with the model that was trained last."""
        try:
            self._run.open_screening(self._project_view())
        except CryoIceError as error:
            self._window.say(str(error))

    def _project_view(self) -> Any:
        """Return the view of the project's window; None if there is none."""
        return getattr(self._window.master, "getViewWidget", lambda: None)()

    def _refresh_project(self) -> None:
        """Refresh the project window, so that it shows the new output."""
        view = self._project_view()
        with contextlib.suppress(AttributeError):
            view.refreshRuns()
