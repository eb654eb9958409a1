# SPDX-License-Identifier: GPL-3.0-or-later
"""Write plots of training and screening as PNG files.

The plots use matplotlib's objects and the Agg canvas. They never use pyplot, because its global state would interfere
with the windows of Scipion.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Iterable, Mapping, Optional, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cryoice_scipion.core.errors import counted
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.palette import KEPT, NEUTRAL, REJECTED
from cryoice_scipion.core.results.run_sums import GoodnessHistogram

DPI = 100
LINE = "#0072b2"
NOT_CURVES = ("epoch", "seconds", "learning_rate")


def training_curves(history: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Draw the training history over the epochs: losses on the left, all other quantities on the right.

    Parameters
    ----------
    history : sequence of mappings
        One row per epoch, as in history.csv. Values that are not numbers are left out.
    out : pathlib.Path
        The PNG file to write.
    """
    figure = _figure(10, 4)
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    names = [name for name in (history[0] if history else {}) if name not in NOT_CURVES]
    epochs = [_number(row.get("epoch", index + 1)) for index, row in enumerate(history)]
    for name in names:
        values = [_number(row.get(name)) for row in history]
        if not all(map(math.isnan, values)):
            axes = left if "loss" in name else right
            axes.plot(epochs, values, marker=".", label=name.replace("_", " "))
    for axes, title in ((left, "loss"), (right, "validation")):
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    _write(figure, out)


def roc(p_bad: Any, bad: Any, out: Path, threshold: Optional[float] = None) -> None:
    """Draw the receiver operating characteristic of BAD against GOOD.

    Parameters
    ----------
    p_bad : array_like, (n,), float
        P(BAD).
    bad : array_like, (n,), bool
        True = BAD.
    out : pathlib.Path
        The PNG file to write.
    threshold : float, optional
        Threshold on goodness, marked as the operating point: 1 - P(BAD) < threshold is predicted bad.
    """
    from sklearn.metrics import roc_auc_score, roc_curve  # imported here, because it takes a second

    scores, labels = np.asarray(p_bad, dtype=np.float64), np.asarray(bad, dtype=bool)
    figure = _figure(5, 5)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=NEUTRAL, linestyle=":")
    axes.set(xlabel="false-positive rate (GOOD predicted bad)", ylabel="recall (BAD predicted bad)")
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    if labels.any() and not labels.all():
        false, true, _ = roc_curve(labels, scores)
        axes.plot(false, true, color=LINE, label=f"AUC {roc_auc_score(labels, scores):.3f}")
        if threshold is not None:
            predicted = 1.0 - scores < threshold
            point = predicted[~labels].mean(), predicted[labels].mean()
            axes.plot(*point, "o", color=REJECTED, label=f"threshold {threshold:g}")
        axes.legend(loc="lower right")
    else:
        _say(axes, "needs both GOOD and BAD")
    axes.grid(alpha=0.3)
    _write(figure, out)


def precision_recall(p_bad: Any, bad: Any, out: Path, threshold: Optional[float] = None) -> None:
    """Draw precision against recall of the class BAD.

    Parameters
    ----------
    p_bad, bad, out, threshold
        As for :func:`roc`.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve  # as in roc

    scores, labels = np.asarray(p_bad, dtype=np.float64), np.asarray(bad, dtype=bool)
    figure = _figure(5, 5)
    axes = figure.add_subplot()
    axes.set(xlabel="recall (BAD predicted bad)", ylabel="precision (predicted bad and BAD)")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01))
    if labels.any() and not labels.all():
        axes.axhline(labels.mean(), color=NEUTRAL, linestyle=":", label="by chance")
        precision, recall, _ = precision_recall_curve(labels, scores)
        mean = average_precision_score(labels, scores)
        axes.plot(recall, precision, color=LINE, label=f"average precision {mean:.3f}")
        predicted = 1.0 - scores < threshold if threshold is not None else np.zeros_like(labels)
        if predicted.any():
            point = predicted[labels].mean(), labels[predicted].mean()
            axes.plot(*point, "o", color=REJECTED, label=f"threshold {threshold:g}")
        axes.legend(loc="lower left")
    else:
        _say(axes, "needs both GOOD and BAD")
    axes.grid(alpha=0.3)
    _write(figure, out)


def calibration(p_bad: Any, bad: Any, out: Path, bins: int = 10) -> None:
    """Draw the fraction of BAD patches for each predicted probability, and the histogram of probabilities.

    Parameters
    ----------
    p_bad : array_like, (n,), float
        P(BAD), from 0 to 1.
    bad : array_like, (n,), bool
        True = BAD.
    out : pathlib.Path
        The PNG file to write.
    bins : int
        Number of equally wide bins of probability.
    """
    _write(calibration_figure(p_bad, bad, bins), out)


def calibration_figure(p_bad: Any, bad: Any, bins: int = 10) -> Figure:
    """Return the figure of :func:`calibration`."""
    from sklearn.calibration import calibration_curve  # as in roc

    scores, labels = np.asarray(p_bad, dtype=np.float64), np.asarray(bad, dtype=bool)
    figure = _figure(5, 6)
    grid = figure.add_gridspec(2, 1, height_ratios=[3, 1])
    upper, lower = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    upper.plot([0, 1], [0, 1], color=NEUTRAL, linestyle=":", label="perfect")
    if labels.any() and not labels.all():
        share, mean = calibration_curve(labels, scores, n_bins=bins)
        upper.plot(mean, share, marker="o", color=LINE, label="measured")
    else:
        _say(upper, "needs both GOOD and BAD")
    upper.set(ylabel="fraction of BAD patches", xlim=(0, 1), ylim=(-0.02, 1.02))
    upper.legend(loc="upper left")
    lower.hist(scores, bins=bins, range=(0, 1), color=NEUTRAL, rwidth=0.9)
    lower.set(xlabel="P(BAD)", ylabel="patches", xlim=(0, 1))
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    return figure


def importance(shares: Mapping[str, float], out: Path) -> None:
    """Draw the importance of each setting of a sweep as bars.

    Parameters
    ----------
    shares : mapping
        Importance by the name of the setting; they sum to 1. Empty: the plot says that it needs more trials.
    out : pathlib.Path
        The PNG file to write.
    """
    figure = _figure(7, 1.5 + 0.35 * max(3, len(shares)))
    axes = figure.add_subplot()
    names = sorted(shares, key=lambda name: shares[name])
    axes.barh(names, [shares[name] for name in names], color=LINE)
    axes.set(xlabel="share of the variance of the score", xlim=(0, 1))
    if not shares:
        axes.set_yticks([])
        _say(axes, "needs more finished trials")
    axes.grid(alpha=0.3, axis="x")
    _write(figure, out)


def goodness_histogram(values: Iterable[Optional[float]], threshold: Optional[float], out: Path) -> None:
    """Draw the histogram of goodness as a PNG file.

    Parameters
    ----------
    values : iterable of float or None
        Goodness of each coordinate; None or NaN means not scored, which is counted in the title.
    threshold : float, optional
        Threshold to mark; no line is drawn if it is None or negative (keep all).
    out : pathlib.Path
        The PNG file to write.
    """
    _write(histogram_figure(values, threshold), out)


def histogram_figure(values: Iterable[Optional[float]], threshold: Optional[float]) -> Figure:
    """Return the figure of :func:`goodness_histogram`."""
    counts = GoodnessHistogram(threshold)
    counts.add(values)
    return counted_figure(counts)


def counted_figure(counts: GoodnessHistogram) -> Figure:
    """Return the histogram figure of coordinates that are already counted."""
    figure = _figure(7, 3.5)
    axes = figure.add_subplot()
    left, width = counts.edges[:-1], np.diff(counts.edges)
    # Stacked, so that the bar at the threshold shows both.
    axes.bar(left, counts.below, width=width, align="edge", color=REJECTED, label="rejected")
    axes.bar(left, counts.above, width=width, align="edge", color=KEPT, bottom=counts.below, label="kept")
    title = counted(counts.scored, "coordinate")
    if counts.unscored:
        title += f", {counts.unscored} more could not be scored"
    axes.set(xlabel="goodness (1 = clean)", ylabel="coordinates", title=title, xlim=(0, 1))
    if counts.threshold >= 0:
        axes.axvline(counts.threshold, color="black", linestyle="--", label=f"threshold {counts.threshold:.2f}")
        axes.legend(loc="upper left")
    axes.grid(alpha=0.3, axis="y")
    return figure


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size (inches) with an Agg canvas."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _write(figure: Figure, out: Path) -> None:
    with replacing(Path(out)) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def _number(value: Any) -> float:
    """Return the value as a float; NaN if it is not a number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _say(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes)
