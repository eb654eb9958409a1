# SPDX-License-Identifier: GPL-3.0-or-later
"""A small RELION project for tests: motion-corrected micrographs, their CTF, and picks of an AutoPick job."""

import sys
from pathlib import Path

import mrcfile
import numpy as np

from cryoice_scipion.core.detectors.class_map import ClassMap

ROOT = Path(__file__).resolve().parents[3]
SIDE, PIXEL_SIZE = 512, 4.0  # px, Å/px
CELLS = 64  # of 32 Å
MICS, LIST, SUFFIX_FILE = (
    "CtfFind/job003/micrographs_ctf.star",
    "AutoPick/job004/autopick.star",
    "AutoPick/job004/coords_suffix_autopick.star",
)
#: Three clean picks on the left, of which one is near the edge, and two picks on the bad right half.
PICKS = [(60.0, 100.0), (150.5, 300.25), (3.0, 500.0), (400.0, 100.0), (450.0, 450.0)]
KEPT = PICKS[:3]
_OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
_rlnMicrographPixelSize #7
opticsGroup1 1 4.0 300 2.7 0.1 4.0

"""
_PIPELINE = "\n# version 30001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter {}\n\n"


class BadRight:
    """A detector for which the right half of a micrograph is support."""

    def __init__(self, config):
        self.config = config.model_copy(update={"classes": ["good", "support"], "pick_threshold": None})
        self.on_map = lambda: None

    def map(self, image, pixel_size, border, inverted):
        self.on_map()
        logits = np.zeros((2, CELLS, CELLS), np.float32)
        logits[1] = np.where(np.arange(CELLS) < CELLS // 2, -12, 12)
        return ClassMap(logits, np.zeros((CELLS, CELLS), bool), self.config.classes, 32.0, 0.0)


def micrograph(number):
    """Return the name of a micrograph in the project."""
    return f"MotionCorr/job002/Movies/mic{number}.mrc"


def write_micrograph(number):
    """Write a micrograph of noise into the project, which is the current folder."""
    path = Path(micrograph(number))
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.random.default_rng(number).normal(size=(SIDE, SIDE)).astype(np.float32))
        mrc.voxel_size = PIXEL_SIZE


def list_micrographs(numbers):
    """Write the STAR file of the micrographs, as CtfFind does, and the picks on them in both layouts of RELION."""
    rows = "".join(f"{micrograph(number)} 1 {10000 + number}.5\n" for number in numbers)
    head = "\n# version 30001\n\ndata_{}\n\nloop_\n"
    columns = "_rlnMicrographName #1\n_rlnOpticsGroup #2\n_rlnDefocusU #3\n"
    _write(MICS, _OPTICS + head.format("micrographs") + columns + rows + "\n")
    listed = ""
    for number in numbers:
        file = f"AutoPick/job004/Movies/mic{number}_autopick.star"
        picks = "".join(f"{x} {y} 0.5\n" for x, y in PICKS)
        columns = "_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnAutopickFigureOfMerit #3\n"
        _write(file, head.format("") + columns + picks + "\n")
        listed += f"{micrograph(number)} {file}\n"
    columns = "_rlnMicrographName #1\n_rlnMicrographCoordinates #2\n"
    _write(LIST, head.format("coordinate_files") + columns + listed + "\n")
    _write(SUFFIX_FILE, f"{MICS}\n")


def write_pipeline(counter=5):
    """Write RELION's record of the project, with the number of the next job."""
    _write("default_pipeline.star", _PIPELINE.format(counter))
    Path(".gui_projectdir").touch()


def write_command(folder):
    """Write a command ``cryoice`` that runs this package, and return its path."""
    command = Path(folder) / "cryoice"
    command.parent.mkdir(parents=True, exist_ok=True)
    text = f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m cryoice_scipion.core "$@"\n'
    command.write_text(text, encoding="utf-8")
    command.chmod(0o755)
    return command


def _write(path, text):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
