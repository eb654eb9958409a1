# SPDX-License-Identifier: GPL-3.0-or-later
"""Plots: the numbers behind them, and that each gives a picture whatever it is given."""

import math
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cryoice_scipion.core.reports import plots


def is_png(path):
    with Image.open(path) as image:
        return image.format == "PNG" and min(image.size) > 200


@pytest.fixture
def drawn(monkeypatch):
    """Collect the figures that are written."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *words, **options: (figures.append(self), save(self, *words, **options))
    )
    return figures


def test_the_working_point_lies_on_the_curve(drawn, tmp_path):
    rng = np.random.default_rng(0)
    bad = rng.random(400) < 0.3
    scores = 1 / (1 + np.exp(-rng.normal(bad * 2 - 1.0, 1.0)))
    plots.roc(scores, bad, tmp_path / "roc.png", threshold=0.6)
    _, curve, point = drawn[0].axes[0].lines
    (x,), (y,) = point.get_data()
    assert (x, y) == pytest.approx((np.mean(scores[~bad] > 0.4), np.mean(scores[bad] > 0.4)))
    assert y == pytest.approx(np.interp(x, *curve.get_data()), abs=0.02)


def test_precision_and_recall_at_the_threshold_lie_on_the_curve(drawn, tmp_path):
    rng = np.random.default_rng(1)
    bad = rng.random(400) < 0.3
    scores = 1 / (1 + np.exp(-rng.normal(bad * 2 - 1.0, 1.0)))
    plots.precision_recall(scores, bad, tmp_path / "precision_recall.png", threshold=0.6)
    assert is_png(tmp_path / "precision_recall.png")
    chance, curve, point = drawn[0].axes[0].lines
    (recall,), (precision,) = point.get_data()
    predicted = scores > 0.4
    assert (recall, precision) == pytest.approx((predicted[bad].mean(), bad[predicted].mean()))
    at = np.column_stack(curve.get_data())
    assert np.abs(at - (recall, precision)).sum(axis=1).min() < 0.01
    assert chance.get_ydata()[0] == pytest.approx(bad.mean())


def test_calibrated_probabilities_lie_on_the_diagonal(drawn, tmp_path):
    rng = np.random.default_rng(2)
    scores = rng.random(100_000)
    plots.calibration(scores, rng.random(scores.size) < scores, tmp_path / "calibration.png")
    mean, share = drawn[0].axes[0].lines[1].get_data()
    assert np.allclose(mean, share, atol=0.03)
    assert sum(bar.get_height() for bar in drawn[0].axes[1].patches) == scores.size


@pytest.mark.parametrize(
    "history",
    [
        [],
        [{"epoch": 1, "train_loss": 0.7, "validation_loss": 0.8, "validation_auc": 0.5}] * 3,
        [{"epoch": "1", "train_loss": "0.7", "note": "words", "validation_auc": ""}],
    ],
)
def test_training_curves_of_any_history(history, tmp_path):
    plots.training_curves(history, tmp_path / "curves.png")
    assert is_png(tmp_path / "curves.png")


@pytest.mark.parametrize("labels", [[True, False, True], [True, True, True], []])
def test_roc_and_calibration_of_any_labels(labels, tmp_path):
    scores = np.linspace(0, 1, len(labels))
    plots.roc(scores, labels, tmp_path / "roc.png", threshold=0.5)
    plots.calibration(scores, labels, tmp_path / "calibration.png")
    assert is_png(tmp_path / "roc.png") and is_png(tmp_path / "calibration.png")


@pytest.mark.parametrize("threshold", [None, -1, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("values", [[], [None, math.nan], [0.0, 0.2, 1.0, None]])
def test_histogram_of_any_values(values, threshold, tmp_path):
    plots.goodness_histogram(values, threshold, tmp_path / "histogram.png")
    assert is_png(tmp_path / "histogram.png")


def test_the_histogram_counts_every_coordinate_once():
    figure = plots.histogram_figure([0.0, 0.2, 0.999, 1.0, None, math.nan], 0.5)
    axes = figure.axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == 4
    assert axes.get_title() == "4 coordinates, 2 more could not be scored"


def test_pyplot_is_left_alone():
    code = (
        "import sys\n"
        "from cryoice_scipion.core.reports import plots\n"
        "plots.histogram_figure([0.5], 0.5)\n"
        "sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
