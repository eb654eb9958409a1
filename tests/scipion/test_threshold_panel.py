# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel with the threshold counts what the outputs of the run have."""

import time
import tkinter as tk

import pytest
from gui import screen

from cryoice_scipion.core.records import MicrographRecord, PickScore, to_json
from cryoice_scipion.core.results.journal import Journal
from cryoice_scipion.core.results.journal_lines import parse
from cryoice_scipion.core.results.run_folder import JOURNAL
from cryoice_scipion.core.results.run_reader import RunReader
from cryoice_scipion.viewers.threshold_panel import ThresholdPanel

pytestmark = pytest.mark.scipion


@pytest.fixture
def panel(tmp_path):
    """A function that returns the panel of a run with this threshold: an accepted and a discarded micrograph."""

    def make(threshold):
        scores = [("good", 0.9), ("thick", 0.1), ("outside", None), ("failed", None)]
        journal = Journal(tmp_path / JOURNAL, parse)
        journal.append("head", records_version=1, config={}, model="", created="now")
        for key, status in enumerate(("accepted", "discarded")):
            keep = [status == "accepted" and (threshold == -1 or (one or 0) >= threshold) for _, one in scores]
            found = [
                PickScore(4 * key + n, one, cls, keep[n] and cls != "failed") for n, (cls, one) in enumerate(scores)
            ]
            record = MicrographRecord(key, f"m{key}", f"m{key}.mrc", status, scores=found)
            journal.append("screened", record=to_json(record), picks="")
        journal.close()
        panel = ThresholdPanel(root, threshold, lambda: None)
        panel.show(RunReader(tmp_path).look())
        panel.count(0, 4)
        return panel

    with screen():
        root = tk.Tk()
        yield make
        root.destroy()


def test_a_run_that_keeps_all_opens_with_what_it_kept(panel):
    panel = panel(-1.0)
    words = panel.counts.cget("text").splitlines()
    assert words[0].startswith("All micrographs: 3 of 8 kept")
    assert words[2] == "Always rejected: 4 on discarded micrographs, 1 without goodness"
    assert panel.axes.get_xlim() == (0, 1)
    panel.set(0.5)
    panel.count(0, 4)
    words = panel.counts.cget("text").splitlines()
    assert words[0].startswith("All micrographs: 1 of 8 kept")
    assert words[2] == "Always rejected: 4 on discarded micrographs, 2 without goodness"
    panel.reset.invoke()
    panel.count(0, 4)
    assert panel.counts.cget("text").startswith("All micrographs: 3 of 8 kept")


def test_a_run_with_threshold_zero_keeps_nothing_without_goodness(panel):
    panel = panel(0.0)
    words = panel.counts.cget("text").splitlines()
    assert words[0].startswith("All micrographs: 2 of 8 kept")
    assert words[2] == "Always rejected: 4 on discarded micrographs, 2 without goodness"


def test_the_tooltip_of_the_histogram_does_not_cover_it(panel):
    panel = panel(0.5)
    panel.pack(fill=tk.BOTH, expand=True)
    panel.update()
    widget = panel.canvas.get_tk_widget()
    widget.event_generate("<Motion>", x=100, y=40)
    end = time.monotonic() + 10
    while not widget.winfo_children():
        assert time.monotonic() < end
        panel.update()
    (tip,) = widget.winfo_children()
    panel.update()
    assert tip.winfo_rooty() >= widget.winfo_rooty() + widget.winfo_height()
