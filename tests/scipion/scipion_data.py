# SPDX-License-Identifier: GPL-3.0-or-later
"""Small micrographs whose right half is bad, their picks, and how protocols are launched on them."""

import os
from unittest import mock

import mrcfile
import numpy as np
import pandas as pd
from pwem.protocols import ProtImportMicrographs
from pyworkflow.protocol.executor import StepExecutor
from pyworkflow.tests import BaseTest, setupTestProject

from cryoice_scipion.core.formats.coordinates import write_star
from cryoice_scipion.core.streaming import file_retry
from cryoice_scipion.protocols import CryoIceProtImportCoordinates, CryoIceProtScreen, CryoIceProtTrain
from cryoice_scipion.protocols.train_form import FROM_NOTHING

SIZE = 512  # px
PIXEL_SIZE = 4.0  # Å/px
BOX = 30  # px
NAMES = [f"mic_{number:02d}" for number in range(6)]
EMPTY = NAMES[2]  # a micrograph that has no picks
BROKEN = "mic_99"  # a truncated file, with picks


def image(seed):
    """Noise with dark discs on the left, strong stripes on the right."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, 1, (SIZE, SIZE)).astype(np.float32)
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    stripes = 2.5 * np.sin(2 * np.pi * (np.cos(seed) * columns + np.sin(seed) * rows) / 7)
    pixels += np.where(columns > SIZE / 2, stripes, 0)
    for x, y in places(seed, good=True):
        pixels -= 1.0 * (np.hypot(columns - x, rows - y) < BOX / 2)
    return pixels


def places(seed, good):
    """Return centres on the clean left half (good) or on the stripes (bad)."""
    rng = np.random.default_rng([seed, int(good)])
    low, high = (40, SIZE / 2 - 60) if good else (SIZE / 2 + 60, SIZE - 40)
    return np.stack([rng.uniform(low, high, 14), rng.uniform(40, SIZE - 40, 14)], axis=1).round()


def write_micrograph(path, pixels, pixel_size):
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(pixels.astype(np.float32))
        mrc.voxel_size = pixel_size


def write_data(folder):
    """Write micrographs, the same binned twice, and picks; return the folder."""
    rows = {"good": [], "bad": []}
    for seed, name in enumerate(NAMES):
        pixels = image(seed)
        write_micrograph(folder / "full" / f"{name}.mrc", pixels, PIXEL_SIZE)
        binned = pixels.reshape(SIZE // 2, 2, SIZE // 2, 2).mean(axis=(1, 3))
        write_micrograph(folder / "binned" / f"{name}_aligned.mrc", binned, 2 * PIXEL_SIZE)
        for kind in rows:
            if name != EMPTY:
                rows[kind] += [(x, y, f"{name}.mrc", BOX) for x, y in places(seed, kind == "good")]
    write_micrograph(folder / "full" / f"{BROKEN}.mrc", image(99), PIXEL_SIZE)
    os.truncate(folder / "full" / f"{BROKEN}.mrc", 5000)
    os.utime(folder / "full" / f"{BROKEN}.mrc", (0, 0))  # nobody is writing it any more
    columns = ["rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName", "cryoiceBoxSize"]
    tables = {kind: pd.DataFrame(values, columns=columns) for kind, values in rows.items()}
    on_broken = pd.DataFrame([(50.0, 60.0, f"{BROKEN}.mrc", BOX)] * 3, columns=columns)
    tables["all"] = pd.concat([*tables.values(), on_broken], ignore_index=True)
    for kind, table in tables.items():
        write_star(folder / f"{kind}.star", table)
    return folder


class Scipion(BaseTest):
    """A project with micrographs and picks."""

    @classmethod
    def begin(cls, name):
        cls.project_class = type(name, (cls,), {})
        setupTestProject(cls.project_class)
        return cls.project_class

    @classmethod
    def newProtocol(cls, kind, **values):
        """Return a new protocol; a screening looks every second whether there is something to do."""
        if kind is CryoIceProtScreen:
            values = {"streamingSleepOnWait": 1, **values}
        return super().newProtocol(kind, **values)

    @classmethod
    def run_here(cls, protocol, status="finished"):
        """Run a protocol in this process: seconds quicker, for steps on the way to what is tested."""
        cls.proj.saveProtocol(protocol)
        errors = protocol.validate()
        assert not errors, errors
        protocol.makePathsAndClean()
        cls.go_on_here(protocol)
        assert protocol.getStatus() == status, protocol.getErrorMessage()
        return protocol

    @classmethod
    def go_on_here(cls, protocol):
        """Run what is left of a protocol in this process; files that cannot be read are soon tried again."""
        protocol.setStepsExecutor(StepExecutor(protocol.getHostConfig()))
        protocol._steps = []  # a process of its own knows only those in the file
        with mock.patch.object(file_retry, "_SECOND_ATTEMPT", 0.2):
            protocol.run()

    @classmethod
    def import_micrographs(cls, folder, pixel_size, pattern="*.mrc"):
        protocol = cls.newProtocol(
            ProtImportMicrographs,
            filesPath=str(folder),
            filesPattern=pattern,
            samplingRateMode=0,
            samplingRate=pixel_size,
            voltage=300,
            objLabel=f"import {folder.name}",
        )
        return cls.run_here(protocol), "outputMicrographs"

    @classmethod
    def import_picks(cls, path, micrographs, box=0, **values):
        protocol = cls.newProtocol(CryoIceProtImportCoordinates, coordinatesPath=str(path), boxSize=box, **values)
        point(protocol.inputMicrographs, micrographs)
        return cls.run_here(protocol), "outputCoordinates"

    @classmethod
    def train(cls, good, bad, **values):
        values = {"startFrom": FROM_NOTHING, "epochs": 3, **values}
        protocol = cls.newProtocol(CryoIceProtTrain, useGpu=False, **values)
        point(protocol.goodCoordinates, good)
        point(protocol.badCoordinates, bad)
        return cls.launchProtocol(protocol), "outputModel"


def point(pointer, output):
    """Make a pointer to a protocol's output, as the form does."""
    pointer.set(output[0])
    pointer.setExtended(output[1])


def items(output):
    """Return the items of a set by id, and leave it closed."""
    found = {item.getObjId(): item.clone() for item in output.iterItems()}
    output.close()
    return found
