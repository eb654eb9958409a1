# SPDX-License-Identifier: GPL-3.0-or-later
"""Viewer of models: plots, hardest mistakes and model card; of a training that runs: its dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from pyworkflow.viewer import DESKTOP_TKINTER, View, Viewer

from cryoice_scipion.objects import CryoIceModel
from cryoice_scipion.protocols import CryoIceProtImportModel, CryoIceProtTrain, CryoIceProtTrainMicrographs
from cryoice_scipion.viewers.dashboard import DashboardView, has_dashboard, missing
from cryoice_scipion.viewers.model_window import ModelView, ModelWindow

_TRAININGS = (CryoIceProtTrain, CryoIceProtTrainMicrographs)


class CryoIceModelViewer(Viewer):
    """Shows training curves, ROC, precision and recall, calibration, hardest mistakes and the model card.

    While a training with a dashboard runs, it opens the dashboard in the browser.
    """

    _name = "model: plots, mistakes and model card"
    _targets = [CryoIceModel, *_TRAININGS, CryoIceProtImportModel]
    _environments = [DESKTOP_TKINTER]

    def _visualize(self, obj: Any, **kwargs: Any) -> List[View]:
        model = obj if isinstance(obj, CryoIceModel) else getattr(obj, "outputModel", None)
        if (
            model is None
            and isinstance(obj, (CryoIceProtTrain, CryoIceProtTrainMicrographs))
            and has_dashboard(obj.getModelFolder())
        ):
            problem = missing()
            return [self.infoMessage(problem, "No dashboard") if problem else DashboardView(obj.getModelFolder())]
        if model is None:
            return [self.infoMessage("The protocol has no output model yet.", "Nothing to show")]
        folder = Path(model.getPath())
        if not ModelWindow.can_show(folder):
            return [self.infoMessage(f"{folder} contains neither plots nor a model card.", "Nothing to show")]
        return [ModelView(f"Model {model}", folder, self.formWindow)]
