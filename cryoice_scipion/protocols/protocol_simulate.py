# SPDX-License-Identifier: GPL-3.0-or-later
"""Protocol that simulates contaminated micrographs with picks, for demonstrations and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from pwem.objects import SetOfCoordinates, SetOfMicrographs
from pyworkflow.protocol import params

from cryoice_scipion import convert, picks_from_files
from cryoice_scipion.core.errors import counted
from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol

OUTPUT_MICROGRAPHS = "outputMicrographs"
OUTPUT_ALL = "outputCoordinates"
OUTPUT_TRUE = "outputCoordinatesTrue"
OUTPUT_FALSE = "outputCoordinatesFalse"


class CryoIceProtSimulate(CryoIceProtocol):
    """Simulates micrographs with particles, contamination and automatic picks.

    Use it for demonstrations and tests, because the class of every pixel is known. The picks contain particles and
    false positives on ice crystals, contamination and carbon edges. Two more outputs contain the true and the false
    picks separately.
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
            "number",
            params.IntParam,
            default=6,
            important=True,
            label="Number of micrographs",
            help="The number of micrographs to simulate. Default: 6.",
        )
        form.addParam(
            "size",
            params.IntParam,
            default=1024,
            label="Size (px)",
            help="Width and height of the square micrographs. Default: 1024 px. Twice the size takes four times as "
            "long.",
        )
        form.addParam(
            "pixelSize",
            params.FloatParam,
            default=2.0,
            label="Pixel size (Å/px)",
            help="Pixel size of the micrographs, from 0.5 to 8 Å/px. Default: 2 Å/px. Choose less than 1.85 Å/px to "
            "see the ice rings near 3.7 Å.",
        )
        form.addParam(
            "cleanShare",
            params.FloatParam,
            default=0.3,
            label="Clean fraction (0 to 1)",
            help="The probability that a micrograph has no contamination at all. Default: 0.3.",
        )
        form.addParam(
            "oneSession",
            params.BooleanParam,
            default=False,
            label="One session?",
            help="*Yes*: all micrographs show the same specimen on the same microscope, as in a real session. Only "
            "defocus and contamination vary. *No* (default): specimen and microscope vary too.",
        )
        form.addParam(
            "seed",
            params.IntParam,
            default=1,
            label="Seed",
            help="Seed of the random numbers. The same seed and settings give the same micrographs. Default: 1.",
        )

    def _insertAllSteps(self) -> None:
        settings = [self.number, self.size, self.pixelSize, self.cleanShare, self.seed, self.oneSession]
        # Continue repeats a step whose arguments have changed.
        for step in (self.simulateStep, self.createOutputStep):
            self._insertFunctionStep(step, *(setting.get() for setting in settings), needsGPU=False)

    def simulateStep(
        self, number: int, size: int, pixel_size: float, clean: float, seed: int, one_session: bool
    ) -> None:
        """Run the simulation in the core."""
        options = {"number": number, "seed": seed, "size": f"{size}x{size}", "pixel-size": pixel_size}
        options["clean-share"] = clean
        words = (word for name, value in options.items() for word in (f"--{name}", value))
        self.runCore("simulate", "--output", self._folder(), *words, *["--one-session"] * one_session)

    def createOutputStep(self, number: int, *_: Any) -> None:
        """Create the output sets from the simulated files."""
        micrographs = self._createSetOfMicrographs()
        acquisition = micrographs.getAcquisition()
        acquisition.setVoltage(300)
        acquisition.setSphericalAberration(2.7)
        acquisition.setAmplitudeContrast(0.1)
        micrographs.setSamplingRate(self.pixelSize.get())
        paths = sorted((self._folder() / "micrographs").glob("*.mrc"))[:number]  # an earlier run may have made more
        convert.fill_micrographs(micrographs, paths)
        self._defineOutputs(**{OUTPUT_MICROGRAPHS: micrographs})
        with self._oneLine():
            picks = {name: read_picks(self._folder() / file_name) for name, _, file_name in PICKS}
        box = picks_from_files.box_size_of(picks[OUTPUT_ALL].table)  # one for all three sets
        for name, suffix, _ in PICKS:
            self._createCoordinates(name, suffix, picks[name], box)

    def _createCoordinates(self, name: str, suffix: str, picks: Any, box: int) -> None:
        output = self._createSetOfCoordinates(convert.pointer_to(self, OUTPUT_MICROGRAPHS), suffix)
        output.setBoxSize(box)
        picks_from_files.fill_coordinates(output, picks, self.outputMicrographs)
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
            errors.append("The clean fraction must be from 0 to 1.")
        return errors

    def _summary(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_FALSE):
            return ["Not simulated yet."]
        right, wrong = self.outputCoordinatesTrue.getSize(), self.outputCoordinatesFalse.getSize()
        return [
            f"{counted(self.outputMicrographs.getSize(), 'simulated micrograph')} (seed {self.seed.get()})",
            f"{counted(self.outputCoordinates.getSize(), 'pick')}: {right} true, {wrong} false",
        ]

    def _methods(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_FALSE):
            return []
        return [f"Micrographs were simulated with cryoice (seed {self.seed.get()}, {self.pixelSize.get():g} Å/px)."]

    def _citations(self) -> List[str]:
        return []


PICKS = ((OUTPUT_ALL, "", "picks.star"), (OUTPUT_TRUE, "True", "good.star"), (OUTPUT_FALSE, "False", "bad.star"))
