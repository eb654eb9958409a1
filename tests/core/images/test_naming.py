# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that mean one micrograph are matched; what could mean two is an error."""

from pathlib import Path

import pytest

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.images.naming import (
    NameIndex,
    contradicting_names,
    expand_micrographs,
    exposure_lists,
    match_names,
    micrograph_key,
    star_lists,
    stem_of,
)


@pytest.mark.parametrize(
    "name",
    [
        "FoilHole_1_Data_2.mrc",
        "FoilHole_1_Data_2_DW.mrc",
        "dir/FoilHole_1_Data_2_aligned_mic_DW.mrc",
        "000123456789012345678_FoilHole_1_Data_2_patch_aligned_doseweighted.mrc",
        "FoilHole_1_Data_2_autopick",
        "FoilHole_1_Data_2_manualpick",
        "C:\\data\\FoilHole_1_Data_2_extract.mrc",
        "FoilHole_1_Data_2_cryolo",
        "FoilHole_1_Data_2_DW_picks",
        "FoilHole_1_Data_2",
    ],
)
def test_names_of_one_micrograph_have_one_key(name):
    assert micrograph_key(name) == "FoilHole_1_Data_2"


@pytest.mark.parametrize(
    "suffix",
    [
        "topazpicks",
        "automatch",
        "cnnPick",
        "ptcls",
        "info",
        "BoxNet2Mask_20180918",
        "SumCorr",
        "fractions",
        "EER",
        "DW_picks",
    ],
)
def test_suffixes_of_cameras_and_pickers_are_ignored(suffix):
    assert micrograph_key(f"mic_001_{suffix}") == "mic_001"


def test_users_add_suffixes_of_their_own(monkeypatch):
    assert micrograph_key("m_1_mine_DW.mrc") == "m_1_mine"
    monkeypatch.setenv("CRYOICE_NAME_SUFFIXES", "_mine, v2")
    assert micrograph_key("m_1_mine_DW.mrc") == micrograph_key("m_1_V2_picks") == "m_1"


def test_what_is_not_a_suffix_stays():
    assert stem_of("a/b_1.77.mrc") == "b_1.77"
    assert micrograph_key("_DW.mrc") == "_DW"
    assert stem_of("0003@dir/stack.mrcs") == "stack_3"
    assert micrograph_key("17nov02b_aligned_ice.mrc") == "17nov02b_aligned_ice"


def test_exact_names_come_before_keys():
    available = ["d/a.mrc", "d/a_DW.mrc", "d/b_DW.mrc"]
    assert match_names(["a.mrc", "a_DW", "b", "c"], available) == {
        "a.mrc": "d/a.mrc",
        "a_DW": "d/a_DW.mrc",
        "b": "d/b_DW.mrc",
        "c": None,
    }


def test_a_name_that_fits_two_is_an_error_that_names_them():
    with pytest.raises(CryoIceError, match=r"a_DW\.mrc.*a_mic\.mrc"):
        match_names(["a"], ["a_DW.mrc", "a_mic.mrc"])
    assert match_names(["x/a.mrc"], ["x/a.mrc", "y/a.mrc"]) == {"x/a.mrc": "x/a.mrc"}


@pytest.mark.parametrize(
    "suffix", ["aligned", "aligned_mic", "DW", "noDW", "patch_aligned_doseweighted", "EER", "denoised"]
)
@pytest.mark.parametrize("picker", ["autopick", "manualpick", "cryolo", "topaz_picks", "mypicker"])
def test_picks_belong_to_the_sibling_with_the_longest_stem(suffix, picker, monkeypatch):
    monkeypatch.setenv("CRYOICE_NAME_SUFFIXES", "_mypicker")
    plain, other = "d/X.mrc", f"d/X_{suffix}.mrc"
    for names in ([plain, other], [other, plain]):
        assert match_names([f"X_{suffix}_{picker}", f"X_{picker}"], names) == {
            f"X_{suffix}_{picker}": other,
            f"X_{picker}": plain,
        }
    uid = f"{7:021d}_"
    assert (
        NameIndex([f"J1/{uid}X.mrc", f"J1/{uid}X_{suffix}.mrc"]).find(f"X_{suffix}_{picker}")
        == f"J1/{uid}X_{suffix}.mrc"
    )
    with pytest.raises(CryoIceError, match="fits several"):
        NameIndex([other, "d/X_motion.mrc"]).find(f"X_{picker}")
    with pytest.raises(CryoIceError, match="fits several"):
        NameIndex([plain, other]).find(f"X_motion_{picker}")


def test_the_folder_counts_before_the_longest_stem():
    assert NameIndex(["gridA/m.mrc", "gridB/m_DW.mrc"]).find("gridB/m_autopick") == "gridB/m_DW.mrc"
    assert (
        NameIndex(["gridA/m_DW.mrc", "gridB/m_DW.mrc", "gridB/m.mrc"]).find("gridB/m_DW_autopick") == "gridB/m_DW.mrc"
    )
    assert NameIndex(["m.mrc", "m_auto.mrc"]).find("m_auto_picks") == "m_auto.mrc"


def test_files_globs_and_folders(tmp_path):
    for name in ("b.mrc", "a.tif", "notes.txt", ".hidden.mrc"):
        (tmp_path / name).write_text("")
    from_folder = expand_micrographs([str(tmp_path)])
    assert [(task.id, task.stem) for task in from_folder] == [(1, "a"), (2, "b")]
    assert [task.stem for task in expand_micrographs([f"{tmp_path}/*.mrc", str(tmp_path / "b.mrc")])] == ["b"]
    assert expand_micrographs(["not_there.mrc"])[0].path == "not_there.mrc"  # the screening says so
    (tmp_path / "deep").mkdir()
    for arguments in ([f"{tmp_path}/*.png"], [str(tmp_path / "deep")], []):
        with pytest.raises(CryoIceError):
            expand_micrographs(arguments)


def test_a_file_given_twice_counts_once_and_frames_are_found_beside_their_list(tmp_path):
    assert [task.path for task in expand_micrographs(["x/a.mrc", "./x/a.mrc"])] == ["x/a.mrc"]
    (tmp_path / "Mics").mkdir()
    (tmp_path / "Mics" / "s.mrcs").write_text("")
    (tmp_path / "m.star").write_text("data_\nloop_\n_rlnMicrographName\n000002@Mics/s.mrcs\n")
    assert expand_micrographs([str(tmp_path / "m.star")])[0].path == f"000002@{tmp_path / 'Mics' / 's.mrcs'}"
    (tmp_path / "12@s.mrc").write_text("")  # the name of a file
    (tmp_path / "n.star").write_text("data_\nloop_\n_rlnMicrographName\n12@s.mrc\n")
    assert expand_micrographs([str(tmp_path / "n.star")])[0].path == str(tmp_path / "12@s.mrc")


def test_a_file_is_one_micrograph_by_a_relative_and_an_absolute_path_but_not_through_another_link(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for folder in ("A", "B"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.mrc").write_text("")
    (tmp_path / "link").symlink_to("A")  # picks in folders of these names must find their micrographs

    def paths(*arguments):
        return [task.path for task in expand_micrographs(list(map(str, arguments)))]

    assert paths("A/m.mrc", tmp_path / "A" / "m.mrc", "B/m.mrc", "B/../A/m.mrc") == ["A/m.mrc", "B/m.mrc"]
    assert paths("A", "link") == ["A/m.mrc", "link/m.mrc"]
    (tmp_path / "B" / "deep").mkdir()
    (tmp_path / "deep").symlink_to("B/deep")
    (tmp_path / "m.mrc").write_text("")
    assert paths("m.mrc", "deep/../m.mrc") == ["m.mrc", "deep/../m.mrc"]  # the second one is in B
    frames = [f"{number}@{folder}/s.mrcs" for folder in ("A", tmp_path / "A") for number in (1, 2)]
    assert paths(*frames) == ["1@A/s.mrcs", "2@A/s.mrcs"]


def test_lists_of_micrographs_are_given_back_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [str(folder / f"m{suffix}") for suffix in (".cs", ".csg", ".star") for folder in (Path(), tmp_path)]
    assert list(map(str, exposure_lists(names))) == ["m.cs", "m.csg"]
    assert list(map(str, star_lists(names))) == ["m.star"]


def test_one_micrograph_has_one_pixel_size(tmp_path):
    def listed(name, *rows):
        head = "data_\nloop_\n_rlnMicrographName\n_rlnMicrographPixelSize\n"
        (tmp_path / name).write_text(head + "".join(f"{row}\n" for row in rows))
        return str(tmp_path / name)

    twice = listed("twice.star", "a.mrc 1.5", "b.mrc 2", "a.mrc 3.25")
    with pytest.raises(CryoIceError, match=r"^a\.mrc: is given with 1\.5 Å/px and with 3\.25 Å/px; correct the lists"):
        expand_micrographs([twice])
    one, other = listed("one.star", "a.mrc 1.5", "b.mrc 2"), listed("other.star", "b.mrc 2.5")
    with pytest.raises(CryoIceError, match=r"^b\.mrc: is given with 2 Å/px and with 2\.5 Å/px"):
        expand_micrographs([one, other])
    same = listed("same.star", "a.mrc 1.51", "b.mrc none")  # but for calibration; unknown
    assert [task.pixel_size for task in expand_micrographs([one, same])] == [1.5, 2.0]
    assert [task.pixel_size for task in expand_micrographs(["b.mrc", "a.mrc", one])] == [2.0, 1.5]


def test_micrographs_of_one_name_in_two_folders_have_different_stems(tmp_path):
    for folder in ("x", "y", "z/x"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.mrc").touch()
    tasks = expand_micrographs([str(tmp_path / folder / "a.mrc") for folder in ("x", "y", "z/x")])
    assert [task.stem for task in tasks] == ["a", "y_a", "x_a"]
    again = expand_micrographs([str(tmp_path / folder / "a.mrc") for folder in ("x", "z/x", "y")])
    assert [task.stem for task in again] == ["a", "x_a", "y_a"]


def test_names_in_several_folders_are_several_micrographs():
    names = ["gridA/m.mrc", "gridB/m.mrc", "m_DW"]
    assert contradicting_names(names, "/data/gridA/m.mrc") == (["gridB/m.mrc"], [])
    assert contradicting_names(names, "/data/m.mrc") == ([], ["gridA/m.mrc", "gridB/m.mrc"])
    assert contradicting_names(names[1:], "/data/gridA/m.mrc") == ([], [])  # files move: one folder is no contradiction
    assert contradicting_names(["s1/g/m", "s2/g/m"], "/d/s2/g/m.mrc") == (["s1/g/m"], [])
    assert contradicting_names(["s1/g/m", "s2/g/m"], "/d/g/m.mrc") == ([], ["s1/g/m", "s2/g/m"])
    assert NameIndex(["gridA/m.mrc", "gridB/m.mrc"]).find("job/gridB/m_DW.mrc") == "gridB/m.mrc"


def test_names_in_jobs_of_cryosparc_and_in_folders_of_other_programs_are_one_micrograph():
    uid = f"{7:021d}_"
    relion, imported = "MotionCorr/job002/Movies/m.mrc", "J5/imported/m.mrc"
    corrected = f"J5/motioncorrected/{uid}m_patch_aligned_doseweighted.mrc"
    for other in (imported, corrected):
        for path in (relion, f"/p/{relion}", "/elsewhere/m.mrc", f"/cs/{imported}", f"/cs/{corrected}"):
            assert contradicting_names([relion, other], path) == ([], [])
    assert contradicting_names([corrected, f"Movies/{uid}m.mrc"], f"/p/Movies/{uid}m.mrc") == ([], [])
    two = ["J5/imported/m.mrc", "J6/imported/m.mrc"]
    assert contradicting_names([relion, *two], "/cs/J6/imported/m.mrc") == (two[:1], [])
    assert contradicting_names([relion, *two], f"/p/{relion}") == ([], two)
    assert contradicting_names([relion, "job9/Movies2/m.mrc"], f"/p/{relion}") == (["job9/Movies2/m.mrc"], [])


def test_names_with_several_cryosparc_uids_are_several_micrographs():
    one, two, three = (f"{number:021d}_" for number in (1, 2, 3))
    names = [f"J3/motioncorrected/{uid}m_patch_aligned.mrc" for uid in (one, two)]
    assert contradicting_names(names, f"J9/{one}m.mrc") == (names[1:], [])
    assert contradicting_names([*names, "m_DW"], f"J3/motioncorrected/{two}m.mrc") == (names[:1], [])
    assert contradicting_names([*names, "J3/motioncorrected/m.mrc"], "m.mrc") == ([], names)
    assert contradicting_names(names[1:], f"J9/{one}m.mrc") == ([], [])  # imported again: one uid is no contradiction
    assert NameIndex([f"a/{one}m.mrc", f"a/{two}m.mrc"]).find(names[1]) == f"a/{two}m.mrc"
    with pytest.raises(CryoIceError, match="fits several"):
        NameIndex([f"a/{one}m.mrc", f"a/{two}m.mrc"]).find(f"a/{three}m_DW.mrc")
    assert micrograph_key(f"{three}{one}m_DW.mrc") == "m"
    assert NameIndex([f"{three}{one}m.mrc", f"{two}m.mrc"]).find(names[0]) == f"{three}{one}m.mrc"


def test_relion_star_gives_names_and_pixel_sizes(tmp_path):
    job = tmp_path / "project" / "CtfFind" / "job003"
    job.mkdir(parents=True)
    (tmp_path / "project" / "Mics").mkdir()
    (tmp_path / "project" / "Mics" / "a.mrc").write_text("")
    (job / "m.star").write_text(
        "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnMicrographPixelSize #2\n1 0.885\n2 1.77\n\n"
        "# version 30001\n\ndata_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\n"
        "Mics/a.mrc 1\nMics/b.mrc 2\nMics/a.mrc 1\n"
    )
    tasks = expand_micrographs([str(job / "m.star")])
    assert [task.pixel_size for task in tasks] == [0.885, 1.77]
    assert tasks[0].path == str(tmp_path / "project" / "Mics" / "a.mrc")
    assert tasks[1].path == "Mics/b.mrc"
    (job / "old.star").write_text(
        "data_\nloop_\n_rlnMicrographName\n_rlnMagnification\n_rlnDetectorPixelSize\na.mrc 50000 5.0\n"
    )
    assert expand_micrographs([str(job / "old.star")])[0].pixel_size == pytest.approx(1.0)
    (job / "none.star").write_text("data_\nloop_\n_rlnCoordinateX\n1\n")
    with pytest.raises(CryoIceError, match="_rlnMicrographName"):
        expand_micrographs([str(job / "none.star")])
