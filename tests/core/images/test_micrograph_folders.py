# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of micrographs as microscopes and pipelines leave them, and stems that fit into file names."""

import pytest
from noise import write_noise

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.images.naming import expand_micrographs, output_stem, stem_of
from cryoice_scipion.core.images.reading import is_image_name, read_micrograph
from cryoice_scipion.core.images.stems import plain_path
from cryoice_scipion.core.images.trees import TreeListing


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def expand(*arguments):
    notes = []
    return {task.stem: task.path for task in expand_micrographs([str(path) for path in arguments], notes)}, notes


def test_subfolders_are_searched_if_the_folder_has_no_image(tmp_path):
    epu = touch(tmp_path / "Images-Disc1", "Sq1/Data/a.mrc", "Sq1/Data/a.jpg", "Sq1/Data/a.xml", "Sq2/Data/a.mrc.gz",
                "Sq2/Data/b.tif", ".thumbs/c.jpg", "run/journal.jsonl", "run/masks/a.mrc")  # fmt: skip
    (epu / "Sq1" / "again").symlink_to(epu)
    found, notes = expand(epu)
    assert found == {
        "a": f"{epu}/Sq1/Data/a.mrc", "Data_a": f"{epu}/Sq2/Data/a.mrc.gz", "b": f"{epu}/Sq2/Data/b.tif"
    }  # fmt: skip
    assert "3 images in 2 subfolders are used" in notes[0] and "1 image is left out" in notes[1]


def test_images_in_the_folder_itself_come_first_and_the_others_are_said(tmp_path):
    touch(tmp_path, "a.mrc", "sub/b.mrc", "sub/c.mrc")
    (tmp_path / "gone.mrc").symlink_to(tmp_path / "nowhere")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    found, notes = expand(tmp_path)
    assert list(found) == ["a"]
    assert notes == [
        f"{tmp_path}: 1 link points to a missing file and is left out: {tmp_path}/gone.mrc",
        f"{tmp_path}: 2 images in its subfolders are not used; give the subfolders to use them",
    ]


def test_a_folder_of_dead_links_is_an_error_that_names_them(tmp_path):
    (tmp_path / "gone.mrc").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CryoIceError, match="no image in this folder or its subfolders.*gone.mrc"):
        expand(tmp_path)


def test_a_walk_through_a_listing_ends_although_links_go_round(tmp_path):
    touch(tmp_path, "a/x.mrc", "a/x.txt", "run/journal.jsonl", ".hidden/y.mrc")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    listing = TreeListing(tmp_path, is_image_name)
    for _ in range(2):  # each walk begins at the top
        assert sorted(entry.name for entry in listing(str(tmp_path))) == ["a", "run"]
        assert sorted(entry.name for entry in listing(str(tmp_path / "a"))) == ["up", "x.mrc"]
        assert list(listing(str(tmp_path / "a" / "up"))) == [] == list(listing(str(tmp_path / "run")))


@pytest.mark.parametrize("letter", ["x", "ä", "\udcff"])
def test_a_long_stem_is_shortened_to_the_same_name_each_time_and_stays_unique(letter):
    names = [letter * (240 // len(letter.encode("utf-8", "surrogateescape"))) + end for end in ("1", "2")]
    stems = [output_stem(name) for name in names]
    assert len({*stems}) == 2 and stems == [output_stem(name) for name in names]
    assert all(len(f".{stem}_cryoice.star.0123456789ab.tmp".encode()) <= 255 for stem in stems)
    assert output_stem(letter * 50) == plain_path(letter * 50)


def test_two_long_names_in_two_folders_have_stems_that_fit(tmp_path):
    name = "n" * 245 + ".mrc"
    touch(tmp_path, f"a/{name}", f"b/{name}")
    found, _ = expand(tmp_path / "a", tmp_path / "b")
    assert sorted(found.values()) == [f"{tmp_path}/a/{name}", f"{tmp_path}/b/{name}"]
    assert all(len(stem) <= 200 for stem in found) and stem_of(name) == "n" * 245


@pytest.mark.parametrize(
    "name, plain", [("a\nb", "a%0Ab"), ("a\x1b[31mb", "a%1B[31mb"), ("a\udcffb", "a%FFb"), ("50%FFé", "50%FFé")]
)
def test_names_that_text_cannot_hold_are_plain_in_outputs_and_the_file_is_found(tmp_path, name, plain):
    write_noise(tmp_path / f"{name}.mrc", 1)
    (task,) = expand_micrographs([str(tmp_path)])
    assert (task.stem, task.path) == (plain, f"{tmp_path}/{plain}.mrc")
    assert read_micrograph(task.path).shape == read_micrograph(tmp_path / f"{name}.mrc").shape


@pytest.mark.parametrize("name", ["=1+2", "-rf", "+1", "@here"])
def test_stems_are_no_formulas_and_no_options(name):
    assert output_stem(name) == f"_{name}"
