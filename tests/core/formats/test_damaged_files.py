# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged files of every format are read or refused in one line; benchmarks/fuzz_readers.py tries many more."""

import signal
import sys
import warnings
from pathlib import Path

import pytest

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.joining import read_each
from cryoice_scipion.core.formats.table import FORMATS

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
import fuzz_readers  # noqa: E402
from reader_seeds import damaged, seeds_of, write_companions  # noqa: E402

NUMBER = 150
#: Numbers of inputs on which a reader once failed: names that are too long, and text that is none.
FOUND = {".star": (11899, 15886), ".csg": (4426, 5369), ".cs": (12588, 13018, 62507)}
BY_SUFFIX = {suffix: one for one in FORMATS for suffix in one.suffixes}


@pytest.mark.parametrize("suffix", sorted(BY_SUFFIX))
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, suffix):
    signal.signal(signal.SIGPROF, fuzz_readers._alarm)
    outcomes = set()
    write_companions(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in (*FOUND.get(suffix, ()), *range(NUMBER)):
            outcome, details = fuzz_readers.fault_of(
                BY_SUFFIX[suffix], tmp_path / f"m{suffix}", damaged(suffix, number)
            )
            assert outcome in ("read", "refused"), (number, details)
            outcomes.add(outcome)
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("suffix", sorted(BY_SUFFIX))
def test_the_undamaged_files_are_read(tmp_path, suffix):
    write_companions(tmp_path)
    for seed in seeds_of(suffix):
        path = tmp_path / f"m{suffix}"
        assert fuzz_readers.fault_of(BY_SUFFIX[suffix], path, seed) == ("read", "")
        assert len(BY_SUFFIX[suffix].read(path).table)


def test_a_damaged_pickle_does_not_crash_the_process(tmp_path):
    """A repeated part in the pickle of a table with text columns once crashed numpy."""
    whole = seeds_of(".cs")[2]
    outcomes = set()
    for start in range(whole.index(b"\n") + 1, len(whole) - 58):
        data = whole[:start] + 2 * whole[start : start + 58] + whole[start:]
        outcomes.add(fuzz_readers.fault_of(BY_SUFFIX[".cs"], tmp_path / "m.cs", data)[0])
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
