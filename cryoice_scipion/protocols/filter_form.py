# SPDX-License-Identifier: GPL-3.0-or-later
"""Form of the filter protocol: its parameters, labels and help texts."""

from __future__ import annotations

from typing import Any, Dict

from pyworkflow.protocol import params

from cryoice_scipion.constants import ALL_GRADES
from cryoice_scipion.core.config import ScreenConfig, parse_margins
from cryoice_scipion.protocols.screened_input import ScreenedInput
from cryoice_scipion.protocols.screening_tab import BAD_CLASSES

NO_CLASS = "none"


class FilterForm(ScreenedInput):
    """Parameters of the filter. Each setting that is left empty is that of the screening."""

    def _defineParams(self, form: Any) -> None:
        form.addSection(label="Input")
        self._addScreening(
            form,
            "The run of *screen micrographs* whose maps are used. It may still be running: then only the micrographs "
            "that are screened so far count.",
        )
        form.addParam(
            "inputCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates",
            important=True,
            label="Coordinates",
            help="The new coordinates (picks) to filter. They may belong to the screened set of micrographs, or to "
            "another set of the same fields of view. Micrographs of another set are matched by name; common suffixes "
            "such as _DW or _aligned are ignored. Their pixel size may differ. The output coordinates keep the "
            "positions, box size and micrographs of the input.",
        )
        self._defineSettings(form)

    @staticmethod
    def _defineSettings(form: Any) -> None:
        form.addSection(label="Settings")
        form.addParam(
            "threshold",
            params.FloatParam,
            default=None,
            allowsNull=True,
            label="Threshold (empty: as screening)",
            help="A coordinate is kept if its goodness (0 bad to 1 clean) is at least the threshold. A higher "
            "threshold rejects more coordinates. *Empty* (default): the threshold of the screening. *-1*: keep all "
            "coordinates and only score them.",
        )
        form.addParam(
            "particleDiameter",
            params.FloatParam,
            default=None,
            allowsNull=True,
            label="Particle diameter (Å; empty: as screening)",
            help="The diameter of the disc around each coordinate that must be free of bad area. *Empty* (default): "
            "the diameter in the form of the screening; if that is empty, two thirds of the box size of the new "
            "coordinates.",
        )
        form.addParam(
            "margin",
            params.FloatParam,
            default=None,
            allowsNull=True,
            label="Margin (Å; empty: as screening)",
            help="A coordinate is rejected if bad area lies within this distance (Å) of the particle's edge. *Empty* "
            "(default): the margins of the screening. If this or the margins by class are given, both replace those "
            "of the screening.",
        )
        form.addParam(
            "classMargins",
            params.StringParam,
            default="",
            expertLevel=params.LEVEL_ADVANCED,
            label="Margins by class (Å)",
            help="Different margins for single classes of bad area, for example *support=100 contamination=50*. All "
            f"other classes use the margin above, or 0. Classes: {', '.join(BAD_CLASSES)}.",
        )
        form.addParam(
            "ignoreClasses",
            params.StringParam,
            default="",
            expertLevel=params.LEVEL_ADVANCED,
            label="Ignored classes (empty: as screening)",
            help="Classes of bad area to treat as good, separated by spaces, for example *aggregate*. *Empty* "
            f"(default): as in the screening. *{NO_CLASS}*: no class is ignored. Classes: {', '.join(BAD_CLASSES)}.",
        )
        form.addParam(
            "maxBadArea",
            params.FloatParam,
            default=None,
            allowsNull=True,
            expertLevel=params.LEVEL_ADVANCED,
            label="Maximum bad area (0 to 1; empty: as screening)",
            help="All coordinates of a micrograph are rejected if a larger fraction of its area is bad. *Empty* "
            "(default): as in the screening.",
        )

        form.addParam(
            "rejectGrades",
            params.StringParam,
            default="",
            expertLevel=params.LEVEL_ADVANCED,
            label="Rejected grades (empty: as screening)",
            help="All coordinates are rejected on micrographs to which the screening gave one of these grades. Enter "
            "the grades separated by spaces, for example *crystalline film*. *Empty* (default): as in the screening. "
            f"*{NO_CLASS}*: no grade is rejected. Grades: {', '.join(ALL_GRADES)}.",
        )

    def _configFrom(self, screened: ScreenConfig) -> ScreenConfig:
        """Return the settings of a screening with those of the form."""
        values: Dict[str, Any] = {
            "threshold": self.threshold.get(),
            "particle_diameter": self.particleDiameter.get() or None,
            "max_bad_area": self.maxBadArea.get(),
        }
        values = {name: value for name, value in values.items() if value is not None}
        by_class, ignored = (self.classMargins.get() or "").split(), (self.ignoreClasses.get() or "").split()
        if self.margin.get() is not None or by_class:
            values["margin"], values["margins"] = parse_margins([str(self.margin.get() or 0), *by_class])
        if ignored:
            values["ignore"] = [] if ignored == [NO_CLASS] else sorted(set(ignored))
        grades = (self.rejectGrades.get() or "").split()
        if grades:
            values["reject_grades"] = [] if grades == [NO_CLASS] else sorted(set(grades))
        return ScreenConfig.make(**{**screened.model_dump(), **values})
