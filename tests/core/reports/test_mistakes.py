# SPDX-License-Identifier: GPL-3.0-or-later
"""The hardest mistakes: which they are, and the page that shows them."""

import csv

import numpy as np
import pandas as pd
from PIL import Image

from cryoice_scipion.core.reports import mistakes


def judged(labels, p_bad):
    number = len(labels)
    table = pd.DataFrame({"label": labels, "p_bad": p_bad, "micrograph": "m", "x": np.arange(number) * 1.5, "y": 2.0})
    return table.assign(origin="background")


def test_the_most_confident_come_first_and_what_is_right_does_not_come():
    table = judged(
        ["good", "good", "good", "thick", "thick", "crystalline"],
        [0.7, 0.95, 0.3, 0.9, 0.3, 0.05],
    )
    found = mistakes.hardest(table, threshold=0.5)
    assert list(found.index) == [1, 0, 5, 4]
    assert list(found["number"]) == [1, 2, 3, 4]
    assert list(mistakes.hardest(table, threshold=0.5, each=1).index) == [1, 5]


def test_what_is_a_mistake_depends_on_the_threshold():
    table = judged(["good", "bad"], [0.3, 0.6])
    assert list(mistakes.hardest(table, threshold=0.8).index) == [0]
    assert list(mistakes.hardest(table, threshold=0.2).index) == [1]
    assert len(mistakes.hardest(table, threshold=0.5)) == 0


def test_a_full_page_is_small_enough_for_a_package(tmp_path):
    found = mistakes.hardest(judged(["good", "bad"] * 30, [0.9, 0.1] * 30), 0.5)
    assert len(found) == 24
    patches = np.random.default_rng(1).normal(size=(24, 64, 64))
    mistakes.write_mistakes(tmp_path, found, patches)
    assert (tmp_path / mistakes.PICTURE).stat().st_size < 300_000
    with Image.open(tmp_path / mistakes.PICTURE) as page:
        full = page.size
    with open(tmp_path / mistakes.TABLE, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["x"]) for row in rows] == list(found["x"])
    mistakes.write_mistakes(tmp_path, found[:0], patches[:0])  # nothing is wrong: the page says so
    with Image.open(tmp_path / mistakes.PICTURE) as page:
        assert page.width == full[0]
        assert page.height < full[1] / 4
