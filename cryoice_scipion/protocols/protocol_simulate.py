# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing -> simulated micrographs with picks, for trying out and for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from pwem.objects import SetOfCoordinates, SetOfMicrographs
from pyworkflow.protocol import params

from cryoice_scipion import convert
from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol

OUTPUT_MICROGRAPHS = "outputMicrographs"
OUTPUT_ALL = "outputCoordinates"
OUTPUT_TRUE = "outputCoordinatesTrue"
OUTPUT_FALSE = "outputCoordinatesFalse"


class CryoIceProtSimulate(CryoIceProtocol):
    """Simulates contaminated micrographs, with particles and a picker's output.

    For demonstrations and tests: the class of every pixel is known. The picks are those of a picker that also falls for
    crystals, dirt and film edges; which ones are right is given as well.
    """

    _label = "simulate micrographs"
    _possibleOutputs = {
        OUTPUT_MICROGRAPHS: SetOfMicrographs,
        OUTPUT_ALL: SetOfCoordinates,
        OUTPUT_TRUE: SetOfCoordinates,
        OUTPUT_FALSE: SetOfCoordinates,
    }

    def _defineParams(self, form: Any) -> None:
        form.addSection(label="Simulation")
        form.addParam(
            "number", params.IntParam, default=6, important=True, label="Number", help="How many micrographs to make."
        )
        form.addParam(
            "size",
            params.IntParam,
            default=1024,
            label="Size (px)",
            help="Side of the square micrographs. The time grows with its square.",
        )
        form.addParam(
            "pixelSize",
            params.FloatParam,
            default=2.0,
            label="Pixel size (Å/px)",
            help="0.5 to 8. The ice rings near 3.7 Å are there below 1.85 Å/px.",
        )
        form.addParam(
            "cleanShare",
            params.FloatParam,
            default=0.3,
            label="Clean share",
            help="Share of the micrographs, by chance, that have no contamination at all (0 to 1).",
        )
        form.addParam(
            "oneSession",
            params.BooleanParam,
            default=False,
            label="One session?",
            help="Yes: all micrographs are of one specimen and one microscope, as in a real project; only defocus and "
            "contamination differ. No: everything differs between them.",
        )
        form.addParam(
            "seed", params.IntParam, default=1, label="Seed", help="The same seed gives the same micrographs."
        )

    def _insertAllSteps(self) -> None:
        settings = [self.number, self.size, self.pixelSize, self.cleanShare, self.seed, self.oneSession]
        self._insertFunctionStep(self.simulateStep, *(setting.get() for setting in settings), needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, needsGPU=False)

    def simulateStep(
        self, number: int, size: int, pixel_size: float, clean: float, seed: int, one_session: bool
    ) -> None:
        """Let the core simulate."""
        options = {"number": number, "seed": seed, "size": f"{size}x{size}", "pixel-size": pixel_size}
        options["clean-share"] = clean
        words = (word for name, value in options.items() for word in (f"--{name}", value))
        self.runCore("simulate", "--output", self._folder(), *words, *["--one-session"] * one_session)

    def createOutputStep(self) -> None:
        """Make sets of what was simulated."""
        micrographs = self._createSetOfMicrographs()
        acquisition = micrographs.getAcquisition()
        acquisition.setVoltage(300)
        acquisition.setSphericalAberration(2.7)
        acquisition.setAmplitudeContrast(0.1)
        micrographs.setSamplingRate(self.pixelSize.get())
        convert.fill_micrographs(micrographs, sorted((self._folder() / "micrographs").glob("*.mrc")))
        self._defineOutputs(**{OUTPUT_MICROGRAPHS: micrographs})
        with self._oneLine():
            tables = {name: read_picks(self._folder() / file_name).table for name, _, file_name in PICKS}
        box = convert.typical_box_size(tables[OUTPUT_ALL])  # one for all three sets
        for name, suffix, _ in PICKS:
            self._createCoordinates(name, suffix, tables[name], box)

    def _createCoordinates(self, name: str, suffix: str, table: Any, box: int) -> None:
        output = self._createSetOfCoordinates(convert.pointer_to(self, OUTPUT_MICROGRAPHS), suffix)
        output.setBoxSize(box)
        convert.fill_coordinates(output, table, self.outputMicrographs)
        self._defineOutputs(**{name: output})

    def _folder(self) -> Path:
        return Path(self._getExtraPath("simulated"))

    def _validate(self) -> List[str]:
        errors = []
        if self.number.get() < 1:
            errors.append("The number of micrographs must be at least 1.")
        if self.size.get() < 256:
            errors.append("The size must be at least 256 px.")
        if not 0.5 <= self.pixelSize.get() <= 8:
            errors.append("The pixel size must be from 0.5 to 8 Å/px.")
        if not 0 <= self.cleanShare.get() <= 1:
            errors.append("The clean share must be from 0 to 1.")
        return errors

    def _summary(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_FALSE):
            return ["Not simulated yet."]
        right, wrong = self.outputCoordinatesTrue.getSize(), self.outputCoordinatesFalse.getSize()
        return [
            f"{self.outputMicrographs.getSize()} simulated micrographs (seed {self.seed.get()})",
            f"{self.outputCoordinates.getSize()} picks: {right} right, {wrong} wrong",
        ]

    def _methods(self) -> List[str]:
        return [f"Micrographs were simulated with cryoice (seed {self.seed.get()}, {self.pixelSize.get():g} Å/px)."]

    def _citations(self) -> List[str]:
        return []


PICKS = ((OUTPUT_ALL, "", "picks.star"), (OUTPUT_TRUE, "True", "good.star"), (OUTPUT_FALSE, "False", "bad.star"))
