# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets to records and back."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
from noise import write_image
from PIL import Image
from pwem.objects import Coordinate, Micrograph, SetOfCoordinates, SetOfMicrographs
from pyworkflow.object import Float, String

from cryoice_scipion import convert, set_writing
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.star import read_star
from cryoice_scipion.core.records import MicrographRecord, PickScore
from cryoice_scipion.core.results.run_folder import RunFolder
from cryoice_scipion.monitor_pictures import picture_of
from cryoice_scipion.streams import ids_in

pytestmark = pytest.mark.scipion


def micrographs(folder, names, sampling=2.0):
    output = SetOfMicrographs(filename=str(folder / "micrographs.sqlite"))
    output.setSamplingRate(sampling)
    for name in names:
        item = Micrograph(location=name)
        item.setMicName(name.split("/")[-1])
        output.append(item)
    output.write()
    return output


def coordinates(folder, places, box=20, of=None):
    output = SetOfCoordinates(filename=str(folder / "coordinates.sqlite"))
    output.setBoxSize(box)
    if of is not None:
        output._micrographsPointer.set(of)
    for micrograph, x, y in places:
        item = Coordinate(x=x, y=y)
        item.setMicId(micrograph)
        item.setMicName(f"m{micrograph}")
        output.append(item)
    output.write()
    return output


def test_of_two_micrographs_with_one_stem_the_later_gets_its_id(tmp_path):
    rows = convert.read_micrographs(micrographs(tmp_path, ["/a/m.mrc", "/b/m.mrc", "/c/m_2.mrc"]))
    assert [row.stem for row in rows] == ["m", "m_2", "m_2_3"]


def test_a_frame_of_a_stack_is_named_in_the_notation_of_the_core():
    assert convert.micrograph_row(1, 12, "/a/stack.mrcs", "", {}).path == "12@/a/stack.mrcs"


def test_coordinates_are_placed_at_the_outputs_scale_and_on_its_micrographs():
    own = {7: convert.MicrographRow(7, "other.mrc", "/x/other.mrc", "other")}
    placing = convert.CoordinateTransform(0.5, {1: 7}, own)
    found = []
    for micrograph, x, y in [(1, 11, 20), (1, 5, 5), (7, 3, 3)]:
        item = Coordinate(x=x, y=y)
        item.setMicId(micrograph)
        placing.apply(item)
        found.append((item.getX(), item.getY(), item.getMicId()))
    assert found == [(6, 10, 7), (2, 2, 7), (2, 2, 0)]  # 7 is another micrograph in the output


def test_an_empty_set_can_be_read_and_appended_to_later(tmp_path):
    path = str(tmp_path / "kept.sqlite")
    output, item = SetOfCoordinates(filename=path), Coordinate(x=1, y=2)
    convert.mark_coordinate(item, PickScore(1, 0.5, "bad", False))
    set_writing.give_columns(output, item)
    output.write()
    output.close()
    output = SetOfCoordinates(filename=path)
    assert (output.getSize(), list(output.iterItems()), output.getIdSet(), 1 in output) == (0, [], set(), False)
    item.setObjId(5)
    set_writing.enable_append(output, item)
    output.append(item)
    output.write()
    output.close()
    found = list(convert.items_by_id(SetOfCoordinates(filename=path), [4, 5]))
    assert [(one.getObjId(), one.getX(), one._cryoiceGoodness.get()) for one in found] == [(5, 1, 0.5)]
    assert list(ids_in(path, [4, 5, 6])) == list(ids_in(path)) == [5]


def test_an_empty_set_of_other_columns_has_to_be_made_anew_and_one_with_items_is_an_error(tmp_path):
    bare, rich = Coordinate(x=1, y=2), Coordinate(x=1, y=2)
    rich._score = Float(0.5)
    for item in (bare, rich):
        convert.mark_coordinate(item, PickScore(1, 0.5, "bad", False))
    output = SetOfCoordinates(filename=str(tmp_path / "kept.sqlite"))
    set_writing.give_columns(output, bare)
    output.write()
    output.close()
    assert not set_writing.enable_append(output, rich)
    assert set_writing.enable_append(output, bare)
    bare.setObjId(3)
    output.append(bare)
    output.write()
    with pytest.raises(CryoIceError, match="attributes of its items differ"):
        set_writing.enable_append(output, rich)


def test_training_takes_only_micrographs_with_labels_and_tells_names_apart(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    mics = micrographs(tmp_path / "one", ["/a/m.mrc", "/a/n.mrc"])
    good = coordinates(tmp_path / "one", [(1, 5, 5)], of=mics)
    assert [row.stem for row, _ in convert.labelled_micrographs([good])] == ["m"]
    others = coordinates(tmp_path / "two", [(1, 5, 5)], of=micrographs(tmp_path / "two", ["/b/m.mrc"]))
    with pytest.raises(CryoIceError, match="has the same name as /a/m.mrc"):
        convert.labelled_micrographs([good, others])


def test_training_refuses_two_micrographs_of_one_name_in_one_set(tmp_path):
    mics = micrographs(tmp_path, ["/a/m.mrc", "/b/m.mrc"])
    with pytest.raises(CryoIceError, match="has the same name as /a/m.mrc"):
        convert.labelled_micrographs([coordinates(tmp_path, [(1, 5, 5), (2, 5, 5)], of=mics)])


def test_star_files_for_the_training_say_all_that_is_needed(tmp_path):
    picks = coordinates(tmp_path, [(1, 5, 6)], box=30, of=micrographs(tmp_path, ["/a/m.mrc"], sampling=1.5))
    convert.write_picks_star(tmp_path / "good.star", picks)
    table = starfile.read(tmp_path / "good.star")
    table = table if isinstance(table, pd.DataFrame) else next(iter(table.values()))
    row = table.iloc[0]
    assert row["rlnMicrographName"] == "/a/m.mrc"
    assert (row["rlnCoordinateX"], row["rlnMicrographPixelSize"], row["cryoiceBoxSize"]) == (5, 1.5, 30)
    assert "cryoiceClass" not in table


def test_the_labels_of_bad_places_are_in_the_star_file(tmp_path):
    bad = SetOfCoordinates(filename=str(tmp_path / "bad.sqlite"))
    bad.setMicrographs(micrographs(tmp_path, ["/a/m.mrc"]))
    for x, label in ((5, "thick"), (9, None)):
        item = Coordinate(x=x, y=6)
        item.setMicId(1)
        item._cryoiceLabel = String(label)
        bad.append(item)
    convert.write_picks_star(tmp_path / "bad.star", bad)
    (block,) = read_star(tmp_path / "bad.star")
    assert block.table["cryoiceClass"].tolist() == ["thick", "bad"]


def test_a_set_takes_broken_micrographs_and_has_the_dimensions_of_the_first_that_is_known(tmp_path):
    path = str(tmp_path / "discarded.sqlite")
    output = SetOfMicrographs(filename=path)
    output.setSamplingRate(2.0)
    broken = tmp_path / "broken.mrc"
    broken.touch()
    set_writing.give_columns(output, Micrograph(location=str(broken)))
    assert (output.getSize(), output.getXDim(), output.getSamplingRate()) == (0, 0, 2.0)
    for shape in (None, (3, 4), (5, 6)):
        item = Micrograph(location=str(broken))
        set_writing.append_unread(output, item, shape)
    output.write()
    output.close()
    output = SetOfMicrographs(filename=path)
    output.loadAllProperties()
    assert (output.getSize(), output.getDim()) == (3, (4, 3, 1))
    assert "4 x 3" in str(output)
    whole = SetOfMicrographs(filename=str(tmp_path / "other.sqlite"))
    whole.copyInfo(output)
    set_writing.append_unread(whole, item, (5, 6))
    assert whole.getDim() == (4, 3, 1)


def test_the_pixel_size_and_the_shape_are_those_of_the_first_micrograph_that_can_be_read(tmp_path):
    files = [tmp_path / f"{name}.mrc" for name in ("empty", "whole", "other")]
    files[0].touch()
    for file, shape in zip(files[1:], ((20, 30), (40, 50))):
        write_image(file, np.ones(shape), 1.5)
    assert convert.header_pixel_size(files) == 1.5
    assert tuple(convert.first_shape(files)) == (20, 30)
    assert convert.first_shape(files[:1]) is None
    with pytest.raises(CryoIceError, match="empty.mrc: is empty"):
        convert.header_pixel_size(files[:1])


def test_long_and_equal_names_have_stems_that_fit_into_file_names():
    stems = {}
    name = "n" * 240
    rows = [convert.micrograph_row(key, 0, f"/data/{key}/{name}.mrc.gz", None, stems) for key in (1, 1234567)]
    assert len({row.stem for row in rows}) == 2 and all(len(row.stem) <= 210 for row in rows)
    again = {}
    assert [convert.micrograph_row(key, 0, f"/data/{key}/{name}.mrc.gz", None, again) for key in (1, 1234567)] == rows


def test_the_picture_of_a_micrograph_stays_when_its_thumbnail_is_removed(tmp_path):
    folder = RunFolder(tmp_path)
    for path in (folder.thumbnail("m"), folder.base("m")):
        (tmp_path / path).parent.mkdir()
        Image.new("RGB", (1024, 800)).save(tmp_path / path)
    record = MicrographRecord(1, "m", "/x/m.mrc", "accepted", thumbnail=folder.thumbnail("m"))
    picture = picture_of(record, tmp_path)
    with Image.open(picture) as image:
        assert (image.format, image.size) == ("JPEG", (512, 400))
    (tmp_path / folder.thumbnail("m")).unlink()
    assert picture_of(record, tmp_path) == picture
    assert picture_of(MicrographRecord(2, "n", "", "accepted"), tmp_path) == ""
    Path(picture).unlink()
    record.thumbnail = ""  # one of many, of which only some keep theirs
    assert picture_of(record, tmp_path) == str(tmp_path / folder.base("m"))
