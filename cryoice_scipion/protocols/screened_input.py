# SPDX-License-Identifier: GPL-3.0-or-later
"""The input of a protocol that reads the maps of a screening."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from pyworkflow.protocol import params

from cryoice_scipion.core.results.run_reader import read_summary
from cryoice_scipion.protocols.protocol_screen import FOLDER


class ScreenedInput:
    """Parameter, folder and checks of the screening whose maps are read."""

    inputScreening: Any

    def _addScreening(self, form: Any, words: str) -> None:
        form.addParam(
            "inputScreening",
            params.PointerParam,
            pointerClass="CryoIceProtScreen",
            important=True,
            label="Screening",
            help=words,
        )

    def _screenedFolder(self) -> Path:
        return Path(self.inputScreening.get()._getPath(*FOLDER))

    def _missingMaps(self) -> List[str]:
        """Return an error if no micrograph is screened yet."""
        summary = read_summary(self._screenedFolder())
        if summary is None or not summary.accepted + summary.discarded:
            return ["The screening has no screened micrograph yet. Wait for the first ones."]
        return []

    def _runningWarning(self, consequence: str) -> List[str]:
        """Return a warning if the screening is still running."""
        screening = self.inputScreening.get()
        if screening is None or not screening.isActive():
            return []
        return [f"The screening is still running. {consequence}"]
