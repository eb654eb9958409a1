# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of coordinate formats: a new format is one entry, and everything else follows from it."""

from pathlib import Path

import pandas as pd
import pytest

from cryoice_scipion.core.cli import build_parser
from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats import table
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, X, Y, read_picks
from cryoice_scipion.core.formats.joining import Picks
from cryoice_scipion.core.formats.pick_tables import micrograph_of


def read_pairs(path):
    """Read a toy format: x and y a line, separated by a semicolon."""
    pairs = [line.split(";") for line in path.read_text().splitlines()]
    x, y = ([float(value) for value in column] for column in zip(*pairs))
    return Picks(pd.DataFrame({X: x, Y: y, MICROGRAPH: micrograph_of(path)}))


@pytest.fixture
def pairs(monkeypatch):
    monkeypatch.setattr(table, "FORMATS", list(table.FORMATS))
    table.register(table.CoordinateFormat("Toy", (".pairs",), read_pairs, "two numbers a line"))


def test_a_new_format_is_read_from_files_folders_and_lists(pairs, tmp_path):
    folder = tmp_path / "picks"
    folder.mkdir()
    (folder / "mic_1_DW.pairs").write_text("1;2\n3;4\n")
    (folder / "mic_2.mrc.pairs").write_text("5;6\n")
    read = read_picks(folder).table
    assert read[X].tolist() == [1, 3, 5] and read[MICROGRAPH].tolist() == ["mic_1_DW", "mic_1_DW", "mic_2"]
    listing = tmp_path / "coordinates.star"
    head = "data_coordinate_files\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n"
    listing.write_text(f"{head}m/mic_2.mrc {folder / 'mic_2.mrc.pairs'}\n")
    assert read_picks(listing).table.values.tolist() == [[5.0, 6.0, "m/mic_2.mrc"]]


def test_help_and_messages_name_a_new_format(pairs, tmp_path, capsys):
    (tmp_path / "a.xyz").write_text("1 2")
    with pytest.raises(CoordinatesError, match=r"\.txt or \.pairs"):
        read_picks(tmp_path / "a.xyz")
    with pytest.raises(SystemExit):
        build_parser(["screen"]).parse_args(["screen", "--help"])
    assert table.formats_in_words().endswith("Xmipp .pos, CryoPPP, Topaz and others .csv .txt, Toy .pairs")
    assert "Toy .pairs" in " ".join(capsys.readouterr().out.split())


def test_an_added_format_overrides_an_unspecific_suffix(monkeypatch, tmp_path):
    """A folder of its files is then read, although the built-in format of this suffix also stands for logs."""
    monkeypatch.setattr(table, "FORMATS", list(table.FORMATS))
    table.register(table.CoordinateFormat("Toy", (".txt",), read_pairs, "two numbers a line"))
    (tmp_path / "a.txt").write_text("1;2\n")
    (tmp_path / "b.csv").write_text("x,y\n3,4\n")
    assert read_picks(tmp_path).table[X].tolist() == [1]


def test_no_two_formats_have_one_suffix():
    suffixes = [suffix for one in table.FORMATS for suffix in one.suffixes]
    assert len(suffixes) == len(set(suffixes))


@pytest.mark.parametrize(
    "name, stem",
    [
        ("mic_1.box", "mic_1"),
        ("mic_1.mrc.cbox", "mic_1"),
        ("b_1.77.star", "b_1.77"),
        ("mic_1_autopick.star", "mic_1_autopick"),
    ],
)
def test_a_coordinate_file_is_named_after_its_micrograph(name, stem):
    assert micrograph_of(Path(name)) == stem
