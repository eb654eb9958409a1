# SPDX-License-Identifier: GPL-3.0-or-later
"""What pickers write is read as centres in px; what is damaged is one line that says where."""

import re
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gemmi import cif

from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats import coordinates
from cryoice_scipion.core.formats.coordinates import PickTable, read_picks, write_star
from cryoice_scipion.core.formats.matching import assign_picks, picks_by_micrograph
from cryoice_scipion.core.images.naming import expand_micrographs
from cryoice_scipion.core.records import MicrographTask, Pick, PickCounts

REAL = Path(__file__).resolve().parents[4] / "shared" / "real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real coordinates are not here (../shared/real)")
X, Y, NAME, SCORE, SIZE = (
    "rlnCoordinateX",
    "rlnCoordinateY",
    "rlnMicrographName",
    "rlnAutopickFigureOfMerit",
    "cryoiceBoxSize",
)
RELION31 = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographPixelSize #3
opticsGroup1            1     0.885000

# version 30001

data_particles

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnClassNumber #3
_rlnMicrographName #4
_rlnAnglePsi #5
_rlnBeamTiltClassName #6
 3700.367188   10.000000  2 0012 -999.000000 007
   15.250000   20.500000  1 MotionCorr/b#1.mrc  12.345678 "two words"
"""


def write(path, text):
    path.write_text(text)
    return path


def test_box_corners_become_centres(tmp_path):
    picks = read_picks(write(tmp_path / "m_DW.box", "10\t20\t180\t100\t0.5\n\n30 40 180 100 0.25\n"))
    assert picks.table[X].tolist() == [100, 120] and picks.table[Y].tolist() == [70, 90]
    assert picks.table[SIZE].tolist() == [140, 140] and picks.table[SCORE].tolist() == [0.5, 0.25]
    assert picks.table[NAME].tolist() == ["m_DW", "m_DW"]


def test_box_fifth_column_of_eman1_is_no_score(tmp_path):
    assert SCORE not in read_picks(write(tmp_path / "m.box", "1 2 3 3 -3\n4 5 3 3 -3\n")).table


@pytest.mark.parametrize("name", ["a.box", "a.star", "a.cbox", "a.pos", "a.csv", "a.txt", "a.json"])
def test_an_empty_file_holds_no_picks(tmp_path, name):
    picks = read_picks(write(tmp_path / name, "\n"))
    assert len(picks) == 0 and {X, Y, NAME} <= set(picks.table)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.box", "x 2 3 3\n1 2 3\n", "line 1.*'x'"),
        ("a.csv", "X-Coordinate,Y-Coordinate\n1,2,3\n", "line 2: 3 columns"),
        ("a.csv", "3,4\n1,2\n", "line 1: no columns for x and y; there are: 3, 4"),
        ("a.txt", "image_name\tx_coord\ty_coord\tscore\nm\t1\tz\t3\n", "line 2.*'z'"),
        ("a.csv", "\n\nx,y,x\n1,2,3\n", "line 3: two columns have one name"),
        ("a.star", "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 2\n_x 4\n", "line 6: _x is out of place"),
        ("a.star", "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 'x\n", "line 5: unterminated"),
        (
            "a.star",
            "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateX\n1 2\n",
            "line 2: two columns.* _rlnCoordinateX;",
        ),
        ("a.star", "data_\nloop_\n1 2\n", "line 3"),
        ("a.star", "data_\nloop_\n_rlnCoordinateX #1\n_rlnVoltage #2\n1 2\n", "_rlnCoordinateY.*_rlnVoltage"),
        ("a.star", "just words\n", "no data_ block"),
        ("a.cbox", "just words\n", "line 1: 2 columns where 4"),
        ("a.pos", "data_particles\nloop_\n _xcoor\n 1\n", "_ycoor"),
        ("a.star", "data_one\nloop_\n_a\n1\ndata_two\nloop_\n_b\n1\n2\n", "block data_two has _b"),
        ("a.star", "data_\nloop_\n_a\n_b\n1 #2\n3 #4\n", "line 2: the values of this loop are not in lines of 2"),
        ("a.xyz", "1 2\n", "coordinates of an unknown format .\\.xyz.; give .star, "),
        ("a_file", "1 2\n", "coordinates of an unknown format .no extension.; give .star, "),
        ("a.star.gz", "", "is compressed .\\.gz.; unpack it"),
        ("a.box", "a\0b", "not a text file"),
    ],
)
def test_damaged_files_are_one_line_that_says_where(tmp_path, name, text, words):
    with pytest.raises(CoordinatesError, match=words) as caught:
        read_picks(write(tmp_path / name, text))
    assert name in str(caught.value) and "\n" not in str(caught.value) and caught.value.remedy


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.box", "1 2 3 3\nx 2 3 3\n", "line 2.*'x'"),
        ("a.box", "1 2 3 3\n\n1 2 3\n", "line 3: 3 columns"),
        ("a.box", "1 2 3 3\n1 2 3 3 0.5 7\n", "line 2: 6 columns"),
        ("a.box", "1 2 3 3 1 1 1 1\n1 2 3 3\n", "line 1: 8 columns"),
        ("a.box", "1 2 3 3\n1 nan 3 3\n", "line 2: y is missing"),
        ("a.box", "1 2 3 3\n1 inf 3 3\n", "line 2.*'inf'"),
        ("a.csv", "X-Coordinate,Y-Coordinate\n1,2\n3\n", "line 3"),
        ("a.star", "data_\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1 2\n3\n", "line 6: 1 column"),
        ("a.star", "data_\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1 2\n3 4 5\n", "line 6: 3 columns"),
        ("a.star", "data_\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1 2\n3 q\n", "line 6.*'q'"),
        ("a.star", "data_\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1 2\n3 4 5\n6\n", "line 6: 3 .*line 7: 1 "),
        ("a.star", "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_b\n1 2 3\n4\n5 6\n", "line 7: 1 .*line 8: 2 "),
        ("a.star", "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 2\n3 'x\n", "line 6: unterminated"),
        ("a.csv", "x,y,diameter\n1,2,3\n4,5,big\n", "line 3: diameter is 'big'"),
        ("a.csv", "x,y\n1,2\n4,3e9\n", "line 3: y is '3000000000.0', beyond any micrograph"),
        ("a.csv", "x,y\n1,2\n-1e307,3\n", "line 3: x is '-1e.307', beyond any micrograph"),
        ("a.txt", "image_name\tx_coord\ty_coord\nm\t1\t2\nm\t3\t\n", "line 3: y_coord is missing"),
        ("a.txt", "x y score\n1 2 3\n4 5\n", "line 3: 2 columns where 3 are expected"),
        ("a.pos", "data_particles\nloop_\n _xcoor\n _ycoor\n 1 2\n 3 z\n", "line 6: ycoor is 'z'"),
        ("a.cbox", "data_cryolo\nloop_\n_CoordinateX\n_CoordinateY\n_Width\n_Height\n1 2 3 3\n4 5 6\n", "line 8: 3"),
    ],
)
def test_a_row_that_cannot_be_read_is_left_out_counted_and_named(tmp_path, name, text, words):
    picks = read_picks(write(tmp_path / name, text))
    assert len(picks) == 1
    (warning,) = picks.warnings
    assert re.search(words, warning) and name in warning and "\n" not in warning
    counts = picks.counts()
    assert counts.left_out == {"unreadable_row": counts.rows - 1} and counts.rows == 1 + warning.count("line ")


def test_a_row_without_a_score_is_a_coordinate(tmp_path):
    picks = read_picks(write(tmp_path / "a.box", "1 2 3 3 0.5\n1 2 3 3\n"))
    assert len(picks) == 2 and np.isnan(picks.table[SCORE].iloc[1])
    for text in ("x,y,score\n1,2,nan\n3,4,5\n", "x,y,score\n1,2\n3,4,5\n"):
        picks = read_picks(write(tmp_path / "a.csv", text))
        assert not picks.left_out
        np.testing.assert_equal(picks.table[SCORE].to_numpy(), [np.nan, 5])


def test_quoted_values_are_no_reason_to_leave_a_row_out(tmp_path):
    rows = ["1 2 'a b'", "3 4", '5 6 "c # d"', "7 8 'it's'", "9 10 e # why"]
    text = f"data_\nloop_\n_{X}\n_{Y}\n_{NAME}\n" + "\n".join(rows) + "\n"
    picks = read_picks(write(tmp_path / "p.star", text))
    assert picks.table[NAME].tolist() == ["a b", "c # d", "it's", "e"] and picks.left_out == {"unreadable_row": 1}
    assert picks.table[X].tolist() == [1, 5, 7, 9]


def test_damage_far_down_is_found(tmp_path):
    lines = ["1 2 3 3"] * 5000
    for bad, words in (("1 2 3", "line 4001: 3"), ("1 2 x 3", "line 4001.*'x'"), ("1 2 3 4 5 6", "line 4001: 6")):
        lines[4000] = bad
        picks = read_picks(write(tmp_path / "a.box", "\n".join(lines)))
        assert len(picks) == 4999 and re.search(words, picks.warnings[0])


def test_a_quote_without_its_partner_loses_one_row(tmp_path):
    picks = read_picks(write(tmp_path / "a.csv", 'x,y,note\n1,2,"a, b"\n"3,4,c\n5,6,d\n'))
    assert picks.table[X].tolist() == [1, 5] and picks.table["inputnote"].tolist() == ["a, b", "d"]
    assert picks.left_out == {"unreadable_row": 1} and "line 3" in picks.warnings[0]
    rows = "".join(f"{n} 2 'x\n" if n % 2 else f"{n} 2 x\n" for n in range(8))
    picks = read_picks(write(tmp_path / "a.star", f"data_\nloop_\n_{X}\n_{Y}\n_{NAME}\n{rows}"))
    assert picks.table[X].tolist() == [0, 2, 4, 6] and picks.left_out == {"unreadable_row": 4}


@pytest.mark.parametrize(
    ("name", "head", "first", "second"),
    [
        ("m.pos", "data_{}\nloop_\n _xcoor\n _ycoor\n", " 1 2\n", " 3 4\n 5 6\n7\n"),
        ("m.star", "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n", "1 2\n\n", "3 4\n5 6\n7\n"),
        (
            "m.cbox",
            "data_{}\nloop_\n_CoordinateX\n_CoordinateY\n_Width\n_Height\n",
            "0 1 2 2\n",
            "2 3 2 2\n4 5 2 2\n7\n",
        ),
    ],
)
def test_all_blocks_of_coordinates_are_read(tmp_path, name, head, first, second):
    for text, rows, unreadable in (
        (head.format("one") + first + head.format("two") + second, [1, 3, 5], 1),
        (head.format("one") + head.format("two") + second, [3, 5], 1),
        (head.format("one") + first + head.format("two"), [1], 0),
    ):
        picks = read_picks(write(tmp_path / name, text))
        assert picks.table[X].tolist() == rows and picks.files == 1
        assert picks.left_out == ({"unreadable_row": unreadable} if unreadable else {})
        assert picks.counts().rows == len(rows) + unreadable


@pytest.mark.parametrize(
    ("name", "head", "bad", "good"),
    [
        ("m.pos", "data_{}\nloop_\n _xcoor\n _ycoor\n", " x 2\n", " 3 4\n"),
        ("m.star", "data_{}\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n", "x 2\n", "3 4\n"),
        ("m.cbox", "data_{}\nloop_\n_CoordinateX\n_CoordinateY\n_Width\n_Height\n", "x 1 2 2\n", "2 3 2 2\n"),
    ],
)
def test_a_block_without_a_readable_row_does_not_hide_the_others(tmp_path, name, head, bad, good):
    picks = read_picks(write(tmp_path / name, head.format("one") + bad + head.format("two") + good))
    assert picks.table[[X, Y]].values.tolist() == [[3, 4]] and picks.left_out == {"unreadable_row": 1}
    with pytest.raises(CoordinatesError, match=f"{name}: line .* is 'x'"):
        read_picks(write(tmp_path / name, head.format("one") + bad))


def test_a_text_table_without_a_header_has_x_and_y_first(tmp_path):
    table = read_picks(write(tmp_path / "m.txt", "10.5 20 7\n-1e1\t30 8\n")).table
    assert table[X].tolist() == [10.5, -10] and table[Y].tolist() == [20, 30] and table[NAME].tolist() == ["m", "m"]


def test_many_bad_rows_are_one_warning(tmp_path):
    picks = read_picks(write(tmp_path / "a.box", "1 2 3 3\n" + "x 2 3 3\n" * 50))
    assert picks.left_out == {"unreadable_row": 50}
    (warning,) = picks.warnings
    assert "50 unreadable rows" in warning and "and 47 more" in warning


def test_star_keeps_text_as_written_and_integers_as_integers(tmp_path):
    picks = read_picks(write(tmp_path / "p.star", RELION31))
    assert picks.table[NAME].tolist() == ["0012", "MotionCorr/b#1.mrc"]
    assert picks.table["rlnBeamTiltClassName"].tolist() == ["007", "two words"]
    assert picks.table["rlnClassNumber"].dtype == np.int64
    assert picks.optics["rlnOpticsGroupName"].tolist() == ["opticsGroup1"]
    picks.table["cryoiceGoodness"] = [0.5, np.nan]
    picks.table["cryoiceClass"] = ["good", None]
    write_star(tmp_path / "kept.star", picks.table, picks.optics)
    back = read_picks(tmp_path / "kept.star")
    assert back.table["cryoiceClass"].tolist() == ["good", "None"]
    columns = [name for name in picks.table if name != "cryoiceClass"]
    pd.testing.assert_frame_equal(back.table[columns], picks.table[columns])
    pd.testing.assert_frame_equal(back.optics, picks.optics)


@pytest.mark.parametrize("optics", [True, False])
def test_written_star_is_read_by_starfile_and_has_relions_form(tmp_path, optics):
    starfile = pytest.importorskip("starfile")
    picks = read_picks(write(tmp_path / "p.star", RELION31))
    write_star(tmp_path / "o.star", picks.table, picks.optics if optics else None)
    text = (tmp_path / "o.star").read_text()
    blocks = starfile.read(tmp_path / "o.star", always_dict=True)
    assert list(blocks) == (["optics", "particles"] if optics else [""])
    assert list(blocks.values())[-1][X].tolist() == picks.table[X].tolist()
    assert "_rlnCoordinateX #1\n" in text and text.count("# version 30001") == (2 if optics else 0)


AWKWARD = [
    "data_1",
    "_1",
    "#1",
    "b#1",
    "a b",
    "it's",
    "'q",
    '"q',
    "a 'b' c",
    "$1",
    ";x",
    "loop_",
    "?",
    ".",
    "ü €\\xe9",
    "C:\\n",
]


def test_awkward_names_come_back_and_are_what_gemmi_and_starfile_read(tmp_path):
    starfile = pytest.importorskip("starfile")
    table = pd.DataFrame({NAME: AWKWARD, X: range(len(AWKWARD)), Y: 0.5, "cryoiceClass": AWKWARD[::-1]})
    write_star(tmp_path / "o.star", table)
    back = read_picks(tmp_path / "o.star").table
    assert back[NAME].tolist() == AWKWARD and back["cryoiceClass"].tolist() == AWKWARD[::-1]
    plain = [name for name in AWKWARD if "'" not in name and '"' not in name]  # starfile mixes the two quotes up
    write_star(tmp_path / "plain.star", pd.DataFrame({NAME: plain, X: 1.5}))
    if sys.version_info >= (3, 9):  # the starfile of Python 3.8 does not read quoted values
        assert starfile.read(tmp_path / "plain.star")[NAME].tolist() == plain
    write_star(tmp_path / "ascii.star", table[table[NAME].map(str.isascii) & table["cryoiceClass"].map(str.isascii)])
    block = cif.read_file(str(tmp_path / "ascii.star"))[0]
    assert [cif.as_string(value) for value in block.find_loop("_" + NAME)][:3] == ["data_1", "#1", "b#1"]


def test_names_that_relion_leaves_without_quotes_are_read(tmp_path):
    head = f"\ufeffdata_\nloop_\n_{X} #1\n_{Y} #2\n_{NAME} #3\n_rlnOddZernike #4\n"
    names = ["data_1.mrc", "_1.mrc", "$1.mrc", "Mics/data_1.mrc", "é.mrc"]
    text = head + "".join(f"1 2 {name} [1,2]  # seen\n" for name in names).rstrip("\n")
    picks = read_picks(write(tmp_path / "p.star", text)).table
    assert picks[NAME].tolist() == names and picks["rlnOddZernike"].tolist() == ["[1,2]"] * 5
    assert read_picks(write(tmp_path / "p.star", head + "1 2 #1.mrc 3")).table[NAME].tolist() == ["#1.mrc"]


def test_blocks_of_one_name_and_empty_loops_are_read(tmp_path):
    empty = f"data_\nloop_\n_{X}\n_{Y}\n"
    assert len(read_picks(write(tmp_path / "e.star", empty.rstrip("\n")))) == 0
    assert len(read_picks(write(tmp_path / "e.star", empty + "\ndata_\nloop_\n_a\n1\n"))) == 0


def test_star_without_micrograph_names_takes_its_own(tmp_path):
    text = "\ndata_\n\nloop_ \n_rlnCoordinateX #1 \n_rlnCoordinateY #2 \n 12.0 34.0 \n"
    assert read_picks(write(tmp_path / "mic1_autopick.star", text)).table[NAME].tolist() == ["mic1_autopick"]
    windows = tmp_path / "mic2_manualpick.star"
    windows.write_bytes(text.replace("\n", "\r\n").encode())
    matches = picks_by_micrograph(read_picks(windows).table, [MicrographTask(1, "d/mic2.mrc", "mic2")])
    assert matches.rows == {1: [0]} and matches.unmatched == {}


def test_relion_coordinates_have_the_pixel_size_of_their_row_or_optics_group(tmp_path):
    groups = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnMicrographPixelSize\n1 0.885\n2 unknown\n"
    head = f"data_particles\nloop_\n_{X}\n_{Y}\n_rlnOpticsGroup\n"
    table = read_picks(write(tmp_path / "p.star", f"{groups}{head}1 2 1\n3 4 2\n5 6 3\n")).table
    np.testing.assert_equal(table["cryoicePixelSize"].to_numpy(), [0.885, np.nan, np.nan])
    table = read_picks(write(tmp_path / "p.star", f"{groups}{head}_rlnMicrographPixelSize\n1 2 1 1.5\n3 4 1 x\n")).table
    np.testing.assert_equal(table["cryoicePixelSize"].to_numpy(), [1.5, np.nan])
    assert [pick.pixel_size for pick in coordinates.picks_of_rows(table, [0, 1])] == [1.5, None]
    with pytest.raises(CoordinatesError, match=r"p\.star: gives optics group 1 0\.885 Å/px and 1\.77 Å/px"):
        read_picks(write(tmp_path / "p.star", f"{groups}1 1.77\n{head}1 2 1\n"))
    without = groups.replace("_rlnMicrographPixelSize", "_rlnVoltage")
    assert "cryoicePixelSize" not in read_picks(write(tmp_path / "p.star", f"{without}{head}1 2 1\n")).table


def test_sizes_in_a_star_file_are_numbers_or_unknown(tmp_path):
    text = f"data_\nloop_\n_{X}\n_{Y}\n_cryoiceDiameter\n_{SIZE}\n_{SCORE}\n1 2 30 x 0.5\n3 4 -1 50 none\n5 6 3e9 0 1\n"
    picks = read_picks(write(tmp_path / "p.star", text))
    assert not picks.left_out
    assert coordinates.picks_of_rows(picks.table, [2, 0, 1], 10) == [
        Pick(12, 5.0, 6.0), Pick(10, 1.0, 2.0, 30.0), Pick(11, 3.0, 4.0, None, 50.0),
    ]  # fmt: skip
    np.testing.assert_equal(picks.table[SCORE].to_numpy(), [0.5, np.nan, 1])


def test_relions_list_of_coordinate_files(tmp_path):
    job = tmp_path / "AutoPick" / "job007"
    job.mkdir(parents=True)
    write(job / "a_autopick.star", "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 2\n3 4\n")
    write(job / "b_autopick.star", "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n")
    listing = "data_coordinate_files\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n"
    listing += "".join(f"Mics/{m}.mrc AutoPick/job007/{m}_autopick.star\n" for m in "ab")
    picks = read_picks(write(job / "autopick.star", listing))
    assert picks.table[NAME].tolist() == ["Mics/a.mrc"] * 2


def test_pos_leaves_disabled_picks_out_and_says_so(tmp_path):
    text = (
        "# XMIPP_STAR_1 * \n# \ndata_header\nloop_\n _pickingMicrographState\nManual\ndata_particles\nloop_\n"
        " _enabled\n _xcoor\n _ycoor\n _cost\n 1 100 200 0.5\n -1 300 400 0.1\n"
    )
    picks = read_picks(write(tmp_path / "m.pos", text))
    assert picks.table[X].tolist() == [100] and picks.table[SCORE].tolist() == [0.5]
    assert picks.dropped == 1 and "1 pick is disabled" in picks.warnings[0]
    picks = read_picks(write(tmp_path / "m.pos", text.replace(" 0.5\n", " unknown\n")))
    assert picks.table[X].tolist() == [100] and picks.table[SCORE].isna().all() and picks.dropped == 1


def test_cbox_columns_without_a_known_value_are_left_out(tmp_path):
    head = (
        "data_cryolo\nloop_\n_CoordinateX\n_CoordinateY\n_Width\n_Height\n_Confidence\n_Angle\n_EstWidth\n_EstHeight\n"
    )
    table = read_picks(write(tmp_path / "m.cbox", head + "1 2 4 4 0.5 <NA> <NA> nan\n1 2 4 4 x <NA> 7 nan\n")).table
    assert list(table) == [X, Y, SIZE, SCORE, "cryoloEstWidth", NAME]
    np.testing.assert_equal(table[SCORE].to_numpy(), [0.5, np.nan])
    np.testing.assert_equal(table["cryoloEstWidth"].to_numpy(), [np.nan, 7])
    table = read_picks(write(tmp_path / "m.cbox", head + "1 2 4 4 <NA> 1 2 3\n")).table
    assert list(table) == [X, Y, SIZE, "cryoloAngle", "cryoloEstWidth", "cryoloEstHeight", NAME]
    table = read_picks(write(tmp_path / "m.cbox", "1 2 4 6 0.5 7 8\n")).table  # before crYOLO 1.8
    assert table.values.tolist() == [[3, 5, 5, 0.5, 7, 8, "m"]]


def test_pos_with_a_header_that_is_no_loop(tmp_path):
    text = "data_header\n_pickingMicrographState Auto\ndata_particles\nloop_\n _xcoor\n _ycoor\n 1 2\n"
    assert len(read_picks(write(tmp_path / "m.pos", text))) == 1


def test_topaz_and_csv_with_many_micrographs(tmp_path):
    picks = read_picks(write(tmp_path / "t.txt", "image_name\tx_coord\ty_coord\tscore\n007\t1\t2\t-3.5\nb\t3\t4\t6\n"))
    assert picks.table[NAME].tolist() == ["007", "b"] and picks.table[SCORE].tolist() == [-3.5, 6]
    text = "Micrographs Filename,X-Coordinate,Y-Coordinate,Class 2D\na.mrc,1.5,2,3\n"
    picks = read_picks(write(tmp_path / "t.csv", text))
    assert picks.table[X].tolist() == [1.5] and picks.table["inputClass2D"].tolist() == [3]
    picks = read_picks(write(tmp_path / "t.csv", "micrograph,x,y,x_1\n1.50,1,2,7\n2.0,3,4,8\n"))
    assert picks.table[NAME].tolist() == ["1.50", "2.0"] and list(picks.table) == [X, Y, NAME, "inputx_1"]


def test_folders_hold_one_kind(tmp_path):
    write(tmp_path / "a.box", "0 0 10 10\n")
    write(tmp_path / "b.box", "")
    write(tmp_path / "log.txt", "what happened\n")
    write(tmp_path / "c.star", "data_\n")
    picks = read_picks(tmp_path)
    assert picks.table[NAME].tolist() == ["a"]
    assert picks.files == 2 and not picks.not_read
    assert sorted(picks.other) == [str(tmp_path / "c.star"), str(tmp_path / "log.txt")]
    write(tmp_path / "d.cbox", "")  # no coordinates, but readable
    picks = read_picks(tmp_path)
    assert picks.files == 2 and str(tmp_path / "d.cbox") in picks.other
    write(tmp_path / "c.star", f"data_\nloop_\n_{X}\n_{Y}\n1 2\n")
    with pytest.raises(CoordinatesError, match="1 .box, 1 .star"):
        read_picks(tmp_path)
    (tmp_path / "none").mkdir()
    for path in (tmp_path / "none", tmp_path / "missing"):
        with pytest.raises(CoordinatesError):
            read_picks(path)


@pytest.mark.parametrize("log", ["log.txt", "log.csv", "a_first.star", "a_first.cbox"])
@pytest.mark.parametrize("name", ["mic.star", "mic.csv", "mic.txt"])
def test_only_a_file_that_holds_coordinates_decides_the_format_of_a_folder(tmp_path, log, name):
    write(tmp_path / log, "what happened\n")
    write(tmp_path / "empty.txt", "")
    text = {".star": f"data_\nloop_\n_{X}\n_{Y}\n1 2\n"}.get(Path(name).suffix, "x,y\n1,2\n")
    write(tmp_path / name, text)
    picks = read_picks(tmp_path)
    assert picks.table[NAME].tolist() == ["mic"]
    assert str(tmp_path / log) in [*picks.other, *picks.not_read]


def test_one_bad_file_of_a_folder_is_left_out_and_named(tmp_path):
    write(tmp_path / "a.box", "0 0 10 10\n")
    write(tmp_path / "b.box", "a\0b")
    write(tmp_path / "c.box", "junk\n")
    picks = read_picks(tmp_path)
    assert len(picks) == 1 and picks.files == 1
    assert sorted(picks.not_read) == [str(tmp_path / "b.box"), str(tmp_path / "c.box")]
    assert sum("the file is left out" in line for line in picks.warnings) == 2
    counts = picks.counts(unmatched=1)
    assert counts == PickCounts(1, {"unmatched": 1}, 1, dict(picks.not_read), []) and counts.matched == 0
    (tmp_path / "a.box").unlink()
    with pytest.raises(CoordinatesError, match="none of the 2 coordinate files can be read.*b.box: is not a text file"):
        read_picks(tmp_path)


def test_a_file_whose_optics_contradict_the_others_is_left_out_and_named(tmp_path):
    for name, voltage in (("a", 300.0), ("b", 200.0), ("c", 300.0)):
        optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnVoltage": [voltage]})
        named = {NAME: ["a.mrc"]} if name == "b" else {}  # not joined with those of a.star, as it is left out
        table = pd.DataFrame({X: [1.0], Y: [2.0], "rlnOpticsGroup": [1], **named})
        write_star(tmp_path / f"{name}.star", table, optics)
    picks = read_picks(tmp_path)
    assert picks.table[NAME].tolist() == ["a", "c"] and picks.optics["rlnVoltage"].tolist() == [300.0]
    assert list(picks.not_read) == [str(tmp_path / "b.star")]
    reason = "its optics group 1 contradicts that of the files before it; screen this file in a run of its own"
    assert picks.warnings == [f"{tmp_path / 'b.star'}: {reason}; the file is left out"]


def test_coordinates_without_an_optics_group_beside_others_are_named(tmp_path):
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnVoltage": [300.0]})
    write_star(tmp_path / "a.star", pd.DataFrame({X: [1.0], Y: [2.0], "rlnOpticsGroup": [1]}), optics)
    box = write(tmp_path / "b.box", "1 2 3 3\n4 5 3 3\n")
    assert read_picks([tmp_path / "a.star", tmp_path / "a.star"]).warnings[1:] == []
    (line,) = read_picks([tmp_path / "a.star", box]).warnings
    assert line.startswith("2 coordinates have no optics group")


def test_rows_of_a_list_that_are_no_rows_are_counted_and_a_list_of_nothing_is_named(tmp_path):
    write(tmp_path / "a.star", f"data_\nloop_\n_{X}\n_{Y}\n1 2\n")
    head = "data_\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n"
    picks = read_picks(write(tmp_path / "l.star", f"{head}a.mrc a.star\nb.mrc b.star c\n"))
    assert picks.left_out == {"unreadable_row": 1} and "l.star: 1 unreadable row" in picks.warnings[0]
    with pytest.raises(CoordinatesError, match="l.star: none of the 2 coordinate files can be read; .*b.star: cannot"):
        read_picks(write(tmp_path / "l.star", f"{head}b.mrc b.star\nc.mrc c.star\n"))
    paths = [tmp_path / "b.box", tmp_path / "c.box"]
    with pytest.raises(CoordinatesError, match="/b.box: none of the 2 coordinate files can be read"):
        read_picks([write(path, "junk\n") for path in paths])


def test_a_listed_file_that_is_missing_is_left_out_and_named(tmp_path):
    write(tmp_path / "a.star", f"data_\nloop_\n_{X}\n_{Y}\n1 2\n")
    head = "data_\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n"
    listing = write(tmp_path / "autopick.star", f"{head}a.mrc a.star\nb.mrc b.star\n")
    picks = read_picks(listing)
    assert picks.table[NAME].tolist() == ["a.mrc"] and list(picks.not_read) == ["b.star"]
    write(listing, f"{head}b.mrc b.star\n")
    with pytest.raises(CoordinatesError, match="b.star: cannot be read"):
        read_picks(listing)


def test_picks_are_grouped_and_what_matches_nothing_is_counted():
    table = pd.DataFrame({X: 0.0, Y: 0.0, NAME: ["a_DW.mrc", "x", "b", "a.mrc", "x", "a_DW.mrc"]})
    tasks = [MicrographTask(5, "d/a.mrc", "a"), MicrographTask(6, "d/b_DW.mrc", "b"), MicrographTask(7, "c.mrc", "c")]
    matches = picks_by_micrograph(table, tasks)
    assert matches.rows == {5: [0, 3, 5], 6: [2], 7: []} and matches.unmatched == {"x": 2}
    matches = picks_by_micrograph(table, [*tasks, MicrographTask(8, "e/b_mic.mrc", "b_mic")])
    assert matches.rows == {5: [0, 3, 5], 6: [], 7: [], 8: []} and matches.ambiguous == {"b": 1}
    assert "fits several micrographs" in matches.warnings[0]
    assert matches.counts(PickTable(table, "")).left_out == {"unmatched": 2, "ambiguous_name": 1}
    assert picks_by_micrograph(table.iloc[:0], tasks).rows == {5: [], 6: [], 7: []}
    table = pd.DataFrame({X: 0.0, Y: 0.0, NAME: pd.Series([1, "a", "1", 2], dtype=object)})
    numbers = [MicrographTask(5, "d/1.mrc", "1"), MicrographTask(6, "d/2.mrc", "2")]
    matches = picks_by_micrograph(table, numbers)
    assert matches.rows == {5: [0, 2], 6: [3]} and matches.unmatched == {"a": 1}
    unnamed = picks_by_micrograph(table.assign(**{NAME: [np.nan, "a", "1", None]}), numbers)
    assert unnamed.rows == {5: [2], 6: []} and sum(unnamed.unmatched.values()) == 3


def test_assigned_coordinates_belong_to_their_micrograph_and_their_ids_are_rows():
    names = ["b.mrc", "a.mrc", "x", "a.mrc", "grid/c.mrc", "other/c.mrc"]
    picks = PickTable(pd.DataFrame({X: np.arange(6.0), Y: 7.0, SIZE: [20.0, np.nan, 1, 2, 3, 4], NAME: names}), "")
    tasks = [MicrographTask(5, "d/a.mrc", "a"), MicrographTask(6, "d/b.mrc", "b"), MicrographTask(7, "d/c.mrc", "c")]
    tasks[0].picks.append(Pick(99, 1.0, 1.0))
    matches = assign_picks(picks, tasks)
    assert matches.rows == {5: [1, 3], 6: [0], 7: []}
    assert tasks[0].picks == [Pick(99, 1.0, 1.0), Pick(1, 1.0, 7.0), Pick(3, 3.0, 7.0, None, 2.0)]
    assert tasks[1].picks == [Pick(0, 0.0, 7.0, None, 20.0)] and tasks[2].picks == []
    assert picks.unmatched == [2, 4, 5] and picks.ambiguous == {4, 5} and picks.lost() == [2, 4, 5]
    assert "grid/c.mrc, other/c.mrc match it equally well; their 2 coordinates" in matches.warnings[0]


def test_a_long_table_comes_in_parts_with_the_id_of_their_first_coordinate(monkeypatch):
    monkeypatch.setattr(coordinates, "ROWS_OF_A_PART", 2)
    table = pd.DataFrame({X: np.arange(5.0), Y: 0.0, NAME: "a"})
    assert [(first, part[X].tolist()) for first, part in PickTable(table, "").parts()] == [
        (0, [0, 1]), (2, [2, 3]), (4, [4]),
    ]  # fmt: skip
    assert [(first, len(part)) for first, part in PickTable(table[:0], "").parts()] == [(0, 0)]


def test_many_rows_take_seconds(tmp_path):
    number, names = 100_000, np.array([f"Micrographs/m{n:05d}.mrc" for n in range(500)], dtype=object)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({X: rng.random(number), Y: rng.random(number), NAME: np.repeat(names, number // 500)})
    start = time.process_time()
    write_star(tmp_path / "p.star", table)
    back = read_picks(tmp_path / "p.star").table
    rows = picks_by_micrograph(back, [MicrographTask(n + 1, name, name) for n, name in enumerate(names)]).rows
    assert time.process_time() - start < 10  # s of CPU; usually about 0.5 s; 20 times as many must be workable
    assert back[X].tolist() == table[X].tolist() and rows[3] == list(range(400, 600))


@needs_real
def test_real_picker_output_lies_in_the_frame():
    for picker, scored in (("cryolo", True), ("deeppicker", True), ("topaz", True)):
        picks = read_picks(REAL / "empiar10017" / "coordinates" / f"picker_{picker}")
        assert picks.table[NAME].nunique() == 7 and (SCORE in picks.table) == scored
        assert picks.table[[X, Y]].to_numpy().min() >= 0 and picks.table[[X, Y]].to_numpy().max() <= 4096
        assert (picks.table[SIZE] == 180).all()
    true = read_picks(REAL / "empiar10017" / "coordinates" / "manual_true").table
    assert true[[X, Y]].iloc[0].tolist() == [123 + 108, 179 + 108]


@needs_real
def test_real_files_of_each_format():
    formats = REAL / "formats"
    cbox = read_picks(formats / "TcdA1-0018_frames_sum.cbox").table
    assert cbox[X].iloc[0] == 3700.3671875 + 110 and cbox[SCORE].iloc[0] == 0.6578449010848999
    assert (cbox[SIZE] == 220).all() and cbox["cryoloEstWidth"].iloc[0] == 232 and "cryoloAngle" not in cbox
    assert read_picks(formats / "cryoppp.csv").table[[X, Y, "cryoiceDiameter"]].iloc[0].tolist() == [3752, 693, 108]
    many = read_picks(formats / "many_micrographs.star").table
    assert many[NAME].iloc[0] == "Falcon_2012_06_12-14_33_35_0.mrc" and many[X].iloc[0] == 3752
    optics = read_picks(formats / "relion31_optics.star")
    assert len(optics) == 2 and optics.optics["rlnImagePixelSize"].tolist() == [0.8257]
    assert len(read_picks(formats / "2d_empty.box")) == 0
    for name, words in (("has_string", "line 2.*sixty_three"), ("unqual_columns", "line 3: 3 columns")):
        assert re.search(words, read_picks(formats / f"2d_corrupt_{name}.box").warnings[0])


def test_paths_are_written_without_quotes(tmp_path):
    """RELION before 4 and many scripts take a quote for a part of the name."""
    names = ["/data/grid 1/a.mrc", "/data/a.mrc", "job005/b_DW.mrcs", "000001@stack.mrcs", "#1.mrc", "data_2.mrc"]
    table = pd.DataFrame({"rlnMicrographName": names, "rlnCoordinateX": 1.0, "rlnCoordinateY": 2.0})
    write_star(tmp_path / "a.star", table)
    rows = [line.split("\t")[0] for line in (tmp_path / "a.star").read_text().splitlines() if "\t" in line]
    assert rows[1:4] == names[1:4]
    assert [row[0] in "'\"" for row in rows] == [True, False, False, False, True, True]
    assert read_picks(tmp_path / "a.star").table["rlnMicrographName"].tolist() == names


def test_a_value_with_both_kinds_of_quotes_stays_in_one_line(tmp_path):
    """CIF would take several lines, which RELION does not read."""
    names = ['it\'s "a" b', 'it\'s"a"', "'a\"", "\"'", 'a\' b"c"', "a\nb\tc\r", None]
    write_star(tmp_path / "a.star", pd.DataFrame({NAME: names, X: 1.0, Y: 2.0}))
    assert "\n'it's \"a\" b'\t1.0\t2.0\nit's\"a\"\t1.0" in (tmp_path / "a.star").read_text()
    assert read_picks(tmp_path / "a.star").table[NAME].tolist() == [*names[:5], "a b c ", "None"]
    write_star(tmp_path / "b.star", pd.DataFrame({NAME: ["a' b\" c"], X: 1.0, Y: 2.0}))
    assert read_picks(tmp_path / "b.star").table[NAME].tolist() == ['a" b" c']  # no form of the name is valid


def test_lists_that_name_each_other_are_refused(tmp_path):
    text = "data_coordinate_files\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\nm1.mrc {}.star\n"
    for name, other in (("one", "two"), ("two", "one"), ("itself", "itself")):
        write(tmp_path / f"{name}.star", text.format(tmp_path / other))
    for name in ("one", "itself"):
        with pytest.raises(CoordinatesError, match="which is a list itself; give the coordinate files"):
            read_picks(tmp_path / f"{name}.star")


@pytest.mark.parametrize("stem", ["a\x1b[31mb", "a\nb", "a\u00a0b", "a\udcffb"])
def test_names_with_control_characters_match_their_micrograph(tmp_path, stem):
    write(tmp_path / f"{stem}.box", "0 0 10 10\n")
    write(tmp_path / f"{stem}.mrc", "")
    tasks = expand_micrographs([str(tmp_path)])
    by_file = read_picks(tmp_path / f"{stem}.box").table
    by_name = by_file.assign(**{NAME: pd.Series([f"elsewhere/{stem}.mrc"], dtype=object)})
    for table in (by_file, by_name):
        assert picks_by_micrograph(table, tasks).rows == {1: [0]}
