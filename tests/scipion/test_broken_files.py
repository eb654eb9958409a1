# SPDX-License-Identifier: GPL-3.0-or-later
"""Broken micrographs in the screening protocol: nothing is lost, and Continue takes them when they are mended."""

import pandas as pd
import pytest
from broken_files import BROKEN, break_file, remove
from noise import PIXEL_SIZE, SHAPE, write_noise
from pwem.objects import SetOfMicrographs
from pyworkflow.protocol import MODE_RESUME, getProtocolFromDb
from pyworkflow.protocol.executor import StepExecutor
from pyworkflow.utils.path import copyFile
from random_model import write_random_model
from scipion_data import Scipion, items, point

from cryoice_scipion.core.detectors.model_folder import resolve_model
from cryoice_scipion.core.formats.coordinates import write_star
from cryoice_scipion.core.streaming import file_retry
from cryoice_scipion.core.workers.local_executor import LocalExecutor
from cryoice_scipion.protocols import CryoIceProtImportCryoPPP, CryoIceProtScreen, protocol_screen
from cryoice_scipion.protocols.screen_outputs import COORDINATES, DISCARDED, MICROGRAPHS, REJECTED

pytestmark = pytest.mark.scipion

PICKS = 4  # of each micrograph
DIMENSIONS = (SHAPE[1], SHAPE[0], 1)  # px, as Scipion has them


class Case:
    """Micrographs imported while they were whole, and their picks."""

    def __init__(self, project, folder, number):
        self.project, self.model = project, project.model
        self.files = [write_noise(folder / f"mic_{one}.mrc", one) for one in range(number)]
        self.micrographs = project.import_micrographs(folder, PIXEL_SIZE)
        columns = ["rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName", "cryoiceDiameter"]
        rows = [(40.0 * k + 40, 100.0, file.name, 30) for file in self.files for k in range(PICKS)]
        write_star(folder / "picks.star", pd.DataFrame(rows, columns=columns))
        self.picks = project.import_picks(folder / "picks.star", self.micrographs)

    def mend(self):
        for number, file in enumerate(self.files):
            remove(file)
            write_noise(file, number)

    def new(self):
        protocol = self.project.newProtocol(
            CryoIceProtScreen, useGpu=False, modelSource=2, modelFolder=str(self.model), threshold=-1
        )
        point(protocol.inputCoordinates, self.picks)
        self.project.proj.saveProtocol(protocol)
        protocol.makePathsAndClean()
        self.project.proj.mapper.commit()
        copyFile(self.project.proj.dbPath, protocol.getDbPath())  # as launching does
        return self.run(self.loaded(protocol))

    def go_on(self, protocol):
        """Press Continue: the protocol is read from its database, as a new process does."""
        protocol = self.loaded(protocol)
        protocol.runMode.set(MODE_RESUME)
        return self.run(protocol)

    def loaded(self, protocol):
        return getProtocolFromDb(self.project.proj.path, protocol.getDbPath(), protocol.getObjId())

    @staticmethod
    def run(protocol):
        protocol.setStepsExecutor(StepExecutor(protocol.getHostConfig()))
        protocol.run()
        return protocol


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """One project for all: each new one becomes the working directory."""
    project = Scipion.begin("BrokenFiles")
    project.model = write_random_model(tmp_path_factory.mktemp("model") / "random")
    return project


@pytest.fixture(scope="module")
def three(project, tmp_path_factory):
    return Case(project, tmp_path_factory.mktemp("three"), 3)


@pytest.fixture(scope="module")
def alone(project, tmp_path_factory):
    return Case(project, tmp_path_factory.mktemp("alone"), 1)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Compute in this process, and wait for nobody who might still be writing."""

    def local(_python, model, device, _log, limits):
        return LocalExecutor.load(resolve_model(model), device)

    monkeypatch.setattr(protocol_screen, "WorkerClient", local)
    monkeypatch.setattr(protocol_screen, "check_worker", lambda *_: [])
    monkeypatch.setattr(file_retry, "RETRY_SECONDS", 0.0)


def check_outputs(case, protocol, failed):
    """Everything is in exactly one output, closed, and the failed micrographs are discarded with their picks."""
    kept, rejected, accepted, discarded = (
        items(getattr(protocol, name)) for name in (COORDINATES, REJECTED, MICROGRAPHS, DISCARDED)
    )
    picks = items(case.picks[0].outputCoordinates)
    assert sorted([*kept, *rejected]) == sorted(picks)
    assert sorted([*accepted, *discarded]) == sorted(items(case.micrographs[0].outputMicrographs))
    assert sorted(discarded) == failed
    assert {item.getMicId() for item in rejected.values()} == set(failed)
    assert all(item._cryoiceReason.get() for item in discarded.values())
    for name in (MICROGRAPHS, DISCARDED):
        output = SetOfMicrographs(filename=getattr(protocol, name).getFileName())
        output.loadAllProperties()
        assert output.isStreamClosed()
        assert output.getDim() == getattr(protocol, name).getDim() == DIMENSIONS
        assert output.getXDim() == SHAPE[1]
        output.close()


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_the_first_micrograph_may_be_broken_in_any_way(three, kind):
    three.mend()
    break_file(three.files[0], kind)
    protocol = three.new()
    assert protocol.isFinished(), protocol.getErrorMessage()
    check_outputs(three, protocol, [1])
    protocol = three.go_on(protocol)
    assert protocol.isFinished(), protocol.getErrorMessage()
    check_outputs(three, protocol, [1])
    three.mend()
    protocol = three.go_on(protocol)
    assert protocol.isFinished(), protocol.getErrorMessage()
    check_outputs(three, protocol, [])


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_the_only_micrograph_may_be_broken_in_any_way_and_the_protocol_says_so(alone, kind):
    alone.mend()
    break_file(alone.files[0], kind)
    protocol = alone.new()
    for _ in range(2):
        assert protocol.isFailed()
        message = protocol.getErrorMessage()
        assert "(1 failed)" in message and "mic_0.mrc" in message and "Continue" in message
        assert "\n" not in message.strip()
        check_outputs(alone, protocol, [1])
        assert any("(1 failed)" in line for line in protocol.summary())
        protocol = alone.go_on(protocol)
    alone.mend()
    protocol = alone.go_on(protocol)
    assert protocol.isFinished(), protocol.getErrorMessage()
    check_outputs(alone, protocol, [])
    assert not any("failed" in line for line in protocol.summary())
    assert not protocol.getErrorMessage()


def test_a_run_whose_micrographs_all_fail_names_the_first_reasons_and_how_many(three):
    for file, kind in zip(three.files, ("empty", "text", "constant")):
        break_file(file, kind)
    protocol = three.new()
    assert protocol.isFailed()
    assert "(3 failed)" in protocol.getErrorMessage()
    assert "mic_0.mrc" in protocol.getErrorMessage() and "mic_1.mrc" in protocol.getErrorMessage()
    check_outputs(three, protocol, [1, 2, 3])
    three.mend()
    protocol = three.go_on(protocol)
    assert protocol.isFinished(), protocol.getErrorMessage()
    check_outputs(three, protocol, [])


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_a_cryoppp_folder_may_begin_with_a_broken_micrograph(project, kind, tmp_path):
    folder = tmp_path / "10017"
    files = [write_noise(folder / "micrographs" / f"mic_{number}.mrc", number) for number in range(2)]
    tables = folder / "ground_truth" / "particle_coordinates"
    tables.mkdir(parents=True)
    for file in files:
        (tables / f"{file.stem}.csv").write_text("X-Coordinate,Y-Coordinate,Diameter\n100,100,30\n")
    break_file(files[0], kind)
    protocol = project.newProtocol(CryoIceProtImportCryoPPP, folder=str(folder))
    project.run_here(protocol)
    assert protocol.outputMicrographs.getSamplingRate() == PIXEL_SIZE
    assert protocol.outputMicrographs.getDim() == DIMENSIONS
    assert protocol.outputMicrographs.getSize() == (1 if kind in ("missing", "folder") else 2)


def test_a_pixel_size_that_contradicts_the_headers_stands_in_the_summary(alone):
    alone.mend()
    remove(alone.files[0])
    write_noise(alone.files[0], 0, pixel_size=2 * PIXEL_SIZE)
    protocol = alone.new()
    assert protocol.isFinished(), protocol.getErrorMessage()
    (line,) = [line for line in protocol.summary() if "pixel size" in line]
    assert "1 of 1 micrograph (" in line and "4 Å/px given, 8 Å/px in the header" in line
