# SPDX-License-Identifier: GPL-3.0-or-later
"""EMAN2's info files: boxes are centres, marks of bad areas are left out, and other JSON is no coordinate file."""

import json

import pytest

from cryoice_scipion.core.errors import CoordinatesError, NoCoordinatesError
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, SCORE, X, Y, read_picks

INFO = {"boxes": [[10, 20, "manual"], [30.5, 40, "auto_convnet", 0.7], [50, 60, "refbad"], [70, 80, "refbg"]],
        "ctf": [0, [1, 2]], "quality": 5}  # fmt: skip


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_boxes_are_centres_and_marks_of_bad_areas_are_counted_as_disabled(tmp_path):
    picks = read_picks(write(tmp_path / "mic_001_info.json", INFO))
    assert picks.table[[X, Y]].values.tolist() == [[10, 20], [30.5, 40]] and picks.left_out == {"disabled": 2}
    assert picks.table[SCORE].tolist()[1] == 0.7 and set(picks.table[MICROGRAPH]) == {"mic_001_info"}


@pytest.mark.parametrize("content", [{"ctf": []}, [], {"boxes": "none"}, 3, {"boxes_3d": [[1, 2, 3]]}])
def test_json_without_boxes_is_no_coordinate_file(tmp_path, content):
    with pytest.raises(NoCoordinatesError, match='no list "boxes"'):
        read_picks(write(tmp_path / "a.json", content))


@pytest.mark.parametrize("box", ["[NaN, 1, \"manual\"]", "[1]", "7", "[1, 2, 3, 4]", "[true, 1]", "{\"x\": 1}",
                                 "[1e999, 1]", "[[[]], 1]", f"[1{'0' * 400}, 1]", "null"])  # fmt: skip
def test_an_unreadable_box_is_named_and_the_others_are_read(tmp_path, box):
    picks = read_picks(write(tmp_path / "a.json", f'{{"boxes": [[5, 6, "manual"], {box}]}}'))
    assert picks.table[X].tolist() == [5] and picks.left_out == {"unreadable_row": 1}
    assert "box 2: it" in picks.warnings[0] and "\n" not in picks.warnings[0]
    with pytest.raises(CoordinatesError, match="box 1: it.*remove that box"):
        read_picks(write(tmp_path / "a.json", f'{{"boxes": [{box}]}}'))


@pytest.mark.parametrize("text", ["{", "words", "[" * 100_000, '{"boxes": [' + "1" * 5000 + "]}", "\x00{}"])
def test_damaged_json_is_one_line(tmp_path, text):
    with pytest.raises(CoordinatesError) as caught:
        read_picks(write(tmp_path / "a.json", text))
    assert "\n" not in str(caught.value)


def test_a_folder_of_info_files_is_read_beside_other_json(tmp_path):
    write(tmp_path / "a_info.json", INFO)
    write(tmp_path / "b_info.json", {"ctf": [1]})
    write(tmp_path / "project.json", {"global.boxsize": 128})
    picks = read_picks(tmp_path)
    assert len(picks) == 2 and sorted(name[-11:] for name in picks.other) == ["b_info.json", "roject.json"]
