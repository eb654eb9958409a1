# SPDX-License-Identifier: GPL-3.0-or-later
"""``cryoice screen`` with a model that gives no numbers: the micrograph fails, and its coordinates are rejected."""

import numpy as np
import pytest
from noise import NUMBER

from cryoice_scipion.core.cli import main
from cryoice_scipion.core.detectors.loading import load_detector
from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.core.workers.local_executor import LocalExecutor

pytest.importorskip("torch")


class Faulty:
    """A detector that is right, but for one value of the second micrograph that it maps."""

    def __init__(self, detector, value, on_border=False):
        self.detector, self.config, self.value, self.on_border, self.calls = (
            detector,
            detector.config,
            value,
            on_border,
            0,
        )

    def map(self, image, pixel_size, border, inverted):
        self.calls += 1
        classmap = self.detector.map(image, pixel_size, border, inverted)
        if self.calls == 2:
            classmap.logits[:, 3, 2] = [self.value] + [0] * (len(classmap.classes) - 1)
            classmap.border[3, 2] = self.on_border
        return classmap


def screen(micrographs, model, folder, monkeypatch, *fault):
    def load(path, device):
        return LocalExecutor(Faulty(load_detector(path, device), *fault), "faulty", device)

    monkeypatch.setattr(LocalExecutor, "load", load)
    picks = folder / "picks"
    picks.mkdir()
    for number in range(NUMBER):
        (picks / f"mic{number}.box").write_text("100 100 20 20\n60 100 20 20\n")
    words = ["screen", micrographs, "--output", folder / "o", "--model", model, "--device", "cpu", "--reference", 3]
    return main([str(word) for word in [*words, "--coordinates", picks]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_log_odds_that_are_no_numbers_fail_the_micrograph(micrographs, model, tmp_path, monkeypatch, capsys, value):
    assert screen(micrographs, model, tmp_path, monkeypatch, value) == 1
    said = capsys.readouterr()
    assert "mic1.mrc: the model gives no finite log-odds for 1 of " in said.out and "Traceback" not in said.err
    told = {one.stem: one for one in read_records(tmp_path / "o")}
    assert {stem: one.status for stem, one in told.items() if one.status == "failed"} == {"mic1": "failed"}
    assert len(told) == NUMBER and read_summary(tmp_path / "o").failed == 1
    rejected = read_picks(tmp_path / "o" / "coordinates" / "rejected.star").table
    rows = rejected[rejected["rlnMicrographName"].str.contains("mic1")]
    assert len(rows) == 2 and set(rows["cryoiceClass"]) == {"failed"}
    assert rows["cryoiceGoodness"].isna().all()


def test_border_cells_need_no_log_odds(micrographs, model, tmp_path, monkeypatch):
    assert screen(micrographs, model, tmp_path, monkeypatch, np.nan, True) == 0
