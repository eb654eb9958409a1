# SPDX-License-Identifier: GPL-3.0-or-later
"""Protocol that imports a CryoPPP data set: micrographs, true coordinates and false positives."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from pwem.objects import SetOfCoordinates, SetOfMicrographs
from pyworkflow.protocol import params

from cryoice_scipion import convert, picks_from_files
from cryoice_scipion.core.errors import CryoIceError, counted, plural
from cryoice_scipion.core.formats.cryoppp import read_cryoppp
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol

OUTPUT_MICROGRAPHS = "outputMicrographs"
OUTPUT_TRUE = "outputCoordinates"
OUTPUT_FALSE = "outputCoordinatesFalse"


class CryoIceProtImportCryoPPP(CryoIceProtocol):
    """Imports a CryoPPP data set: an EMPIAR entry with particles picked by experts.

    The input is the folder of one entry as downloaded, with the subfolders micrographs, ground_truth/
    particle_coordinates and ground_truth/false_positives. The output is a set of micrographs, a set of true
    coordinates and a set of false positives.
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
            help="The folder of one CryoPPP entry. Its name is the EMPIAR number, and it contains the subfolders "
            "micrographs and ground_truth.",
        )
        form.addParam(
            "samplingRate",
            params.FloatParam,
            default=None,
            allowsNull=True,
            important=True,
            label="Pixel size (Å/px)",
            help="Pixel size of the micrographs in the folder. *Empty* (default): read it from the headers. Enter it "
            "if the headers do not contain it or contain a wrong value.",
        )
        form.addParam(
            "boxSize",
            params.IntParam,
            default=0,
            label="Box size (px)",
            help="Box size of both sets of coordinates, in pixels of the micrographs. *0* (default): 1.5 times the "
            "median particle diameter in the CryoPPP tables.",
        )
        self._defineAcquisitionParams(form)

    @staticmethod
    def _defineAcquisitionParams(form: Any) -> None:
        form.addParam(
            "voltage",
            params.FloatParam,
            default=300.0,
            label="Voltage (kV)",
            help="Acceleration voltage of the microscope. It is stored with the micrographs and does not affect the "
            "import. Default: 300 kV.",
        )
        form.addParam(
            "sphericalAberration",
            params.FloatParam,
            default=2.7,
            label="Spherical aberration (mm)",
            help="Spherical aberration (Cs) of the microscope. It is stored with the micrographs and does not affect "
            "the import. Default: 2.7 mm.",
        )
        form.addParam(
            "amplitudeContrast",
            params.FloatParam,
            default=0.1,
            expertLevel=params.LEVEL_ADVANCED,
            label="Amplitude contrast",
            help="Amplitude contrast, as a fraction. It is stored with the micrographs and does not affect the import. "
            "Default: 0.1.",
        )

    def _insertAllSteps(self) -> None:
        names = ("folder", "samplingRate", "boxSize", "voltage", "sphericalAberration", "amplitudeContrast")
        values = [self.getAttributeValue(name) for name in names]
        # Continue repeats a step whose arguments have changed.
        self._insertFunctionStep(self.createOutputStep, *values, needsGPU=False)

    def createOutputStep(self, *_: Any) -> None:
        """Read the folder and create the three output sets."""
        with self._oneLine():
            found = read_cryoppp(self._givenFolder())
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
        box = self.boxSize.get() or picks_from_files.box_size_of(picks.table)
        if not box:
            raise CryoIceError(picks.source, "does not contain the particle diameter", "set 'Box size' in the form")
        pointer = convert.pointer_to(self, OUTPUT_MICROGRAPHS)
        output = self._createSetOfCoordinates(pointer, suffix)
        output.setBoxSize(int(box))
        matches = picks_from_files.fill_coordinates(output, picks, self.outputMicrographs)
        self._defineOutputs(**{name: output})
        self._defineSourceRelation(self.outputMicrographs, output)
        return [*picks.warnings, *matches.warnings]

    def _validate(self) -> List[str]:
        return self._validateNotNegative("samplingRate", "boxSize") or self._complaints(self._checkFolder)

    def _checkFolder(self) -> None:
        found = read_cryoppp(self._givenFolder())
        if not self.samplingRate.get():
            convert.header_pixel_size(found.micrographs)

    def _givenFolder(self) -> Path:
        return Path((self.folder.get() or "").strip() or "(no folder)")

    def _summary(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_MICROGRAPHS):
            return ["Not imported yet."]
        lines = [f"{counted(self.outputMicrographs.getSize(), 'micrograph')} from {self.folder}"]
        for name, words in ((OUTPUT_TRUE, "true coordinate"), (OUTPUT_FALSE, "false positive")):
            if self.hasAttribute(name):
                lines.append(counted(getattr(self, name).getSize(), words))
        return lines + (self.summaryVar.get("") or "").splitlines()

    def _methods(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_MICROGRAPHS):
            return []
        number = self.outputMicrographs.getSize()
        were = plural(number, "was", "were")
        return [
            f"{counted(number, 'micrograph')} with expert-curated coordinates {were} imported from "
            "CryoPPP [Dhakal2023]."
        ]

    def _citations(self) -> List[str]:
        return ["Dhakal2023"]
