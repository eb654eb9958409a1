# SPDX-License-Identifier: GPL-3.0-or-later
"""The hardest mistakes: which they are, and the page that shows them."""

import csv

import numpy as np
import pandas as pd
from PIL import Image

from cryoice_scipion.core.reports import mistakes


def predictions(labels, p_bad, origin="coordinate"):
    number = len(labels)
    table = pd.DataFrame({"label": labels, "p_bad": p_bad, "micrograph": "m", "x": np.arange(number) * 1.5, "y": 2.0})
    return table.assign(origin=origin)


def test_the_most_confident_come_first_and_what_is_right_does_not_come():
    table = predictions(
        ["good", "good", "good", "thick", "thick", "crystalline"],
        [0.7, 0.95, 0.3, 0.9, 0.3, 0.05],
    )
    found = mistakes.hardest(table, threshold=0.5)
    assert list(found.index) == [1, 0, 5, 4]
    assert list(found["number"]) == [1, 2, 3, 4]
    assert list(mistakes.hardest(table, threshold=0.5, each=1).index) == [1, 5]


def test_what_is_a_mistake_depends_on_the_threshold():
    table = predictions(["good", "bad"], [0.3, 0.6])
    assert list(mistakes.hardest(table, threshold=0.8).index) == [0]
    assert list(mistakes.hardest(table, threshold=0.2).index) == [1]
    assert len(mistakes.hardest(table, threshold=0.5)) == 0


def test_places_that_training_drew_itself_do_not_crowd_out_the_users_labels():
    origins = ["background"] * 20 + ["coordinate"] * 5
    table = predictions(["good"] * 25, [0.9] * 20 + [0.6, 0.7, 0.8, 0.65, 0.3], origins)
    found = mistakes.hardest(table, 0.5)
    assert list(found.index[:4]) == [22, 21, 23, 20]  # though the model is surer of the others
    assert set(found["origin"][4:]) == {"background"}
    assert len(found) == 4 + mistakes.DRAWN
    assert list(mistakes.hardest(table, 0.5, each=3).index) == [22, 21, 23]


def test_a_particle_is_seen_in_a_noisy_patch_and_fringes_in_its_spectrum(tmp_path):
    rows, columns = np.mgrid[-32:32, -32:32]
    disc, period = rows**2 + columns**2 < 8**2, 2.5
    fringes = 0.8 * np.cos(2 * np.pi * columns / period)
    patch = np.random.default_rng(0).normal(size=(64, 64)) - disc + fringes
    mistakes.write_mistakes(tmp_path, mistakes.hardest(predictions(["good"], [0.9]), 0.5), patch[None])
    with Image.open(tmp_path / mistakes.PICTURE) as page:
        grey = np.asarray(page.convert("L"), dtype=float)
    side, left, top = mistakes.SIDE, mistakes.MARGIN, 3 * mistakes.LINE
    shown = grey[top : top + side, left : left + side].reshape(64, side // 64, 64, side // 64).mean(axis=(1, 3))
    assert shown[~disc].mean() - shown[disc].mean() > 2 * shown[~disc].std()  # 1 / 1.15 of it in the patch
    left += side + mistakes.GAP
    spectrum = grey[top : top + side, left : left + side]
    near, far = slice(side // 2 - 4, side // 2 + 4), slice(round(side / 2 + side / period) - 4, side)
    assert spectrum[near, far].max() == spectrum.max() > spectrum[far, near].max()


def test_a_full_page_is_small_enough_for_a_package(tmp_path):
    found = mistakes.hardest(predictions(["good", "bad"] * 30, [0.9, 0.1] * 30), 0.5)
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
