# SPDX-License-Identifier: GPL-3.0-or-later
"""A screening: thumbnails, and the histogram of the coordinates' goodness."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

from pwem.objects import SetOfCoordinates, SetOfMicrographs
from pyworkflow.protocol import params
from pyworkflow.viewer import DESKTOP_TKINTER, ProtocolViewer, View, Viewer

from cryoice_scipion.core.records import Judgement
from cryoice_scipion.core.reports.plots import histogram_figure
from cryoice_scipion.core.screening.recorded import read_judgements
from cryoice_scipion.protocols.protocol_screen import FOLDER, CryoIceProtScreen
from cryoice_scipion.viewers.windows import FigureView, Picture, PicturesView


def pictures_of(folder: Path, ids: Optional[Set[int]] = None) -> List[Picture]:
    """Return the thumbnails of a run (of the micrographs with these ids), captioned, in the micrographs' order."""
    judgements = [judgement for judgement in read_judgements(folder) if ids is None or judgement.id in ids]
    return [Picture(folder / judgement.thumbnail, caption(judgement)) for judgement in judgements]


def caption(judgement: Judgement) -> str:
    """Return name, decision, bad area and picks of a micrograph."""
    area = "" if judgement.bad_area is None else f", bad area {100 * judgement.bad_area:.1f} %"
    words = f"{judgement.stem}\n{judgement.status}{area}; {judgement.kept} of {len(judgement.scores)} picks kept"
    return f"{words}\n{judgement.reason}" if judgement.reason else words


class CryoIceScreenViewer(ProtocolViewer):
    """Shows what a screening has recorded so far."""

    _label = "screening"
    _targets = [CryoIceProtScreen]
    _environments = [DESKTOP_TKINTER]

    def _defineParams(self, form: Any) -> None:
        form.addSection(label="Results")
        form.addParam(
            "showThumbnails",
            params.LabelParam,
            label="Thumbnails",
            important=True,
            help="Every micrograph with its bad areas tinted by class, and its kept and rejected picks. "
            "A click on a picture enlarges it.",
        )
        form.addParam(
            "showHistogram",
            params.LabelParam,
            label="Goodness of the coordinates",
            important=True,
            help="How many coordinates have which goodness (1 = clean), with the threshold marked.",
        )
        form.addParam(
            "showReport",
            params.LabelParam,
            label="Report",
            important=True,
            help="Opens the report of the run, one self-contained page, in the web browser.",
        )

    def _getVisualizeDict(self) -> Dict[str, Any]:
        return {
            "showThumbnails": self._showThumbnails,
            "showHistogram": self._showHistogram,
            "showReport": self._showReport,
        }

    def _folder(self) -> Path:
        return Path(self.protocol.getPath(*FOLDER))

    def _showThumbnails(self, _param: Any = None) -> List[View]:
        pictures = pictures_of(self._folder())
        if not pictures:
            return [self.infoMessage("No micrograph has been judged yet.", "Nothing to show")]
        return [PicturesView(f"{self.protocol.getRunName()}: thumbnails", pictures, self.formWindow)]

    def _showHistogram(self, _param: Any = None) -> List[View]:
        values = [score.goodness for judgement in read_judgements(self._folder()) for score in judgement.scores]
        if not values:
            return [self.infoMessage("No coordinate has been judged yet.", "Nothing to show")]
        figure = histogram_figure(values, self.protocol.getUsedThreshold())
        return [FigureView(f"{self.protocol.getRunName()}: goodness", figure, self.formWindow)]

    def _showReport(self, _param: Any = None) -> List[View]:
        path = self._folder() / "report.html"
        if not path.is_file():
            return [self.infoMessage("There is no report yet.", "Nothing to show")]
        if not webbrowser.open(path.resolve().as_uri()):
            return [self.infoMessage(f"No web browser was found. Open {path.resolve()}", "Report")]
        return []


class CryoIceOutputViewer(Viewer):
    """Shows the thumbnails of the run that a set comes from: a set of micrographs those of its own only."""

    _name = "screening: thumbnails"
    _targets = [SetOfCoordinates, SetOfMicrographs]
    _environments = [DESKTOP_TKINTER]

    @staticmethod
    def _folderOf(obj: Any) -> Path:
        return Path(obj.getFileName() or "").parent.joinpath(*FOLDER)

    @classmethod
    def can_handle_this_instance(cls, instance: Any) -> bool:
        """Return whether a set is an output of the screening: its run's folder says so, without reading the set."""
        return cls._folderOf(instance).is_dir()

    def _visualize(self, obj: Any, **kwargs: Any) -> List[View]:
        ids = obj.getIdSet() if isinstance(obj, SetOfMicrographs) else None
        pictures = pictures_of(self._folderOf(obj), ids)
        if not pictures:
            return [self.infoMessage("There is no micrograph in it.", "Nothing to show")]
        title = f"{Path(obj.getFileName()).stem}: thumbnails of the screening"
        return [PicturesView(title, pictures, self.formWindow)]
