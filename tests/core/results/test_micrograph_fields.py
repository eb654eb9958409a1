# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of values of each micrograph: csv, report, viewer and Scipion follow from one entry."""

import csv

import pytest

from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.reports.html import write_report
from cryoice_scipion.core.results.micrograph_fields import (
    FIELDS,
    MicrographField,
    columns,
    in_words,
    row_of,
    shown_values,
)
from cryoice_scipion.core.results.run_sums import RunSums
from cryoice_scipion.core.screening.tables import MicrographTable

RECORD = MicrographRecord(7, "mic", "m/mic.mrc", "accepted", bad_area=0.25, pixel_size=1.1, flags=["border", "no_fft"])


@pytest.fixture
def toy():
    """One more field: the number of flags, in per mille."""
    field = MicrographField(
        "flag_count", "Number of flags.", lambda record: len(record.flags), "flags", label="Flag count",
        shown="{:d} found".format, attribute="_cryoiceFlagCount",
    )  # fmt: skip
    FIELDS.append(field)
    yield
    FIELDS.remove(field)


def test_the_row_of_a_micrograph_is_as_documented():
    row = row_of(RECORD)
    assert list(row) == columns()
    assert row["bad_area"] == "0.25000" and row["area_support"] == "0.00000" and row["pixel_size"] == "1.1"
    assert row["flags"] == "border;no_fft" and row["seconds"] == "0.000"
    failed = row_of(MicrographRecord(8, "b", "b.mrc", "failed", "cannot be read"))
    assert failed["bad_area"] == failed["area_good"] == failed["pixel_size"] == "" and failed["picks"] == "0"
    assert in_words(shown_values(RECORD)) == "accepted, bad area 25.0 %"


def test_a_new_field_is_in_table_report_viewer_and_scipion(toy, tmp_path):
    table = MicrographTable(tmp_path / "micrographs.csv")
    table.note(RECORD)
    table.refresh()
    with open(tmp_path / "micrographs.csv") as stream:
        assert next(csv.DictReader(stream))["flag_count"] == "2"
    assert in_words(shown_values(RECORD)).endswith("flag count 2 found")
    sums = RunSums()
    sums.add(RECORD)
    assert sums.micrographs[7].shown[-1] == ("Flag count", "2 found")
    write_report(tmp_path, sums, {})

    pytest.importorskip("pwem")
    from pwem.objects import Micrograph

    from cryoice_scipion.convert import mark_micrograph
    from cryoice_scipion.viewers.micrograph_table import columns as viewer_columns

    item = Micrograph()
    mark_micrograph(item, RECORD, "run")
    assert item._cryoiceFlagCount.get() == 2.0 and item._cryoiceBadArea.get() == 0.25
    assert viewer_columns()["flag_count"].title == "Flag count"
