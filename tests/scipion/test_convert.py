# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets to records and back."""

import pandas as pd
import pytest
import starfile
from pwem.objects import Coordinate, Micrograph, SetOfCoordinates, SetOfMicrographs

from cryoice_scipion import convert
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.records import PickScore

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


def test_a_frame_of_a_stack_is_named_in_the_notation_of_the_core(tmp_path):
    item = Micrograph()
    item.setLocation(12, "/a/stack.mrcs")
    assert convert.micrograph_path(item) == "12@/a/stack.mrcs"


def test_picks_are_grouped_and_brought_to_the_micrographs_scale(tmp_path):
    picks = convert.picks_of(coordinates(tmp_path, [(1, 10, 21), (2, 4, 4), (9, 1, 1)]), 0.5, {1: 5, 2: 6})
    assert sorted(picks) == [5, 6]
    assert (picks[5][0].id, picks[5][0].x, picks[5][0].y, picks[5][0].diameter) == (1, 5.0, 10.5, 10.0)


def test_micrographs_are_matched_by_name_and_only_without_any_by_id(tmp_path):
    def rows(*names):
        return [convert.MicrographRow(i, name, f"/x/{name}", name) for i, name in enumerate(names, 1)]

    assert convert.match_micrographs(rows("a.mrc", "b.mrc"), rows("x.mrc", "b_DW.mrc", "a_DW.mrc")) == {1: 3, 2: 2}
    assert convert.match_micrographs(rows("a.mrc", "b.mrc"), rows("x.mrc")) == {1: 1}


def test_each_coordinate_goes_to_exactly_one_set_and_empty_sets_can_be_read(tmp_path):
    given = coordinates(tmp_path, [(1, 11, 20), (1, 5, 5), (7, 3, 3)])
    kept = SetOfCoordinates(filename=str(tmp_path / "kept.sqlite"))
    rejected = SetOfCoordinates(filename=str(tmp_path / "rejected.sqlite"))
    scores = {1: PickScore(1, 0.25, "bad", False), 2: PickScore(2, 0.5, "bad", False)}
    convert.write_coordinates(given, scores, convert.Placing(0.5, {1: 7}, {7: "other.mrc"}), kept, rejected)
    for output in (kept, rejected):
        output.write()
        output.close()
    kept, rejected = (SetOfCoordinates(filename=str(tmp_path / f"{name}.sqlite")) for name in ("kept", "rejected"))
    assert (kept.getSize(), list(kept.iterItems()), kept.getIdSet(), 1 in kept) == (0, [], set(), False)
    found = {item.getObjId(): item.clone() for item in rejected.iterItems()}
    assert {key: (item.getX(), item.getY()) for key, item in found.items()} == {1: (6, 10), 2: (2, 2), 3: (2, 2)}
    assert [found[key].getMicId() for key in (1, 2, 3)] == [7, 7, 0]  # 7 is another micrograph in the output
    assert found[3]._cryoiceClass.get() == convert.NO_MICROGRAPH
    assert not found[3]._cryoiceGoodness.hasValue()


def test_training_takes_only_micrographs_with_labels_and_tells_names_apart(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    mics = micrographs(tmp_path / "one", ["/a/m.mrc", "/a/n.mrc"])
    good = coordinates(tmp_path / "one", [(1, 5, 5)], of=mics)
    assert [row.stem for row, _ in convert.labelled_micrographs([good])] == ["m"]
    others = coordinates(tmp_path / "two", [(1, 5, 5)], of=micrographs(tmp_path / "two", ["/b/m.mrc"]))
    with pytest.raises(CryoIceError, match="has the name of /a/m.mrc"):
        convert.labelled_micrographs([good, others])


def test_training_refuses_two_micrographs_of_one_name_in_one_set(tmp_path):
    mics = micrographs(tmp_path, ["/a/m.mrc", "/b/m.mrc"])
    with pytest.raises(CryoIceError, match="has the name of /a/m.mrc"):
        convert.labelled_micrographs([coordinates(tmp_path, [(1, 5, 5), (2, 5, 5)], of=mics)])


def test_star_files_for_the_training_say_all_that_is_needed(tmp_path):
    picks = coordinates(tmp_path, [(1, 5, 6)], box=30, of=micrographs(tmp_path, ["/a/m.mrc"], sampling=1.5))
    convert.write_picks_star(tmp_path / "good.star", picks)
    table = starfile.read(tmp_path / "good.star")
    table = table if isinstance(table, pd.DataFrame) else next(iter(table.values()))
    row = table.iloc[0]
    assert row["rlnMicrographName"] == "/a/m.mrc"
    assert (row["rlnCoordinateX"], row["rlnMicrographPixelSize"], row["cryoiceDiameter"]) == (5, 1.5, 30)
