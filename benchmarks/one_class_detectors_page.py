# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the page of results of one_class_detectors.py."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from one_class_detector_sessions import CLEAN, FITTED, NUMBERS
from one_class_sessions import EDGE_TO_EDGE, LOCAL, PIXEL_SIZES, SIDE, UNSEEN

NAMES = {
    "one_class": "`one_class`, map",
    "outlier": "`one_class`, `outlier` of a micrograph",
    "pixels": "`autoencoder`, pixels",
    "texture": "`autoencoder`, pixels, `--texture-weight`",
    "features": "`autoencoder`, features",
    "error": "reconstruction error alone, pixels",
    "shipped": "shipped model",
}
_SUMS = ("edge to edge", "in places", *UNSEEN, "clean area called bad")
_SHARES = ("clean area called bad", "area found, edge to edge", "area found, in places")


def page(result: Dict[str, Any]) -> str:
    """Return the page as Markdown."""
    methods, number = result["methods"], result["micrographs"]
    lines = [
        "# Detectors that learn from clean micrographs",
        "",
        "Which detector that is trained on clean micrographs of a session finds bad area best, and does it find what "
        "the shipped model misses? AUC with 95 % intervals from resampled sessions. 0.5 is chance, 1 is perfect.",
        "",
        *_table(methods, _SUMS),
        "",
        f"- *edge to edge*: {_words(list(EDGE_TO_EDGE))} over the whole micrograph. {_count(number, EDGE_TO_EDGE)} "
        f"micrographs against {number[CLEAN]} clean ones.",
        f"- *in places*: {_words([kind.split()[0] for kind in LOCAL])} on a part of the area. Cells of 16 Å of "
        f"{_count(number, LOCAL)} micrographs, bad against good.",
        f"- *drift*, *fibres*: kinds that the shipped model was never trained on. {number['drift']} micrographs each.",
        "- *clean area called bad*: of the clean micrographs, at the threshold that each model recommends.",
        "",
        *_conclusion(methods),
        "",
        "## By kind",
        "",
        "AUC of micrographs against clean ones:",
        "",
        *_table(methods, tuple(EDGE_TO_EDGE)),
        "",
        "AUC of cells:",
        "",
        *_table(methods, tuple(LOCAL)),
        "",
        "## Share of bad area found",
        "",
        "At the threshold that each model recommends; 0.5 for models without labels.",
        "",
        *_table(methods, _SHARES),
        "",
        "Share of the clean area called bad, in each session:",
        "",
        *_by_session(result["clean_called_bad_by_session"]),
        "",
        "## Choice of the settings",
        "",
        *_sweep(result["sweep"]),
        "",
        "## Method",
        "",
        f"- {result['sessions']['test']} sessions of {sum(NUMBERS.values())} micrographs, {SIDE} × {SIDE} px at "
        f"{', '.join(f'{size:g}' for size in PIXEL_SIZES[:-1])} or {PIXEL_SIZES[-1]:g} Å/px. "
        "[One-class detection](one_class.md#method) describes what varies.",
        f"- Each trained model has the {NUMBERS[FITTED]} clean micrographs of its session. The autoencoder is trained "
        "on half of them, and calibrated on the other half. There are no bad labels.",
        "- The score of a micrograph is the 95th percentile of the log-odds of its cells. The autoencoder leaves out "
        "the rim of the micrograph. The mean P(BAD) of the shipped model gives "
        f"{_cell(methods['shipped']['edge to edge, by the mean P(BAD)'], False)} edge to edge.",
        "- *reconstruction error alone* is the usual score of an autoencoder: a large residual is bad, a small one "
        "good. It is the network of the row *pixels*.",
        "- Maps have one lowest value for all cells within the usual nine tenths. Such cells count as equal.",
        f"- Training takes {_seconds(result['training_seconds'])} of one core.",
        "- Simulated sessions vary less than real ones: no change of the gain reference or of the energy filter, no "
        "tilt, no drift of the dose.",
        "",
        f"`python benchmarks/one_class_detectors.py` makes this page and `one_class_detectors.json` (commit "
        f"{result['commit']}, {result['device']}).",
        "",
    ]
    return "\n".join(lines)


def _table(methods: Dict[str, Any], columns: Sequence[str]) -> List[str]:
    rows = [f"| detector | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for method, name in NAMES.items():
        values = methods[method]
        if any(column in values for column in columns):
            cells = (_cell(values[column], column in _SHARES) if column in values else "–" for column in columns)
            rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def _cell(estimate: Sequence[float], is_share: bool) -> str:
    """Return a value with its interval; shares of area in percent."""
    if is_share:
        value, low, high = (f"{100 * number:.1f}" for number in estimate)
        return f"{value} % [{low}, {high}]"
    value, low, high = (f"{number:.3f}" for number in estimate)
    return f"{value} [{low}, {high}]"


def _by_session(shares: Dict[str, List[float]]) -> List[str]:
    numbers = range(1, len(next(iter(shares.values()))) + 1)
    rows = [f"| detector | {' | '.join(map(str, numbers))} |", "|---" * (len(numbers) + 1) + "|"]
    for name in (name for name in NAMES if name in shares):
        rows.append(f"| {NAMES[name]} | {' | '.join(f'{100 * share:.1f} %' for share in shares[name])} |")
    return rows


def _conclusion(methods: Dict[str, Any]) -> List[str]:
    """Return which trained detector is best in each column."""
    trained = ("one_class", "pixels", "texture", "features")
    lines = []
    for column in _SUMS[:-1]:
        best = max(trained, key=lambda method: methods[method][column][0])
        lines.append(f"- Best map of a trained detector, {column}: {NAMES[best]} ({methods[best][column][0]:.3f}).")
    return lines


def _sweep(sweep: Dict[str, Any]) -> List[str]:
    """Return the trials of the sweep, and how far its winner is from the usual settings."""
    if not sweep["trials"]:
        return []
    trials = sweep["trials"]
    usual, winner = trials[0], next(trial for trial in trials if trial["winner"] == "yes")
    rows = [
        f"| {trial['trial']}{' (usual settings)' if trial is usual else ' (winner)' if trial is winner else ''} "
        f"| {trial['learning_rate']:.2g} | {trial['width']} | {trial['patches.sampling']} "
        f"| {'yes' if trial['texture_weight'] else 'no'} | {trial['score']:.3f} | {over_seeds(trial)} |"
        for trial in trials
    ]
    return [
        f"A sweep of {len(trials)} trials varies the settings of the autoencoder on one of "
        "the tuning sessions, which are not in the tables above. The score is the mean AUC of labelled positions on "
        "micrographs with frost, dirt and carbon, each kind left out in turn.",
        "",
        f"    {sweep['command']}",
        "",
        "| trial | learning rate | width | Å/px | texture weight | AUC | mean over seeds |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"With the same seed, the winner exceeds the usual settings by {winner['score'] - usual['score']:.3f}. Its "
        f"standard deviation over seeds is {winner['deviation_over_seeds']:.3f}. The best score at 8 Å/px is "
        f"{_best(trials, 8):.3f}, at 16 Å/px {_best(trials, 16):.3f}. One session does not show more, so the usual "
        "settings were not changed. They were chosen before the tables above were made.",
    ]


def _best(trials: List[Dict[str, Any]], sampling: int) -> float:
    return max(trial["score"] for trial in trials if trial["patches.sampling"] == sampling)


def over_seeds(trial: Dict[str, Any]) -> str:
    """Return the mean score of a trial over its seeds."""
    if trial["seeds"] == 1:
        return "–"
    return f"{trial['mean_over_seeds']:.3f} ± {trial['deviation_over_seeds']:.3f} ({trial['seeds']})"


def _count(number: Dict[str, int], kinds: Any) -> int:
    return sum(number[kind] for kind in kinds)


def _seconds(seconds: Dict[str, float]) -> str:
    return _words([f"{value:g} s ({NAMES[name]})" for name, value in seconds.items()])


def _words(names: List[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
