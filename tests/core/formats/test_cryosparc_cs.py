# SPDX-License-Identifier: GPL-3.0-or-later
"""cryoSPARC .cs files: positions, names and uids are exact; nothing in a file is executed."""

import os

import numpy as np
import pytest

from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, PIXEL_SIZE, SCORE, X, Y, picks_of_rows, read_picks
from cryoice_scipion.core.formats.matching import picks_by_micrograph
from cryoice_scipion.core.records import MicrographTask

NAMES = [f"S1/motioncorrected/{number:021d}_mic_{number}_patch_aligned_doseweighted.mrc" for number in (1, 2, 2)]
UIDS = [2**63 + 12345, 7, 9007199254740993]


def particles(text):
    """Return three particles on two micrographs of 1000 rows and 2000 columns; ``text`` is the type of names."""
    dtype = [("uid", "<u8"), ("location/micrograph_path", text), ("location/micrograph_shape", "<u4", (2,)),
             ("location/center_x_frac", "<f4"), ("location/center_y_frac", "<f4"),
             ("location/micrograph_psize_A", "<f4"), ("pick_stats/ncc_score", "<f4")]  # fmt: skip
    array = np.zeros(3, dtype=dtype)
    array["uid"], array["location/micrograph_path"] = UIDS, NAMES
    array["location/micrograph_shape"] = [1000, 2000]
    array["location/center_x_frac"], array["location/center_y_frac"] = [0.25, 0.5, 0.75], [0.125, 0.25, 0.5]
    array["location/micrograph_psize_A"], array["pick_stats/ncc_score"] = 1.5, [0.5, 0.25, 0.75]
    return array


def write(path, array, **options):
    with open(path, "wb") as stream:
        np.save(stream, array, **options)
    return path


@pytest.mark.parametrize("text", ["S120", "U120", "O"])
def test_positions_names_and_uids_are_exact(tmp_path, text):
    table = read_picks(write(tmp_path / "p.cs", particles(text))).table
    assert table[X].tolist() == [500, 1000, 1500] and table[Y].tolist() == [125, 250, 500]
    assert table["cryosparcUid"].tolist() == [str(uid) for uid in UIDS]
    assert table[PIXEL_SIZE].tolist() == [1.5] * 3 and table[SCORE].tolist() == [0.5, 0.25, 0.75]
    assert table[MICROGRAPH].tolist() == NAMES
    tasks = [MicrographTask(1, "m/mic_1.mrc", "mic_1"), MicrographTask(2, "m/mic_2.mrc", "mic_2")]
    assert picks_by_micrograph(table, tasks).rows == {1: [0], 2: [1, 2]}
    assert picks_of_rows(table, [2])[0].pixel_size == 1.5


@pytest.mark.parametrize(("version", "is_read"), [((1, 0), True), ((2, 0), True), ((3, 0), False)])
def test_numpy_files_of_the_versions_without_unicode_names_are_read(tmp_path, version, is_read):
    with open(tmp_path / "p.cs", "wb") as stream:
        np.lib.format.write_array(stream, particles("S120"), version)
    if is_read:
        assert read_picks(tmp_path / "p.cs").table[X].tolist() == [500, 1000, 1500]
    else:
        with pytest.raises(CoordinatesError, match=r"p.cs: .*version \(3, 0\) of the numpy format.*; export"):
            read_picks(tmp_path / "p.cs")


def test_the_compressed_format_is_read_by_its_own_library_or_names_it(tmp_path):
    (tmp_path / "p.cs").write_bytes(b"\x95CSDAT" + b"\0" * 20)
    with pytest.raises(CoordinatesError, match="cryosparc-tools|cannot be read"):
        read_picks(tmp_path / "p.cs")
    dataset = pytest.importorskip("cryosparc.dataset", reason="cryosparc-tools is not installed")
    records = particles("S120")
    columns = [(name, records[name].astype(str) if "path" in name else records[name]) for name in records.dtype.names]
    dataset.Dataset(columns).save(str(tmp_path / "q.cs"), format=dataset.CSDAT_FORMAT)
    assert read_picks(tmp_path / "q.cs").table.equals(read_picks(write(tmp_path / "r.cs", records)).table)


def test_the_compressed_format_of_older_versions_is_named_with_the_remedy(tmp_path):
    (tmp_path / "p.cs").write_bytes(b"\x94CSDAT" + b"\0" * 20)
    with pytest.raises(CoordinatesError, match="compressed format of cryoSPARC 4.1 to 4.3.*; open it with cryosparc"):
        read_picks(tmp_path / "p.cs")


def test_the_mark_before_a_path_is_no_part_of_the_name(tmp_path):
    array = particles("S130")
    array["location/micrograph_path"] = [f">{name}" for name in NAMES]
    assert read_picks(write(tmp_path / "p.cs", array)).table[MICROGRAPH].tolist() == NAMES


def test_particles_without_a_position_are_counted(tmp_path):
    array = particles("S120")
    whole = read_picks(write(tmp_path / "p.cs", array)).table
    array["location/micrograph_shape"][1] = 0
    picks = read_picks(write(tmp_path / "p.cs", array))
    assert picks.table.equals(whole.iloc[[0, 2]].reset_index(drop=True))
    assert len(picks) == 2 and picks.left_out == {"unreadable_row": 1} and "1 particle without" in picks.warnings[0]
    array["location/micrograph_shape"] = 0
    with pytest.raises(CoordinatesError, match="p.cs: no particle has a position on a micrograph; give"):
        read_picks(write(tmp_path / "p.cs", array))


@pytest.mark.parametrize("missing", ["uid", "location/micrograph_psize_A", "pick_stats/ncc_score"])
def test_columns_that_may_be_missing(tmp_path, missing):
    array = particles("S120")
    picks = read_picks(write(tmp_path / "p.cs", array[[name for name in array.dtype.names if name != missing]]))
    columns = {"uid": "cryosparcUid", "location/micrograph_psize_A": PIXEL_SIZE, "pick_stats/ncc_score": SCORE}
    absent = columns.pop(missing)
    assert absent not in picks.table and set(columns.values()) < set(picks.table)
    assert picks.left_out == {} and not picks.warnings
    assert picks.sources == ([] if missing == "uid" else [tmp_path / "p.cs"])


@pytest.mark.parametrize("column", ["location/center_x_frac", "location/micrograph_shape"])
def test_a_position_that_is_no_number_is_an_error_that_names_the_column(tmp_path, column):
    array = particles("S120")
    dtype = [(name, "S3" if name == column else array.dtype[name]) for name in array.dtype.names]
    other = np.zeros(3, dtype=dtype)
    for name in array.dtype.names:
        other[name] = b"one" if name == column else array[name]
    with pytest.raises(CoordinatesError, match=f"p.cs: column {column} does not hold numbers"):
        read_picks(write(tmp_path / "p.cs", other))


class Command:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("kind", ["command", "number", "short", "other", "table"])
def test_hostile_and_damaged_files_are_one_line(tmp_path, kind):
    path, made = tmp_path / "p.cs", tmp_path / "made"
    array = particles("O")
    if kind == "command":
        array["location/micrograph_path"][0] = Command(str(made))
    write(path, np.arange(5) if kind == "number" else array)
    if kind == "short":
        path.write_bytes(path.read_bytes()[:-40])
    elif kind == "other":
        path.write_bytes(b"hello")
    elif kind == "table":
        write(path, array[["uid"]])
    with pytest.raises(CoordinatesError) as caught:
        read_picks(path)
    assert "\n" not in str(caught.value) and caught.value.remedy and not made.exists()
