# SPDX-License-Identifier: GPL-3.0-or-later
"""Records as JSON values."""

import dataclasses
import json

from cryoice_scipion.core.records import MicrographRecord, OneClass, PickScore, Reference, Summary, to_json


def test_records_are_written_as_the_standard_library_would_write_them():
    scores = [PickScore(key, None if key else 0.25, "good", bool(key)) for key in range(3)]
    record = MicrographRecord(1, "a", "b.mrc", "accepted", areas={"good": 1.0}, scores=scores, flags=["border"])
    reference = Reference(1.0, 0.0, "dark", [1], OneClass([1.0], [1.0], [1.0], 128.0, 1.0, 1.0, [1], [1.0], [1]))
    for one in (record, reference, Summary(most_unusual=[{"micrograph": "a"}])):
        assert json.dumps(to_json(one)) == json.dumps(dataclasses.asdict(one))
    to_json(record)["flags"].append("changed")
    assert record.flags == ["border"]
