# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged files are read or refused in one line by every reader; benchmarks/fuzz_readers.py tries many more."""

import json
import logging
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from cryoice_scipion.core.errors import CryoIceError, ImageError
from cryoice_scipion.core.formats.joining import read_each
from cryoice_scipion.core.formats.table import FORMATS
from cryoice_scipion.core.images.naming import expand_micrographs
from cryoice_scipion.core.images.reading import read_micrograph
from cryoice_scipion.core.regions.labels import read_labels
from cryoice_scipion.core.results.run_reader import read_summary
from cryoice_scipion.core.screening import quarantine

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
import fuzz_readers  # noqa: E402
from fuzz_targets import TARGETS, damaged  # noqa: E402
from reader_seeds import write_companions  # noqa: E402

NUMBER, FEWER = 110, 40
#: Numbers of inputs on which a reader once failed: names that are too long or empty, text that is none, lists in lists,
#: and headers of numpy that end too early.
FOUND = {
    ".star": (11899, 15886),
    ".csg": (4426, 5369),
    ".cs": (12588, 13018, 62507),
    "review.json": (51, 387),
    "features.npy": (2, 14),
    "micrographs.star": (2156, 2732, 5375, 6454, 12245),
    "exposures.cs": (5923,),
    "second.cs": (9329,),
}
BY_SUFFIX = {suffix: one for one in FORMATS for suffix in one.suffixes}


def _tried(folder, name, data):
    return fuzz_readers.fault_of(TARGETS[name], folder / TARGETS[name].file, data)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, monkeypatch, name):
    signal.signal(signal.SIGPROF, fuzz_readers._alarm)
    monkeypatch.chdir(tmp_path)
    outcomes = set()
    write_companions(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in (*FOUND.get(name, ()), *range(NUMBER if name in BY_SUFFIX else FEWER)):
            outcome, details = _tried(tmp_path, name, damaged(name, number))
            assert outcome in ("read", "refused"), (number, details)
            outcomes.add(outcome)
    assert outcomes == ({"read"} if name == "summary.json" else {"read", "refused"})


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_the_undamaged_files_are_read(tmp_path, name):
    write_companions(tmp_path)
    for seed in TARGETS[name].seeds:
        data = TARGETS[name].packed(seed)
        assert _tried(tmp_path, name, data) == ("read", "")
        if name in BY_SUFFIX:
            assert len(BY_SUFFIX[name].read(tmp_path / TARGETS[name].file).table)


def test_a_damaged_pickle_does_not_crash_the_process(tmp_path):
    """A repeated part in the pickle of a table with text columns once crashed numpy."""
    whole = TARGETS[".cs"].seeds[2]
    outcomes = set()
    for start in range(whole.index(b"\n") + 1, len(whole) - 58):
        data = whole[:start] + 2 * whole[start : start + 58] + whole[start:]
        outcomes.add(_tried(tmp_path, ".cs", data)[0])
    assert "refused" in outcomes and outcomes <= {"read", "refused"}


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError, RecursionError, SyntaxError])
def test_damage_that_no_reader_foresees_is_one_line_and_the_other_files_are_read(tmp_path, kind):
    def fail(path):
        raise kind("two\nlines")

    (tmp_path / "b.box").write_text("1 2 3 4\n")
    read = read_each([(tmp_path / "a.box", fail), (tmp_path / "b.box", BY_SUFFIX[".box"].read)])
    assert len(read.parts) == 1
    assert read.not_read[str(tmp_path / "a.box")].endswith(
        f"cannot be read ({kind.__name__}: two lines); check the file"
    )
    assert len(str(CryoIceError("a", "x\u2028y\x85z"))) == len("a: x y z")


def test_damaged_files_of_an_earlier_session_are_as_none(tmp_path):
    for content in ("[" * 5000, "[1, {}]", "{}", "7"):
        for name in ("summary.json", quarantine.COMPUTING, quarantine.QUARANTINE):
            (tmp_path / name).write_text(content)
        assert read_summary(tmp_path) is None or content == "{}"
        assert not quarantine.has_suspects(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("micrograph_blob/path", ("U9", (2,)), "micrograph_blob/path does not hold text"),
        ("micrograph_blob/path", ("f4",), "micrograph_blob/path does not hold text"),
        ("micrograph_blob/psize_A", ("f4", (2,)), "micrograph_blob/psize_A does not hold numbers"),
        ("uid", ("f8",), "uid does not hold whole numbers"),
    ],
)
def test_a_column_of_cryosparc_of_another_type_is_named(tmp_path, name, kind, words):
    kinds = {"uid": ("u8",), "micrograph_blob/path": ("U9",), "micrograph_blob/psize_A": ("f4",), name: kind}
    np.save(tmp_path / "a.npy", np.zeros(2, [(key, *one) for key, one in kinds.items()]))
    (tmp_path / "a.npy").rename(tmp_path / "a.cs")
    with pytest.raises(CryoIceError, match=words):
        expand_micrographs([str(tmp_path / "a.cs")])


def test_a_labelled_box_beyond_any_micrograph_is_refused(tmp_path):
    box = {"x": 1, "y": 2, "width": 3, "height": 4}
    for key in box:
        (tmp_path / "l.json").write_text(json.dumps({"micrographs": {"m": [{**box, key: 1e300}]}}))
        with pytest.raises(CryoIceError, match=f"{key} must be 1e"):
            read_labels(tmp_path / "l.json")


@pytest.mark.parametrize("name", ["no/", "\\"])
def test_a_path_without_a_file_name_has_outputs_with_a_name(tmp_path, name):
    (tmp_path / "m.star").write_text(f"data_\nloop_\n_rlnMicrographName\n{name}\nm1.mrc\n")
    assert [task.stem for task in expand_micrographs([str(tmp_path / "m.star")])] == ["_", "m1"]


def test_a_damaged_tiff_is_one_error_and_no_lines_of_the_library(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(logging.root, "handlers", [])  # without them, Python writes to stderr
    (tmp_path / "a.tif").write_bytes(damaged("micrograph.tif", 7))
    with pytest.raises(ImageError):
        read_micrograph(tmp_path / "a.tif")
    assert capsys.readouterr().err == ""
