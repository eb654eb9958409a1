# SPDX-License-Identifier: GPL-3.0-or-later
"""A CryoPPP folder -> micrographs, true coordinates, false positives."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from pwem.objects import SetOfCoordinates, SetOfMicrographs
from pyworkflow.protocol import params

from cryoice_scipion import convert
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.cryoppp import read_cryoppp
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol

OUTPUT_MICROGRAPHS = "outputMicrographs"
OUTPUT_TRUE = "outputCoordinates"
OUTPUT_FALSE = "outputCoordinatesFalse"


class CryoIceProtImportCryoPPP(CryoIceProtocol):
    """Imports a data set of CryoPPP: expert-picked particles of an EMPIAR entry.

    Takes the folder of one entry (ID/micrographs, ID/ground_truth/particle_coordinates, ID/ground_truth/
    false_positives) as it was downloaded, and makes micrographs, true coordinates and false positives of it.
    """

    _label = "import CryoPPP"
    _possibleOutputs = {
        OUTPUT_MICROGRAPHS: SetOfMicrographs,
        OUTPUT_TRUE: SetOfCoordinates,
        OUTPUT_FALSE: SetOfCoordinates,
    }

    def _defineParams(self, form: Any) -> None:
        form.addSection(label="Import")
        form.addParam(
            "folder",
            params.FolderParam,
            important=True,
            label="Folder",
            help="The folder of one entry, named by its EMPIAR number, that holds micrographs/ and ground_truth/.",
        )
        form.addParam(
            "samplingRate",
            params.FloatParam,
            default=None,
            allowsNull=True,
            important=True,
            label="Pixel size (Å/px)",
            help="Of the micrographs in the folder. Empty: as their headers say, where that is believable.",
        )
        form.addParam(
            "boxSize",
            params.IntParam,
            default=0,
            label="Box size (px)",
            help="Of both sets of coordinates. 0: one and a half times the median particle diameter in the tables.",
        )
        self._defineAcquisitionParams(form)

    @staticmethod
    def _defineAcquisitionParams(form: Any) -> None:
        form.addParam(
            "voltage", params.FloatParam, default=300.0, label="Voltage (kV)", help="Of the microscope; recorded only."
        )
        form.addParam(
            "sphericalAberration",
            params.FloatParam,
            default=2.7,
            label="Spherical aberration (mm)",
            help="Of the microscope; recorded only.",
        )
        form.addParam(
            "amplitudeContrast",
            params.FloatParam,
            default=0.1,
            expertLevel=params.LEVEL_ADVANCED,
            label="Amplitude contrast",
            help="Recorded only.",
        )

    def _insertAllSteps(self) -> None:
        self._insertFunctionStep(self.createOutputStep, needsGPU=False)

    def createOutputStep(self) -> None:
        """Read the folder and make the three sets."""
        with self._oneLine():
            found = read_cryoppp(Path(self.folder.get()))
            micrographs = self._createMicrographs(found.micrographs)
            self._defineOutputs(**{OUTPUT_MICROGRAPHS: micrographs})
            messages = list(found.messages)
            for name, suffix, picks in ((OUTPUT_TRUE, "", found.good), (OUTPUT_FALSE, "False", found.bad)):
                if picks is not None:
                    messages += self._createCoordinates(name, suffix, picks)
        for line in messages:
            self.warning(line)
        self.summaryVar.set("\n".join(messages))

    def _createMicrographs(self, paths: List[Path]) -> SetOfMicrographs:
        sampling = self.samplingRate.get() or convert.header_pixel_size(paths)
        output = self._createSetOfMicrographs()
        acquisition = output.getAcquisition()
        acquisition.setVoltage(self.voltage.get())
        acquisition.setSphericalAberration(self.sphericalAberration.get())
        acquisition.setAmplitudeContrast(self.amplitudeContrast.get())
        output.setSamplingRate(sampling)
        convert.fill_micrographs(output, convert.link_into(Path(self._getExtraPath()), paths))
        return output

    def _createCoordinates(self, name: str, suffix: str, picks: Any) -> List[str]:
        box = self.boxSize.get() or convert.typical_box_size(picks.table)
        if not box:
            raise CryoIceError(picks.source, "does not say the particles' size", "give the box size")
        pointer = convert.pointer_to(self, OUTPUT_MICROGRAPHS)
        output = self._createSetOfCoordinates(pointer, suffix)
        output.setBoxSize(int(box))
        matches = convert.fill_coordinates(output, picks.table, self.outputMicrographs)
        self._defineOutputs(**{name: output})
        self._defineSourceRelation(self.outputMicrographs, output)
        return [*picks.warnings, *matches.warnings]

    def _validate(self) -> List[str]:
        return self._complaints(self._checkFolder)

    def _checkFolder(self) -> None:
        found = read_cryoppp(Path((self.folder.get() or "").strip() or "(no folder)"))
        if not self.samplingRate.get():
            convert.header_pixel_size(found.micrographs)

    def _summary(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_MICROGRAPHS):
            return ["Not imported yet."]
        lines = [f"{self.outputMicrographs.getSize()} micrographs of {self.folder}"]
        for name, words in ((OUTPUT_TRUE, "true"), (OUTPUT_FALSE, "false")):
            if self.hasAttribute(name):
                lines.append(f"{getattr(self, name).getSize()} {words} coordinates")
        return lines + (self.summaryVar.get("") or "").splitlines()

    def _methods(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_MICROGRAPHS):
            return []
        return [
            f"{self.outputMicrographs.getSize()} micrographs with expert-curated coordinates were taken from CryoPPP "
            "[Dhakal2023]."
        ]

    def _citations(self) -> List[str]:
        return ["Dhakal2023"]
