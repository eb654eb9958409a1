# SPDX-License-Identifier: GPL-3.0-or-later
"""Coordinate files of other programs -> a set of coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from pwem.objects import SetOfCoordinates
from pyworkflow.exceptions import PyworkflowException
from pyworkflow.protocol import params

from cryoice_scipion import convert
from cryoice_scipion.core.data.coordinates import read_picks
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol

OUTPUT_COORDINATES = "outputCoordinates"


class CryoIceProtImportCoordinates(CryoIceProtocol):
    """Reads picks that other programs wrote, without their plugins.

    RELION .star (old and 3.1), EMAN .box, crYOLO .cbox, Xmipp .pos, CryoPPP .csv and Topaz .txt; a file, or a folder
    with one file a micrograph. They are matched with the micrographs by name, and what does not match is counted.
    """

    _label = "import picks"
    _possibleOutputs = {OUTPUT_COORDINATES: SetOfCoordinates}

    def _defineParams(self, form: Any) -> None:
        form.addSection(label="Import")
        form.addParam(
            "inputMicrographs",
            params.PointerParam,
            pointerClass="SetOfMicrographs",
            important=True,
            label="Micrographs",
            help="The micrographs that were picked, at the pixel size they were picked at.",
        )
        form.addParam(
            "coordinatesPath",
            params.PathParam,
            important=True,
            label="Coordinates (file or folder)",
            help="A file (.star, .box, .cbox, .pos, .csv, .txt), or a folder with such files of one kind. Names are "
            "matched with those of the micrographs; usual suffixes such as _DW, _aligned or _autopick are tolerated.",
        )
        form.addParam(
            "boxSize",
            params.IntParam,
            default=0,
            label="Box size (px; 0: the file's)",
            help="Size of the particles in pixels of the micrographs. 0: as the file says (.box, .cbox and .csv do; "
            ".star, .pos and .txt do not).",
        )

    def _insertAllSteps(self) -> None:
        self._insertFunctionStep(self.createOutputStep, needsGPU=False)

    def createOutputStep(self) -> None:
        """Read the files and make the set."""
        with self._oneLine():
            picks = read_picks(Path(self.coordinatesPath.get()))
            box = self.boxSize.get() or convert.typical_diameter(picks.table)
            if not box:
                raise CryoIceError(self.coordinatesPath, "does not say the particles' size", "give the box size")
            output = self._createSetOfCoordinates(self.inputMicrographs)
            output.setBoxSize(int(box))
            unmatched = convert.fill_coordinates(output, picks.table, self.inputMicrographs.get())
        self._report(output, picks.warnings, unmatched)
        self._defineOutputs(**{OUTPUT_COORDINATES: output})
        self._defineSourceRelation(self.inputMicrographs, output)

    def _report(self, output: SetOfCoordinates, warnings: List[str], unmatched: Any) -> None:
        lines = list(warnings)
        if unmatched:
            number, names = sum(unmatched.values()), ", ".join(sorted(unmatched)[:3])
            lines.append(f"{number} coordinates are of {len(unmatched)} micrographs that are not there ({names})")
        if not output.getSize() and unmatched:
            raise PyworkflowException(f"{self.coordinatesPath}: no name matches a micrograph; {lines[-1]}")
        for line in lines:
            self.warning(line)
        self.summaryVar.set("\n".join(lines))

    def _validate(self) -> List[str]:
        path = (self.coordinatesPath.get() or "").strip()
        if not path:
            return ["Give the file or folder with the coordinates."]
        return self._complaints(lambda: read_picks(Path(path)))

    def _summary(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_COORDINATES):
            return ["Not imported yet."]
        output = self.outputCoordinates
        lines = [f"{output.getSize()} coordinates, box size {output.getBoxSize()} px, from {self.coordinatesPath}"]
        return lines + (self.summaryVar.get("") or "").splitlines()

    def _methods(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_COORDINATES):
            return []
        return [f"{self.outputCoordinates.getSize()} coordinates were imported from {self.coordinatesPath}."]

    def _citations(self) -> List[str]:
        return []
