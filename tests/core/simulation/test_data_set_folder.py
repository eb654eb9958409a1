# SPDX-License-Identifier: GPL-3.0-or-later
import argparse
import json

import mrcfile
import numpy as np
import pytest
import starfile

from cryoice_scipion.constants import CLASSES
from cryoice_scipion.core.cli import simulate as command
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.simulation import folder as folder_module
from cryoice_scipion.core.simulation.folder import DataSet, config_of, write_data_set

SETTINGS = {"number": 3, "seed": 11, "rows": 160, "columns": 200, "pixel_size": 6.0}


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    write_data_set(folder, DataSet(**SETTINGS), progress=False)
    return folder


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_micrographs_and_labels_have_their_pixel_sizes(data_set):
    for index in (1, 2, 3):
        with mrcfile.open(data_set / f"micrographs/sim_000{index}.mrc") as mrc:
            assert mrc.data.shape == (160, 200)
            assert mrc.data.dtype == np.float32
            assert float(mrc.voxel_size.x) == pytest.approx(6.0)
        with mrcfile.open(data_set / f"labels/sim_000{index}.mrc") as mrc:
            assert mrc.data.dtype == np.int8
            assert mrc.data.shape == (120, 150)
            assert float(mrc.voxel_size.x) == pytest.approx(8.0)
            assert set(np.unique(mrc.data)) <= set(range(len(CLASSES)))


def test_picks_are_the_good_and_the_bad_ones_mixed(data_set):
    tables = {name: starfile.read(data_set / f"{name}.star") for name in ("picks", "good", "bad")}
    assert len(tables["picks"]) == len(tables["good"]) + len(tables["bad"])
    for table in tables.values():
        assert list(table.columns) == ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY", "cryoiceDiameter"]
    everything = {tuple(row) for name in ("good", "bad") for row in tables[name].itertuples(index=False)}
    assert {tuple(row) for row in tables["picks"].itertuples(index=False)} == everything


def test_an_interrupted_run_ends_with_the_same_files(data_set, tmp_path, monkeypatch):
    calls = []
    original = folder_module.simulate

    def interrupted(config, rng):
        calls.append(config)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(config, rng)

    monkeypatch.setattr(folder_module, "simulate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_data_set(tmp_path / "set", DataSet(**SETTINGS), progress=False)
    write_data_set(tmp_path / "set", DataSet(**SETTINGS), progress=False)
    assert len(calls) == 4  # the first, complete one is not made again
    assert contents(tmp_path / "set") == contents(data_set)


def test_a_larger_number_adds_to_a_folder(data_set, tmp_path):
    write_data_set(tmp_path / "set", DataSet(**{**SETTINGS, "number": 1}), progress=False)
    write_data_set(tmp_path / "set", DataSet(**SETTINGS), progress=False)
    assert contents(tmp_path / "set") == contents(data_set)


def test_other_settings_are_refused_in_a_folder_that_is_in_use(data_set):
    with pytest.raises(SettingsError, match="seed"):
        write_data_set(data_set, DataSet(**{**SETTINGS, "seed": 12}), progress=False)


def test_clean_share_of_one_has_no_kinds_and_kinds_are_obeyed(tmp_path):
    write_data_set(tmp_path / "clean", DataSet(**{**SETTINGS, "number": 2, "clean_share": 1.0}), progress=False)
    overview = json.loads((tmp_path / "clean/simulation.json").read_text())["micrographs"]
    assert [row["kinds"] for row in overview] == [[], []]
    write_data_set(
        tmp_path / "gold", DataSet(**{**SETTINGS, "number": 2, "clean_share": 0.0}, kinds=["gold"]), progress=False
    )
    overview = json.loads((tmp_path / "gold/simulation.json").read_text())["micrographs"]
    assert [row["kinds"] for row in overview] == [["gold"], ["gold"]]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_published_ones_are_filtered_both_ways_in_8_bits(share, tmp_path):
    write_data_set(tmp_path, DataSet(**{**SETTINGS, "number": 6}, published_share=share), progress=False)
    configs = [json.loads(path.read_text())["config"] for path in (tmp_path / "truth").glob("*.json")]
    filtered = [bool(it["low_pass"] and it["high_pass"] and it["values"] == "bytes") for it in configs]
    assert filtered == [bool(share)] * 6


def test_raw_frames_are_the_same_scenes_as_a_camera_stores_them():
    (usual, _), (raw, _) = (config_of(2, DataSet(**SETTINGS, raw_share=share).checked()) for share in (0.0, 1.0))
    assert raw.values == "frame"
    assert usual.values != "frame"
    assert (raw.defocus_um, raw.thickness, raw.border) == (usual.defocus_um, usual.thickness, usual.border)
    assert raw.dose < usual.dose
    assert raw.low_pass is raw.high_pass is None


def test_the_micrographs_of_one_session_differ_in_defocus_and_contamination_only(tmp_path):
    write_data_set(tmp_path, DataSet(**{**SETTINGS, "number": 6, "clean_share": 0.0}, one_session=True), progress=False)
    configs = [json.loads(path.read_text())["config"] for path in sorted((tmp_path / "truth").glob("*.json"))]
    differ = {name for config in configs for name, value in config.items() if value != configs[0][name]}
    assert differ == {"defocus_um", "kinds", "areas"}
    with pytest.raises(SettingsError, match="one_session"):
        write_data_set(tmp_path, DataSet(**{**SETTINGS, "number": 6, "clean_share": 0.0}), progress=False)


def test_a_folder_that_does_not_say_how_many_are_published_goes_on(data_set, tmp_path):
    write_data_set(tmp_path, DataSet(**{**SETTINGS, "number": 1}), progress=False)
    summary = tmp_path / "simulation.json"
    values = json.loads(summary.read_text())
    del values["published_share"], values["one_session"], values["raw_share"]
    summary.write_text(json.dumps(values))
    write_data_set(tmp_path, DataSet(**SETTINGS), progress=False)
    assert contents(tmp_path) == contents(data_set)


@pytest.mark.parametrize(
    "wrong",
    [{"number": 0}, {"seed": -1}, {"clean_share": 2}, {"published_share": 2}, {"raw_share": -1}, {"pixel_size": 0}],
)
def test_wrong_settings_write_nothing(wrong, tmp_path):
    with pytest.raises(SettingsError):
        write_data_set(tmp_path / "set", DataSet(**{**SETTINGS, **wrong}), progress=False)
    assert not (tmp_path / "set").exists()


def test_command_line_makes_a_data_set(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = "--number 1 --seed 2 --size 128x160 --pixel-size 8 --kinds carbon --clean-share 0 --quiet"
    args = parser.parse_args(["--output", str(tmp_path / "set"), *words.split()])
    assert command.main(args) == 0
    with mrcfile.open(tmp_path / "set/micrographs/sim_0001.mrc") as mrc:
        assert mrc.data.shape == (128, 160)
    assert "1 micrograph " in capsys.readouterr().out


def test_a_size_that_is_none_is_refused():
    with pytest.raises(argparse.ArgumentTypeError, match="2048x2048"):
        command.size("large")
