# SPDX-License-Identifier: GPL-3.0-or-later
"""Wizards: dialogs that fill in a parameter of a form."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from pwem.wizards.wizard import EmWizard
from pyworkflow.exceptions import PyworkflowException
from pyworkflow.gui.dialog import ListDialog
from pyworkflow.gui.tree import ListTreeProviderString
from pyworkflow.object import String

from cryoice_scipion.constants import FEWEST_GRADED, GOOD_GRADES
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.label_counts import labels_by_micrograph
from cryoice_scipion.plugin import Plugin
from cryoice_scipion.protocols import CryoIceProtScreen, CryoIceProtTrain, CryoIceProtTrainMicrographs
from cryoice_scipion.viewers.model_preview import Preview
from cryoice_scipion.viewers.model_preview_window import PreviewDialog

HELD_OUT = (
    "Select the micrographs of the test set. Hold Ctrl or Shift to select several.\nChoose some with both good and bad "
    "coordinates, and leave two or more for the training."
)


GRADED = (
    "{good} good and {bad} bad micrographs have a grade. Select those of the test set. Hold Ctrl or Shift to select "
    "several.\nChoose some of each grade, and leave {least} or more for the training."
)


class RowsProvider(ListTreeProviderString):
    """Lists micrographs, each with some values."""

    def __init__(self, rows: Dict[str, Tuple[Any, ...]], columns: Dict[str, int]) -> None:
        """Take the values by the name of the micrograph, and the widths (px) of their columns by their titles."""
        super().__init__([String(name) for name in rows])
        self._rows = rows
        self.getColumns = lambda: [("Micrograph", 420), *columns.items()]  # pyworkflow sets it likewise

    def getObjectInfo(self, obj: String) -> Dict[str, Any]:
        """Return the row of a micrograph."""
        return {"key": obj.get(), "text": obj.get(), "values": self._rows[obj.get()]}


class CryoIceHoldOutWizard(EmWizard):
    """Select the held-out micrographs from a list of all micrographs that have coordinates."""

    _targets = [(CryoIceProtTrain, ["holdOut"])]

    def show(self, form: Any, *params: Any) -> None:
        """Open the list with the numbers of good and bad coordinates."""
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
        rows = {name: (one.good, one.bad) for name, one in labels.items()}
        select_held_out(form, RowsProvider(rows, {"Good": 70, "Bad": 70}), HELD_OUT)


class CryoIceHoldOutGradedWizard(EmWizard):
    """Select the held-out micrographs from a list of all micrographs that have a grade."""

    _targets = [(CryoIceProtTrainMicrographs, ["holdOut"])]

    def show(self, form: Any, *params: Any) -> None:
        """Open the list with the grades; its text has the numbers of good and bad micrographs."""
        protocol = form.protocol
        if protocol.inputMicrographs.get() is None or not protocol.gradesFile.get():
            form.showError("Choose 'Micrographs' and 'Table of grades' first.")
            return
        try:
            grades = protocol.getGrades()
        except CryoIceError as error:
            form.showError(str(error))
            return
        good = sum(grade in GOOD_GRADES for grade in grades.values())
        words = GRADED.format(good=good, bad=len(grades) - good, least=FEWEST_GRADED)
        rows = {name: (grade, "good" if grade in GOOD_GRADES else "bad") for name, grade in grades.items()}
        select_held_out(form, RowsProvider(rows, {"Grade": 110, "Good or bad": 100}), words)


def select_held_out(form: Any, provider: RowsProvider, words: str) -> None:
    """Open a list, in which Ctrl and Shift select several micrographs, and write the selected ones into the form."""
    dialog = ListDialog(form.root, "Held-out micrographs", provider, words)
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
            preview = Preview(source, config, Plugin.getPython(), protocol.getPreviewDevice())
        except (CryoIceError, PyworkflowException) as error:
            form.showError(str(error))
            return
        given = config.threshold if config.threshold is not None and config.threshold >= 0 else None
        dialog = PreviewDialog(form.root, preview, given)
        if dialog.applied:
            form.setVar("threshold", "" if dialog.value is None else f"{dialog.value:g}")
