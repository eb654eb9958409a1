# SPDX-License-Identifier: GPL-3.0-or-later
"""Wizards: dialogs that fill in a parameter of a form."""

from __future__ import annotations

from typing import Any, Dict

from pwem.wizards.wizard import EmWizard
from pyworkflow.exceptions import PyworkflowException
from pyworkflow.gui.dialog import ListDialog
from pyworkflow.gui.tree import ListTreeProviderString
from pyworkflow.object import String

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.label_counts import LabelCounts, labels_by_micrograph
from cryoice_scipion.plugin import Plugin
from cryoice_scipion.protocols import CryoIceProtScreen, CryoIceProtTrain
from cryoice_scipion.viewers.model_preview import Preview
from cryoice_scipion.viewers.model_preview_window import PreviewDialog

HELD_OUT = (
    "Select the micrographs of the test set. Hold Ctrl or Shift to select several.\nChoose some with both good and bad "
    "coordinates, and leave two or more for the training."
)


class LabelsProvider(ListTreeProviderString):
    """Lists micrographs with the numbers of their good and bad coordinates."""

    def __init__(self, labels: Dict[str, LabelCounts]) -> None:
        """Take the numbers by the name of the micrograph."""
        super().__init__([String(name) for name in labels])
        self._labels = labels
        self.getColumns = lambda: [("Micrograph", 420), ("Good", 70), ("Bad", 70)]  # pyworkflow sets it likewise

    def getObjectInfo(self, obj: String) -> Dict[str, Any]:
        """Return the row of a micrograph."""
        one = self._labels[obj.get()]
        return {"key": obj.get(), "text": obj.get(), "values": (one.good, one.bad)}


class CryoIceHoldOutWizard(EmWizard):
    """Select the held-out micrographs from a list of all micrographs that have coordinates."""

    _targets = [(CryoIceProtTrain, ["holdOut"])]

    def show(self, form: Any, *params: Any) -> None:
        """Open the list; Ctrl and Shift select several micrographs."""
        protocol = form.protocol
        sets = [pointer.get() for pointer in (protocol.goodCoordinates, protocol.badCoordinates)]
        if None in sets:
            form.showError("Choose 'Good coordinates' and 'Bad coordinates' first.")
            return
        try:
            labels = labels_by_micrograph(protocol.goodCoordinates, protocol.badCoordinates)
        except CryoIceError as error:
            form.showError(str(error))
            return
        dialog = ListDialog(form.root, "Held-out micrographs", LabelsProvider(labels), HELD_OUT)
        if dialog.values:
            form.setVar("holdOut", ", ".join(value.get() for value in dialog.values))


class CryoIceThresholdWizard(EmWizard):
    """Preview the screening on single input micrographs, and fill in the threshold."""

    _targets = [(CryoIceProtScreen, ["threshold", "modelSource"])]

    def show(self, form: Any, *params: Any) -> None:
        """Open the preview, or show what is wrong or missing in the form."""
        protocol = form.protocol
        try:
            config, source = protocol.openPreview()
            preview = Preview(source, config, Plugin.getPython(), protocol.getDevices()[0])
        except (CryoIceError, PyworkflowException) as error:
            form.showError(str(error))
            return
        given = config.threshold if config.threshold is not None and config.threshold >= 0 else None
        dialog = PreviewDialog(form.root, preview, given)
        if dialog.applied:
            form.setVar("threshold", "" if dialog.value is None else f"{dialog.value:g}")
