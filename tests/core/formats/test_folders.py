# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of coordinate files as programs leave them: RELION jobs, subfolders, two pickers, several sources."""

import os

import pytest

from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, X, read_picks
from cryoice_scipion.core.formats.matching import assign_picks
from cryoice_scipion.core.images.stems import stem_of
from cryoice_scipion.core.records import MicrographTask

HEAD = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n"
PARTICLES = "data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n"
#: RELION's own files of a job; the values of job.star are no valid table.
OWN = {
    "job.star": "data_job\n_rlnJobType 5\ndata_joboptions_values\nloop_\n_rlnJobOptionVariable\n_b\na b c\n",
    "job_pipeline.star": "data_pipeline_general\n_rlnPipeLineJobCounter 9\n",
    "default_pipeline.star": "data_pipeline_general\n_rlnPipeLineJobCounter 9\n",
    "logfile.star": "data_\n_a 1\n",
    "backup_job.star": "data_job\n",
    "RELION_OUTPUT_NODES.star": "data_output_nodes\nloop_\n_rlnPipeLineNodeName\nx\n",
    "run.out": "ran\n",
    "note.txt": "++++ Executing new job\n",
}


def tree(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def rows(picks):
    return sorted(zip(picks.table[MICROGRAPH], picks.table[X]))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a RELION project that is the current folder, with two motion-corrected micrographs."""
    names = "".join(f"MotionCorr/job002/Movies/m{number}.mrc\n" for number in (1, 2))
    head = "data_optics\nloop_\n_rlnOpticsGroup\n1\ndata_micrographs\nloop_\n_rlnMicrographName\n"
    tree(tmp_path, {"MotionCorr/job002/corrected_micrographs.star": head + names})
    monkeypatch.chdir(tmp_path)
    return tmp_path


M1 = "MotionCorr/job002/Movies/m1.mrc"
LIST = "data_coordinate_files\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n"
SUFFIX = {
    "coords_suffix_topaz.star": "MotionCorr/job002/corrected_micrographs.star\n",
    "Movies/m1_topaz.star": HEAD + "1 2\n3 4\n",
}


@pytest.mark.parametrize(
    ("files", "used", "found"),
    [
        ({"autopick.star": LIST + f"{M1} AutoPick/job008/Movies/m1_autopick.star\n",
          "Movies/m1_autopick.star": HEAD + "1 2\n"}, "autopick.star", [(M1, 1)]),
        ({"particles.star": PARTICLES + "m1.mrc 1 2\n", "Movies/m1_extract.star": HEAD + "7 8\n"}, "particles.star",
         [("m1.mrc", 1)]),
        (SUFFIX, "coords_suffix_topaz.star", [(M1, 1), (M1, 3)]),
        ({f"run_it{n:03}_data.star": PARTICLES + f"m1.mrc {n} 2\n" for n in (0, 24, 25)}, "run_it025_data.star",
         [("m1.mrc", 25)]),
    ],
)  # fmt: skip
def test_a_relion_job_is_read_from_its_file_of_coordinates_and_its_own_files_do_not_stop_it(
    project, files, used, found
):
    job = tree(project / "AutoPick" / "job008", {**OWN, **files})
    picks = read_picks(job)
    assert rows(picks) == found and not picks.warnings
    assert used in picks.notes[0]


def test_a_relion_3_job_with_two_sets_of_coordinates_is_refused(project):
    job = tree(project / "job", {**OWN, **SUFFIX, "coords_suffix_manualpick.star": SUFFIX["coords_suffix_topaz.star"]})
    words = r"^{}: is a RELION job .*\(coords_suffix_manualpick.star, coords_suffix_topaz.star\); give one"
    with pytest.raises(CoordinatesError, match=words.format(job)):
        read_picks(job)


def test_a_folder_of_bookkeeping_files_does_not_hide_picks_beside_it(tmp_path):
    own = {name: text for name, text in OWN.items() if name != "note.txt"}
    picks = read_picks(tree(tmp_path, {**own, "m1_autopick.star": HEAD + "1 2\n", "m2_autopick.star": HEAD}))
    assert rows(picks) == [("m1_autopick", 1)] and not picks.not_read and not picks.other


@pytest.mark.parametrize(
    ("listed", "picks_at"),
    [
        (M1, "Movies/m1_topaz.star"),
        ("Movies/m1.mrc", "Movies/m1_topaz.star"),
        ("m1.tif", "m1_topaz.star"),
        ("/abs/olute/m1.mrc", "m1_topaz.star"),
    ],
)
def test_relion_3_finds_the_picks_of_each_micrograph_below_the_suffix_file(project, listed, picks_at):
    listing = project / "CtfFind" / "job003" / "micrographs_ctf.star"
    tree(project, {"CtfFind/job003/micrographs_ctf.star": f"data_\nloop_\n_rlnMicrographName\n{listed}\nother.mrc\n"})
    job = tree(project / "job", {picks_at: HEAD + "5 6\n", "coords_suffix_topaz.star": f"\n{listing}\n"})
    picks = read_picks(job / "coords_suffix_topaz.star")
    assert rows(picks) == [(listed, 5)]
    assert "1 micrograph of the list has none" in picks.notes[0]


def test_a_copied_relion_3_job_is_read_without_its_project_and_an_empty_one_is_an_error(tmp_path):
    job = tree(tmp_path / "copied", SUFFIX)
    assert rows(read_picks(job / "coords_suffix_topaz.star")) == [("m1", 1), ("m1", 3)]
    (job / "Movies" / "m1_topaz.star").unlink()
    with pytest.raises(
        CoordinatesError, match=r"_topaz.star: there is no file \*_topaz.star below .*; give the folder"
    ):
        read_picks(job / "coords_suffix_topaz.star")


BOX = "0 0 2 2\n"


def tasks_of(names):
    return [MicrographTask(number, name, stem_of(name)) for number, name in enumerate(names, 1)]


def test_subfolders_are_read_if_the_folder_itself_has_no_coordinates(tmp_path):
    folder = tree(tmp_path, {"Sq1/Data/a.box": BOX, "Sq2/b.box": BOX, ".hidden/c.box": BOX, "readme.txt": "hello\n"})
    tree(tmp_path, {"run/journal.jsonl": "", "run/coordinates/kept.star": HEAD + "1 2\n"})
    tree(tmp_path, {"filtered/summary.json": "", "filtered/micrographs.csv": "", "filtered/coordinates/a.box": BOX})
    (tmp_path / "Sq1" / "loop").symlink_to(tmp_path)
    picks = read_picks(folder)
    assert rows(picks) == [("a", 1), ("b", 1)]
    assert "2 coordinate files in 2 subfolders are read" in picks.notes[0]
    tree(tmp_path, {"d.box": BOX})
    picks = read_picks(folder)
    assert rows(picks) == [("d", 1)] and "2 coordinate files in its subfolders are not used" in picks.notes[0]


def test_a_job_among_subfolders_counts_once(project):
    tree(project / "AutoPick" / "job008", {**OWN, **SUFFIX})
    assert rows(read_picks(project / "AutoPick")) == [(M1, 1), (M1, 3)]


@pytest.mark.parametrize("folder", ["", "Movies/"])
def test_files_that_a_list_names_are_read_once_in_a_folder_without_the_marks_of_a_job(project, folder):
    text = LIST + "".join(f"{M1[:-5]}{number}.mrc AutoPick/job008/{folder}m{number}_pick.star\n" for number in (1, 2))
    files = {"autopick.star": text, f"{folder}m1_pick.star": HEAD + "1 2\n", f"{folder}m2_pick.star": HEAD + "3 4\n"}
    picks = read_picks(tree(project / "AutoPick" / "job008", files))
    assert rows(picks) == [(M1, 1), (f"{M1[:-5]}2.mrc", 3)]
    assert not picks.notes and not picks.warnings and picks.counts(0, 0).files == 2
    tree(project / "AutoPick" / "job008", {"Movies/m9_pick.star": HEAD + "9 9\n"})
    picks = read_picks(project / "AutoPick" / "job008")
    assert len(picks) == 2 and "1 coordinate file in its subfolders is not used" in picks.notes[0]


def test_listed_text_files_are_not_called_unused(tmp_path):
    files = {
        "autopick.star": f"{LIST}{M1} {tmp_path}/m1.txt\n",
        "m1.txt": "x_coord\ty_coord\n1\t2\n",
        "m2.txt": "1 2\n",
    }
    picks = read_picks(tree(tmp_path, files))
    assert rows(picks) == [(M1, 1)] and picks.counts(0, 0).other == [str(tmp_path / "m2.txt")]


def test_dead_links_and_unreadable_subfolders_are_named(tmp_path):
    tree(tmp_path, {"sub/a.box": BOX, "closed/b.box": BOX})
    (tmp_path / "sub" / "gone.box").symlink_to(tmp_path / "nowhere")
    os.chmod(tmp_path / "closed", 0)
    try:
        warnings = read_picks(tmp_path).warnings
        assert any("1 link points to a missing file" in line and "gone.box" in line for line in warnings)
        if os.getuid():
            assert any("closed (Permission denied)" in line for line in warnings)
    finally:
        os.chmod(tmp_path / "closed", 0o700)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"mic_001_topaz.box": BOX, "mic_001_cryolo.box": BOX + "9 9 2 2\n"}, ["1 micrograph ", "1 of their"]),
        ({"mic_001_topaz.box": BOX, "mic_002_topaz.box": BOX}, []),
        ({"1.star": PARTICLES + "a/m.mrc 1 1\n", "2.star": PARTICLES + "b/m.mrc 1 1\n"}, []),
        ({"1.star": PARTICLES + "a/n.mrc 1 1\nc.mrc 1 1\n", "2.star": PARTICLES + "n.mrc 2 1\nc.mrc 3 1\n"},
         ["2 micrographs ", "0 of their"]),
        ({"X.box": BOX, "X_DW.box": BOX}, []),
        ({"X.box": BOX, "X_DW.box": BOX, "X_DW_topaz.box": BOX}, ["1 micrograph ", "X_DW_topaz.box of X_DW; 1 of"]),
        ({"Y.box": BOX, "Y_DW.box": BOX}, ["1 micrograph ", "of Y; 1 of their"]),
    ],
)  # fmt: skip
def test_several_files_of_one_micrograph_are_joined_and_named(tmp_path, files, said):
    picks = read_picks(tree(tmp_path, files))
    assert len(picks) == sum(text.count("\n") - 5 * text.startswith("data") for text in files.values())
    names = ["mic_001.mrc", "mic_002.mrc", "a/m.mrc", "b/m.mrc", "a/n.mrc", "c.mrc", "X.mrc", "X_DW.mrc", "Y.mrc"]
    warnings = assign_picks(picks, tasks_of(names)).warnings
    assert all(word in " ".join(warnings) for word in said) and len(warnings) == bool(said) and not picks.warnings
    assert all(name in warnings[0] for name in list(files)[-2:]) if said else True


def test_of_three_files_of_one_micrograph_the_first_two_are_named_and_equal_positions_count_once(tmp_path):
    names = ["mic_001_autopick.box", "mic_001_cryolo.box", "mic_001_topaz.box"]
    (warning,) = assign_picks(read_picks(tree(tmp_path, dict.fromkeys(names, BOX))), tasks_of(["mic_001.mrc"])).warnings
    first, second = tmp_path / names[0], tmp_path / names[1]
    assert f"such as {first} and {second} of mic_001; 1 of their positions are in more" in warning


def test_picks_of_relion_and_cryosparc_on_one_micrograph_are_joined(tmp_path):
    corrected = f"J5/motioncorrected/{7:021d}_m_patch_aligned_doseweighted.mrc"
    tree(
        tmp_path,
        {"r.star": f"{PARTICLES}MotionCorr/job002/Movies/m.mrc 1 2\n", "c.star": f"{PARTICLES}{corrected} 3 4\n"},
    )
    picks = read_picks([tmp_path / "r.star", tmp_path / "c.star"])
    task = MicrographTask(1, "/p/MotionCorr/job002/Movies/m.mrc", "m")
    matches = assign_picks(picks, [task])
    assert "of 1 micrograph are in several files and are joined" in matches.warnings[0]
    assert not matches.unmatched and [pick.x for pick in task.picks] == [1, 3]


def test_several_sources_of_other_formats_are_one_table_and_ids_are_rows(tmp_path):
    tree(tmp_path, {"boxes/a.box": BOX, "b.star": PARTICLES + "b.mrc 5 6\n", "a.csv": "x,y\n7,8\n"})
    paths = [tmp_path / name for name in ("boxes", "b.star", "a.csv")]
    picks = read_picks(paths)
    assert picks.table[X].tolist() == [1, 5, 7] and picks.files == 3 and list(picks.table.index) == [0, 1, 2]
    (warning,) = assign_picks(picks, tasks_of(["a.mrc"])).warnings
    assert "of 1 micrograph are in several files" in warning and f"{paths[0] / 'a.box'} and {paths[2]} of a;" in warning
    with pytest.raises(CoordinatesError, match="there is no such file"):
        read_picks([*paths, tmp_path / "typo.star"])
    tree(tmp_path, {"bad.star": "words\n"})
    assert list(read_picks([*paths, tmp_path / "bad.star"]).not_read) == [str(tmp_path / "bad.star")]


def test_an_output_folder_of_cryoice_is_refused_with_the_file_to_give(tmp_path):
    boxes = "micrograph,x,y,width,height\nm,1,2,3,4\n"
    files = {"journal.jsonl": "", "regions.csv": boxes, "micrographs.csv": "stem\nm\n"}
    files.update({"coordinates/kept.star": HEAD + "1 2\n", "coordinates/rejected.star": HEAD + "5 6\n"})
    run = tree(tmp_path / "run", files)
    for folder, words in ((run, "is an output folder of cryoice"), (run / "coordinates", "has the kept and the rej")):
        with pytest.raises(CoordinatesError, match=f"{words}.*{run}/coordinates/kept.star"):
            read_picks(folder)
    assert rows(read_picks(tree(run, {"m.star": HEAD + "7 8\n"}))) == [("m", 7)]  # picks beside the output
