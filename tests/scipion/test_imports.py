# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that comes into a project: simulated data, picks, CryoPPP folders."""

import pandas as pd
import pytest
from pyworkflow.protocol import MODE_RESTART
from scipion_data import BOX, BROKEN, NAMES, PIXEL_SIZE, Scipion, items, places, point, write_data

from cryoice_scipion.protocols import (
    CryoIceProtImportCoordinates,
    CryoIceProtImportCryoPPP,
    CryoIceProtImportModel,
    CryoIceProtSimulate,
)

pytestmark = pytest.mark.scipion


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def scipion(folder):
    project = Scipion.begin("ImportProject")
    project.micrographs = project.import_micrographs(folder / "full", PIXEL_SIZE)
    return project


def test_simulated_picks_are_the_right_and_the_wrong_ones_together(scipion):
    protocol = scipion.newProtocol(CryoIceProtSimulate, number=2, size=512, pixelSize=4.0, seed=5, cleanShare=0.0)
    scipion.run_here(protocol)
    together = protocol.outputCoordinatesTrue.getSize() + protocol.outputCoordinatesFalse.getSize()
    assert protocol.outputCoordinates.getSize() == together > 0
    assert protocol.outputMicrographs.getSize() == 2
    assert protocol.outputMicrographs.getSamplingRate() == 4.0
    assert protocol.outputCoordinates.getMicrographs().getSize() == 2
    assert f"{together} picks" in "\n".join(protocol.summary())


def test_boxes_of_eman_are_placed_by_their_centre(scipion, tmp_path):
    x, y = places(0, good=True)[0]
    (tmp_path / f"{NAMES[0]}.box").write_text(f"{int(x) - 15}\t{int(y) - 15}\t30\t30\n")
    (tmp_path / "nobody.box").write_text("1\t2\t30\t30\n")
    protocol, _ = scipion.import_picks(tmp_path, scipion.micrographs)
    (item,) = items(protocol.outputCoordinates).values()
    assert (item.getX(), item.getY()) == (x, y)
    assert protocol.outputCoordinates.getBoxSize() == 30
    text = "\n".join(protocol.summary())
    assert "2 coordinates in 2 files: 1 imported, 1 left out (1 unmatched)" in text
    assert "No input micrograph matches these names (1): nobody" in text


@pytest.mark.parametrize("streaming", [False, True])
def test_picks_at_another_pixel_size_are_scaled(scipion, tmp_path, streaming):
    sampling = scipion.micrographs[0].outputMicrographs.getSamplingRate()
    head = f"data_optics\nloop_\n_rlnOpticsGroup\n_rlnMicrographPixelSize\n1 {2 * sampling}\n\ndata_particles\nloop_\n"
    columns = "_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n_cryoiceBoxSize\n_rlnOpticsGroup\n"
    (tmp_path / "binned.star").write_text(f"{head}{columns}{NAMES[0]}.mrc 50 60 15 1\n")
    protocol, _ = scipion.import_picks(
        tmp_path / "binned.star", scipion.micrographs, dataStreaming=streaming, timeout=1
    )
    (item,) = items(protocol.outputCoordinates).values()
    assert (item.getX(), item.getY(), protocol.outputCoordinates.getBoxSize()) == (100, 120, 30)


def test_a_row_and_a_file_that_cannot_be_read_are_left_out_and_told(scipion, tmp_path):
    (tmp_path / f"{NAMES[0]}.box").write_text("1\t2\t30\t30\n1\tx\t30\t30\n")
    (tmp_path / f"{NAMES[1]}.box").write_text("no box\n")
    (tmp_path / "log.txt").write_text("all went well\n")
    protocol, _ = scipion.import_picks(tmp_path, scipion.micrographs)
    assert protocol.outputCoordinates.getSize() == 1
    text = "\n".join(protocol.summary())
    assert "2 coordinates in 1 file: 1 imported, 1 left out (1 unreadable row)" in text
    assert f"not read: {tmp_path / NAMES[1]}.box: line 1" in text and "log.txt" in text


@pytest.mark.parametrize(
    "text, words", [("no box\n", "line 1: 2 columns"), ("1 2 30 30\n", "matches an input micrograph by name")]
)
def test_an_import_of_nothing_fails(scipion, tmp_path, text, words):
    (tmp_path / "nobody.box").write_text(text)
    with pytest.raises(AssertionError, match=words):
        scipion.import_picks(tmp_path, scipion.micrographs)


def test_picks_without_a_size_need_a_box_size(scipion, tmp_path):
    (tmp_path / "picks.txt").write_text(f"image_name\tx_coord\ty_coord\tscore\n{NAMES[0]}\t10\t20\t1.5\n")
    protocol = scipion.newProtocol(CryoIceProtImportCoordinates, coordinatesPath=str(tmp_path / "picks.txt"))
    point(protocol.inputMicrographs, scipion.micrographs)
    with pytest.raises(AssertionError, match="does not contain the box size; set 'Box size' in the form"):
        scipion.run_here(protocol)
    protocol, _ = scipion.import_picks(tmp_path / "picks.txt", scipion.micrographs, box=24)
    assert protocol.outputCoordinates.getBoxSize() == 24


@pytest.mark.parametrize("streaming", [False, True])
def test_blanks_around_a_path_do_not_matter(scipion, folder, streaming):
    path = f" {folder / 'good.star'} "
    protocol, _ = scipion.import_picks(path, scipion.micrographs, dataStreaming=streaming, timeout=0)
    assert protocol.outputCoordinates.getSize() == 14 * (len(NAMES) - 1)


def test_an_import_is_not_continued_with_another_pixel_size_or_flip(scipion, folder):
    protocol, _ = scipion.import_picks(folder / "good.star", scipion.micrographs)
    assert protocol._validate() == []
    protocol.coordinatesPixelSize.set(9.0)
    protocol.flipY.set(True)
    assert protocol._validate() == [
        f"'{label}' was changed after the run had begun. Restore the old value, or choose Restart."
        for label in ("Pixel size of the coordinates (Å/px; 0: from file)", "Flip y?")
    ]
    protocol.runMode.set(MODE_RESTART)
    assert protocol._validate() == []


def test_unreadable_picks_are_told_before_the_run():
    protocol = CryoIceProtImportCoordinates(coordinatesPath="/no/such/picks.star")
    assert protocol._validate() == ["/no/such/picks.star: there is no such file or folder; check the path"]


def test_a_cryoppp_folder_gives_true_and_false_coordinates(scipion, folder, tmp_path):
    entry = tmp_path / "10017"
    (entry / "micrographs").mkdir(parents=True)
    for name in NAMES[:2]:
        (entry / "micrographs" / f"{name}.mrc").symlink_to(folder / "full" / f"{name}.mrc")
    for seed, name in enumerate(NAMES[:2]):
        for kind, good in (("particle_coordinates", True), ("false_positives", False)):
            target = entry / "ground_truth" / kind
            target.mkdir(parents=True, exist_ok=True)
            table = pd.DataFrame(places(seed, good), columns=["X-Coordinate", "Y-Coordinate"])
            table["Diameter"] = BOX
            table.to_csv(target / f"{name}.csv", index=False)
    protocol = scipion.newProtocol(CryoIceProtImportCryoPPP, folder=str(entry))
    scipion.run_here(protocol)
    assert protocol.outputMicrographs.getSamplingRate() == PIXEL_SIZE  # of the header
    assert protocol.outputCoordinates.getSize() == protocol.outputCoordinatesFalse.getSize() == 28
    assert protocol.outputCoordinates.getBoxSize() == 44  # 1.5 particle diameters, an even number
    assert protocol.outputCoordinatesFalse.getMicrographs().getSize() == 2


def test_a_folder_that_is_no_cryoppp_entry_is_told(tmp_path):
    (error,) = CryoIceProtImportCryoPPP(folder=str(tmp_path))._validate()
    assert "has no folder micrographs" in error


def test_a_folder_that_is_no_model_is_told(tmp_path):
    (error,) = CryoIceProtImportModel(modelFolder=str(tmp_path))._validate()
    assert "model.json is missing" in error


def test_micrographs_that_cannot_be_read_are_imported_all_the_same(scipion):
    names = {item.getMicName() for item in items(scipion.micrographs[0].outputMicrographs).values()}
    assert any(BROKEN in name for name in names)
