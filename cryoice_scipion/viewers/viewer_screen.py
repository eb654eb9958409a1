# SPDX-License-Identifier: GPL-3.0-or-later
"""Viewers of the screening protocol and of its outputs."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Dict, List, Optional

from pwem.objects import SetOfCoordinates, SetOfMicrographs
from pyworkflow.viewer import DESKTOP_TKINTER, View, Viewer

from cryoice_scipion.constants import ACCEPTED
from cryoice_scipion.databases import opened
from cryoice_scipion.protocols.protocol_screen import FOLDER, CryoIceProtScreen
from cryoice_scipion.protocols.screen_outputs import COORDINATES, DISCARDED, MICROGRAPHS, REJECTED
from cryoice_scipion.viewers.micrograph_table import NOT_ACCEPTED
from cryoice_scipion.viewers.saved_sets import kind_of
from cryoice_scipion.viewers.screen_window import ScreenWindow
from cryoice_scipion.viewers.screened_run import ScreenedRun
from cryoice_scipion.viewers.windows import open_window

#: Options of the window for each output.
OPTIONS: Dict[str, Dict[str, Any]] = {
    COORDINATES: {"overlays": ("mask", "kept")},
    REJECTED: {"overlays": ("mask", "rejected")},
    MICROGRAPHS: {"show_only": ACCEPTED},
    DISCARDED: {"show_only": NOT_ACCEPTED},
}


class ScreenView(View):
    """View that opens the window of a run."""

    def __init__(self, run: ScreenedRun, parent: Any = None, **options: Any) -> None:
        """Store a run and the options of :class:`ScreenWindow`."""
        self._arguments, self._options = (run, parent), options
        self.window: Optional[ScreenWindow] = None

    def show(self) -> None:
        """Open the window."""
        self.window = ScreenWindow(*self._arguments, **self._options)
        open_window(self.window)


class CryoIceScreenViewer(Viewer):
    """Shows the results of a screening so far."""

    _name = "screening"
    _targets = [CryoIceProtScreen]
    _environments = [DESKTOP_TKINTER]

    def _visualize(self, obj: Any, **kwargs: Any) -> List[View]:
        return [ScreenView(ScreenedRun(self.getProject(), obj), self.formWindow)]


class CryoIceOutputViewer(Viewer):
    """Shows the screening that created a set, with the items of the set selected."""

    _name = "screening"
    _targets = [SetOfCoordinates, SetOfMicrographs]
    _environments = [DESKTOP_TKINTER]

    @classmethod
    def can_handle_this_instance(cls, instance: Any) -> bool:
        """Return whether a set is an output of the screening, judged by its folder without reading the set."""
        return Path(instance.getFileName() or "").parent.joinpath(*FOLDER).is_dir()

    def _visualize(self, obj: Any, **kwargs: Any) -> List[View]:
        protocol = self.getProject().getProtocol(obj.getObjParentId())
        name = obj.getLastName()
        options = dict(OPTIONS.get(name, {}))
        if kind_of(name) == COORDINATES:
            options = {**OPTIONS[COORDINATES], "threshold": least_goodness(obj)}
        return [ScreenView(ScreenedRun(self.getProject(), protocol), self.formWindow, **options)]


def least_goodness(coordinates: SetOfCoordinates) -> Optional[float]:
    """Return the lowest goodness in a set; None if it cannot be read."""
    with contextlib.suppress(sqlite3.Error, KeyError), opened(Path(coordinates.getFileName()), 1.0) as connection:
        names = dict(connection.execute("SELECT label_property, column_name FROM Classes"))
        (least,) = connection.execute(f"SELECT MIN({names['_cryoiceGoodness']}) FROM Objects").fetchone()
        return None if least is None else float(least)
    return None
