# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of a run's journal have a kind, and the fields of that kind."""

import json

import pytest

from cryoice_scipion.core.records import FileIdentity, Reference
from cryoice_scipion.core.results.journal import DamagedLineError, Journal
from cryoice_scipion.core.results.journal_lines import Head, Referenced, Thinned, Touched, parse, read_run

HEAD = {"records_version": 3, "config": {"margin": 5.0}, "model": "f"}
LINES = [
    ("head", HEAD, Head(3, {"margin": 5.0}, "f")),
    ("thinned", {"ids": [1, 2]}, Thinned([1, 2])),
    ("touched", {"id": 4, "input": {"size": 1, "modified": 2, "digest": "d"}}, Touched(4, FileIdentity(1, 2, "d"))),
    (
        "reference",
        {"reference": {"session_logit": -3.0, "logit_offset": 0.0, "contrast": "dark"}},
        Referenced(Reference(-3.0, 0.0, "dark")),
    ),
]


def test_lines_come_back_with_the_byte_after_them(tmp_path):
    journal = Journal(tmp_path / "j", parse, "ab12")
    starts = [journal.append(kind, **values) for kind, values, _ in LINES]
    journal.close()
    ends = [*starts[1:], journal.end]
    assert list(read_run(tmp_path / "j")) == list(zip(ends, [line for _, _, line in LINES]))
    assert [end for end, _ in read_run(tmp_path / "j", starts[2])] == ends[2:]


@pytest.mark.parametrize(
    "values",
    [
        {**HEAD},
        {"kind": "other", **HEAD},
        {"kind": "head", "records_version": 3, "config": {}},
        {"kind": "head", **HEAD, "records_version": "3"},
        {"kind": "thinned", "ids": [1, 2.5]},
        {"ids": [1], "kind": "thinned"},
    ],
)
def test_other_kinds_and_fields_of_another_type_are_refused(tmp_path, values):
    line = json.dumps(values).encode() + b"\n"
    with pytest.raises(ValueError):
        parse(line)
    (tmp_path / "j").write_bytes(line)
    with pytest.raises(DamagedLineError, match="line 1 is damaged"):
        list(read_run(tmp_path / "j"))
