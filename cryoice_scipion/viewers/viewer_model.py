# SPDX-License-Identifier: GPL-3.0-or-later
"""A model: its plots and its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from pyworkflow.viewer import DESKTOP_TKINTER, View, Viewer

from cryoice_scipion.core.networks.bundle import CARD
from cryoice_scipion.objects import CryoIceModel
from cryoice_scipion.protocols import CryoIceProtImportModel, CryoIceProtTrain
from cryoice_scipion.viewers.windows import Picture, PicturesView

CAPTIONS = {"curves": "training", "roc": "receiver operating characteristic", "calibration": "calibration"}
_ORDER = {stem: place for place, stem in enumerate(CAPTIONS)}


class CryoIceModelViewer(Viewer):
    """Shows training curves, ROC, calibration and the card of a model."""

    _name = "model: plots and card"
    _targets = [CryoIceModel, CryoIceProtTrain, CryoIceProtImportModel]
    _environments = [DESKTOP_TKINTER]

    def _visualize(self, obj: Any, **kwargs: Any) -> List[View]:
        model = obj if isinstance(obj, CryoIceModel) else getattr(obj, "outputModel", None)
        if model is None:
            return [self.infoMessage("There is no model yet.", "Nothing to show")]
        folder = Path(model.getPath())
        plots = sorted(folder.glob("*.png"), key=lambda path: (_ORDER.get(path.stem, len(_ORDER)), path.name))
        views: List[View] = []
        if plots:
            pictures = [Picture(path, CAPTIONS.get(path.stem, path.stem)) for path in plots]
            views.append(PicturesView(f"Model {model}", pictures, self.formWindow, columns=len(plots), rows=1))
        if (folder / CARD).is_file():
            views.append(self.textView([str(folder / CARD)], f"Card of model {model}"))
        return views or [self.infoMessage(f"{folder} holds neither plots nor a card.", "Nothing to show")]
