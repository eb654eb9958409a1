# SPDX-License-Identifier: GPL-3.0-or-later
"""A model: its plots, its hardest mistakes and its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from pyworkflow.viewer import DESKTOP_TKINTER, View, Viewer

from cryoice_scipion.objects import CryoIceModel
from cryoice_scipion.protocols import CryoIceProtImportModel, CryoIceProtTrain
from cryoice_scipion.viewers.model_window import ModelView, ModelWindow


class CryoIceModelViewer(Viewer):
    """Shows training curves, ROC, precision and recall, calibration, hardest mistakes and the card of a model."""

    _name = "model: plots, mistakes and card"
    _targets = [CryoIceModel, CryoIceProtTrain, CryoIceProtImportModel]
    _environments = [DESKTOP_TKINTER]

    def _visualize(self, obj: Any, **kwargs: Any) -> List[View]:
        model = obj if isinstance(obj, CryoIceModel) else getattr(obj, "outputModel", None)
        if model is None:
            return [self.infoMessage("There is no model yet.", "Nothing to show")]
        folder = Path(model.getPath())
        if not ModelWindow.can_show(folder):
            return [self.infoMessage(f"{folder} holds neither plots nor a card.", "Nothing to show")]
        return [ModelView(f"Model {model}", folder, self.formWindow)]
