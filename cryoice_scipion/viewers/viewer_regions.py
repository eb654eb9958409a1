# SPDX-License-Identifier: GPL-3.0-or-later
"""Viewer of *find regions*: the contact sheet and the list of the regions."""

from __future__ import annotations

from typing import Any, List

from pyworkflow.viewer import DESKTOP_TKINTER, View, Viewer

from cryoice_scipion.core.results.run_folder import REGIONS
from cryoice_scipion.protocols import CryoIceProtRegions
from cryoice_scipion.viewers.regions_window import RegionsView
from cryoice_scipion.viewers.screened_run import ScreenedRun


class CryoIceRegionsViewer(Viewer):
    """Shows the regions that a search has found."""

    _name = "regions: contact sheet and list"
    _targets = [CryoIceProtRegions]
    _environments = [DESKTOP_TKINTER]

    def _visualize(self, obj: Any, **kwargs: Any) -> List[View]:
        folder = obj.getFolder()
        if not (folder / REGIONS).is_file():
            return [self.infoMessage("The search has written no regions yet.", "Nothing to show")]
        run = ScreenedRun(self.getProject(), obj.inputScreening.get())
        return [RegionsView(obj.getRunName(), folder, run, obj.top.get(), self.formWindow)]
