# SPDX-License-Identifier: GPL-3.0-or-later
"""Other inputs of the command line: subfolders, several sources, compressed files, long and equal names."""

import gzip
import json
import shutil

import mrcfile
import numpy as np
import pandas as pd
import pytest

from cryoice_scipion.core.cli import main
from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.formats.star import read_star

pytest.importorskip("torch")
HEAD = "data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n"
LONG = "n" * 240


@pytest.fixture
def run(model, tmp_path, capsys):
    """Return a function that screens and returns the rows of micrographs.csv by stem, the summary, and the log."""

    def screen(*words, status=0, output="run"):
        fixed = ["--output", tmp_path / output, "--model", model, "--device", "cpu", "--reference", 0]
        assert main(["screen", *map(str, [*words, *fixed, "--particle-diameter", 40])]) == status
        said = capsys.readouterr().err
        assert "Traceback" not in said
        if status == 2:
            return said
        table = pd.read_csv(tmp_path / output / "micrographs.csv", index_col="stem")
        summary = json.loads((tmp_path / output / "summary.json").read_text())
        assert summary["input_picks"] == summary["kept"] + summary["rejected"] + sum(summary["left_out"].values())
        return table, summary, said

    return screen


def test_a_resume_refuses_a_list_with_another_pixel_size_unless_the_file_has_changed(run, tmp_path, micrographs):
    image = tmp_path / "m.mrc"
    shutil.copy(micrographs / "mic0.mrc", image)

    def listed(size):
        path = tmp_path / f"at_{size}.star"
        path.write_text(f"data_\nloop_\n_rlnMicrographName\n_rlnMicrographPixelSize\n{image} {size}\n")
        return path

    table, _, _ = run(listed(3.0))
    assert table.loc["m", "pixel_size"] == 3.0
    run(listed(3.01), "--resume")  # the same but for calibration
    said = run(listed(2.0), "--resume", status=2)
    assert f"{image}: was screened at 3 Å/px, and is now given with 2 Å/px; use the same settings, or start" in said
    shutil.copy(micrographs / "mic1.mrc", image)  # as a new motion correction would
    table, _, _ = run(listed(2.0), "--resume")
    assert table.loc["m", "pixel_size"] == 2.0 and "file_changed" in table.loc["m", "flags"]


def test_subfolders_compressed_files_and_long_names_get_outputs(run, micrographs, tmp_path):
    epu = tmp_path / "Images-Disc1"
    for name, source in (("Sq1/a.mrc", 0), ("Sq2/a.mrc", 1), (f"Sq2/{LONG}.mrc", 2)):
        (epu / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(micrographs / f"mic{source}.mrc", epu / name)
    data = (micrographs / "mic0.mrc").read_bytes()
    (epu / "Sq3").mkdir()
    (epu / "Sq3" / "packed.mrc.gz").write_bytes(gzip.compress(data))
    (epu / "Sq3" / "gone.mrc").symlink_to(tmp_path / "nowhere")
    picks = tmp_path / "picks.star"
    picks.write_text(f"{HEAD}Sq1/a.mrc 1 1\nSq2/a.mrc 2 2\nSq2/a.mrc 3 3\n{LONG}.mrc 4 4\npacked.mrc 5 5\na.mrc 9 9\n")
    table, summary, said = run(epu, "--coordinates", picks, status=1)
    assert "4 images in 3 subfolders are used" in said and "gone.mrc" in said
    assert table["picks"].to_dict().items() >= {"a": 1, "Sq2_a": 2, "packed": 1}.items()
    assert summary["left_out"] == {"ambiguous_name": 1} and summary["failed"] == 0
    long = table[table["path"].str.contains(LONG)]
    assert long["picks"].tolist() == [1] and len(long.index[0]) == 200
    assert table.loc["packed", "bad_area"] == table.loc["a", "bad_area"]
    kept = [read_picks(tmp_path / "run/coordinates" / f"{name}.star").table for name in ("kept", "rejected")]
    assert sorted(pd.concat(kept)["rlnCoordinateX"]) == [1, 2, 3, 4, 5, 9]


def test_several_coordinate_sources_are_one_and_a_run_with_them_resumes(run, micrographs, tmp_path):
    mics = [micrographs / f"mic{number}.mrc" for number in (0, 1)]
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / "mic0_topaz.box").write_text("0 0 20 20\n40 40 20 20\n")
    (tmp_path / "b.star").write_text(f"{HEAD}mic1.mrc 5 5\nmic0.mrc 10 10\n")
    words = ["--coordinates", tmp_path / "boxes", "--coordinates", tmp_path / "b.star"]
    table, summary, said = run(mics[0], *words)
    assert table["picks"].tolist() == [3] and summary["left_out"] == {"unmatched": 1}
    assert "coordinates of 1 micrograph are in several files" in said and "1 of their positions" in said
    before = table.drop(columns="seconds").loc["mic0"]
    table, summary, _ = run(*mics, *words, "--resume")
    assert table["picks"].tolist() == [3, 1] and summary["left_out"] == {} and summary["files_read"] == 2
    assert table.drop(columns="seconds").loc["mic0"].equals(before)


def test_a_list_and_the_folder_of_its_files_are_used_once_and_named_in_one_line(run, micrographs, tmp_path, capsys):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "mic0_pick.star").write_text(
        "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n5 5\n10 10\nx 1\n"
    )
    listing = tmp_path / "autopick.star"
    head = "data_\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n"
    listing.write_text(f"{head}mic0.mrc {tmp_path}/job/mic0_pick.star\n")
    words = ["--coordinates", tmp_path / "job", "--coordinates", listing, "--coordinates", listing]
    table, summary, said = run(micrographs / "mic0.mrc", *words, status=1)
    line = f"1 coordinate file is given more than once and used once: {tmp_path}/job/mic0_pick.star"
    assert said.count(line) == 1 and "are joined" not in said and said.count("line 7") == 1
    assert (
        table["picks"].tolist() == [2] and summary["left_out"] == {"unreadable_row": 1} and summary["files_read"] == 1
    )
    words = ["filter", tmp_path / "run", *words, "--output", tmp_path / "new", "--particle-diameter", 40]
    assert main([*map(str, words)]) == 1
    printed = capsys.readouterr()
    assert "3 coordinates in 1 file: " in printed.out and "1 left out (1 unreadable row)" in printed.out
    assert printed.err.count(line) == 1


def test_one_wrong_source_of_several_is_named(run, micrographs, tmp_path):
    (tmp_path / "b.star").write_text(f"{HEAD}mic0.mrc 10 10\n")
    (tmp_path / "bad.box").write_text("words\n")
    words = [micrographs / "mic0.mrc", "--coordinates", tmp_path / "b.star", "--coordinates"]
    _, summary, _ = run(*words, tmp_path / "bad.box", status=1)
    assert summary["files_not_read"] == [str(tmp_path / "bad.box")]
    assert "typo.star: there is no such file" in run(*words, tmp_path / "typo.star", status=2, output="other")


def test_coordinate_files_without_coordinates_are_a_warning(run, micrographs, tmp_path):
    (tmp_path / "blank.star").write_text(HEAD)
    _, summary, said = run(micrographs / "mic0.mrc", "--coordinates", tmp_path / "blank.star")
    assert summary["warnings"] == ["1 coordinate file holds no coordinates"] and summary["warnings"][0] in said
    assert run(micrographs / "mic0.mrc", output="other")[1]["warnings"] == []


def test_a_folder_that_is_not_there_and_an_output_that_is_a_file_are_one_line(run, micrographs, tmp_path):
    assert "nowhere: there is no such file or folder; check the path" in run(tmp_path / "nowhere", status=2)
    assert not (tmp_path / "run").exists()  # so that the corrected command can be given
    (tmp_path / "run").write_text("notes")
    for output in ("run", "run/inside"):
        said = run(micrographs / "mic0.mrc", status=2, output=output)
        assert "cannot be written" in said and "choose another folder" in said and "--resume" not in said
    assert (tmp_path / "run").read_text() == "notes"


def test_filter_takes_several_sources_too(run, micrographs, tmp_path):
    run(micrographs / "mic0.mrc")
    (tmp_path / "mic0.box").write_text("0 0 20 20\n")
    (tmp_path / "b.star").write_text(f"{HEAD}mic0.mrc 10 10\nmic0.mrc 30 30\n")
    words = ["filter", tmp_path / "run", "--coordinates", tmp_path / "mic0.box", "--coordinates", tmp_path / "b.star"]
    assert main([*map(str, [*words, "--output", tmp_path / "new", "--particle-diameter", 40])]) == 0
    summary = json.loads((tmp_path / "new" / "summary.json").read_text())
    assert summary["input_picks"] == 3 == summary["kept"] + summary["rejected"]


OPTICS = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnOpticsGroupName\n_rlnMicrographPixelSize\n7 one 4.0\n"


@pytest.mark.parametrize("listed", [True, False])
def test_accepted_and_discarded_micrographs_are_listed_with_the_columns_of_the_input(
    run, micrographs, tmp_path, monkeypatch, listed
):
    """Each list can be given to RELION, and to a new screening."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Mics").symlink_to(micrographs)
    names = [f"Mics/mic{number}.mrc" for number in range(3)] + ["Mics/gone.mrc"]
    rows = "".join(f"{name} {number}.5 7\n" for number, name in enumerate(names))
    head = "data_micrographs\nloop_\n_rlnMicrographName\n_rlnDefocusU\n_rlnOpticsGroup\n"
    (tmp_path / "mics.star").write_text(f"{OPTICS}\n{head}{rows}")
    table, _, _ = run(*(["mics.star"] if listed else names), status=1)
    middle = table["bad_area"].median()
    table, _, _ = run(*(["mics.star"] if listed else names), "--max-bad-area", middle, status=1, output="new")
    assert set(table["status"]) == {"accepted", "discarded", "failed"}
    for status in ("accepted", "discarded", "failed"):
        blocks = {block.name: block.table for block in read_star(tmp_path / "new" / "micrographs" / f"{status}.star")}
        found = blocks["micrographs"]
        assert found["rlnMicrographName"].tolist() == table["path"][table["status"] == status].tolist()
        if listed:
            assert found["rlnDefocusU"].tolist() == [names.index(name) + 0.5 for name in found["rlnMicrographName"]]
            assert blocks["optics"].values.tolist() == [[7, "one", 4.0]]
        elif status != "failed":
            assert blocks["optics"]["rlnMicrographPixelSize"].tolist() == table["pixel_size"].dropna().unique().tolist()
    again, _, _ = run("new/micrographs/accepted.star", output="again")
    assert list(again.index) == table.index[table["status"] == "accepted"].tolist()


def test_kept_coordinates_are_also_written_as_boxes(run, micrographs, tmp_path):
    (tmp_path / "picks.star").write_text(f"{HEAD}mic0.mrc 50 60\nmic0.mrc 20.5 30\n")
    words = [micrographs / "mic0.mrc", "--coordinates", tmp_path / "picks.star", "--threshold", -1]
    run(*words)
    folder = tmp_path / "run" / "coordinates" / "per_micrograph"
    assert not list(folder.glob("*.box"))
    table, _, _ = run(*words, "--box-files", "--resume")
    boxes, star = read_picks(folder / "mic0.box").table, read_picks(folder / "mic0_cryoice.star").table
    for column in ("rlnCoordinateX", "rlnCoordinateY"):
        assert boxes[column].tolist() == star[column].tolist()
    assert set(boxes["cryoiceBoxSize"]) == {2 * round(40 / table["pixel_size"].iloc[0] * 1.5 / 2)}


def test_what_pickers_say_is_in_the_files_for_relion_if_it_is_known(run, micrographs, tmp_path):
    head = f"{HEAD}_rlnAutopickFigureOfMerit\n_rlnClassNumber\n"
    (tmp_path / "auto.star").write_text(f"{head}mic0.mrc 50 60 0.5 2\nmic1.mrc 50 60 0.25 3\n")
    (tmp_path / "hand.star").write_text(f"{HEAD}mic1.mrc 20 30\n")
    sources = [word for name in ("auto", "hand") for word in ("--coordinates", tmp_path / f"{name}.star")]
    run(*(micrographs / f"mic{number}.mrc" for number in (0, 1)), *sources, "--threshold", -1)
    folder = tmp_path / "run" / "coordinates" / "per_micrograph"
    first, second = (read_star(folder / f"mic{number}_cryoice.star")[0].table for number in (0, 1))
    assert first["rlnClassNumber"].tolist() == [2] and "rlnClassNumber" not in second
    assert second["rlnAutopickFigureOfMerit"].tolist() == [0.25, -999]  # RELION's mark: it reads nan as 0


def test_a_resume_without_coordinates_leaves_no_stale_files(run, micrographs, tmp_path):
    (tmp_path / "picks.star").write_text(f"{HEAD}mic0.mrc 50 60\n")
    words = [micrographs / "mic0.mrc", "--coordinates", tmp_path / "picks.star", "--threshold", -1, "--box-files"]
    run(*words)
    (tmp_path / "run" / "coordinates" / "mine.star").write_text("")
    table, summary, said = run(words[0], "--threshold", -1, "--resume")
    assert table["picks"].tolist() == [0] == [summary["picks"]] and "no coordinates are given" in said
    assert [path.name for path in (tmp_path / "run" / "coordinates").rglob("*.*")] == ["mine.star"]
    run(*words, "--resume")
    assert len(read_picks(tmp_path / "run" / "coordinates" / "kept.star")) == 1


@pytest.mark.parametrize("way", ["screen", "resume", "filter", "watch", "api"])
def test_coordinates_that_match_no_micrograph_at_all_are_an_error_everywhere(run, model, micrographs, tmp_path, way):
    from cryoice_scipion import core as cryoice

    folder = tmp_path / "m"
    folder.mkdir()
    shutil.copy(micrographs / "mic0.mrc", folder)
    (tmp_path / "picks.star").write_text(f"{HEAD}other.mrc 50 60\n")
    picks = ["--coordinates", tmp_path / "picks.star"]
    if way in ("resume", "filter", "api"):
        run(folder)
    if way == "api":
        with pytest.raises(CoordinatesError, match="of 1 coordinate, none matches"):
            list(cryoice.screen_files(folder, cryoice.load(model, "cpu"), tmp_path / "run", picks[1], reference=0,
                                      particle_diameter=40.0))  # fmt: skip
    elif way == "filter":
        words = ["filter", tmp_path / "run", *picks, "--output", tmp_path / "new", "--particle-diameter", 40]
        assert main([*map(str, words)]) == 2
        assert len(read_picks(tmp_path / "new" / "coordinates" / "pending.star")) == 1
    else:
        more = {"resume": ["--resume"], "watch": ["--watch", "--timeout", 1, "--settle", 0.2], "screen": []}[way]
        assert "of 1 coordinate, none matches" in run(folder, *picks, *more, status=2)


def test_one_pixel_of_enormous_value_changes_nothing(run, micrographs, tmp_path):
    for name, value in (("a", None), ("b", 1e8)):
        shutil.copy(micrographs / "mic0.mrc", tmp_path / f"{name}.mrc")
        with mrcfile.open(tmp_path / f"{name}.mrc", "r+") as mrc:
            middle = np.median(mrc.data)
            mrc.data[20, 30] = middle if value is None else middle + value * mrc.data.std()
    table, _, _ = run(tmp_path / "a.mrc", tmp_path / "b.mrc")
    assert table.loc["b", "flags"].startswith("clipped_pixels=1")
    assert abs(table.loc["a", "bad_area"] - table.loc["b", "bad_area"]) < 0.01


def test_a_resume_with_more_folders_keeps_the_names_of_micrographs_that_are_screened(run, tmp_path, micrographs):
    for folder, source in (("Sq1", 0), ("Sq2", 1)):
        (tmp_path / folder).mkdir()
        shutil.copy(micrographs / f"mic{source}.mrc", tmp_path / folder / "a.mrc")
    paths = {name: str(tmp_path / name / "a.mrc") for name in ("Sq1", "Sq2")}
    first, _, _ = run(paths["Sq2"])
    again, summary, said = run(paths["Sq1"], paths["Sq2"], "--resume")
    assert again["path"].to_dict() == {"a": paths["Sq2"], "Sq1_a": paths["Sq1"]}
    assert again.loc["a", "bad_area"] == first.loc["a", "bad_area"]
    assert "changed" not in said and not again["flags"].astype(str).str.contains("changed").any()
    assert summary["micrographs"] == 2
