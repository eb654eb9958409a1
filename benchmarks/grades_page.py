# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the page of results of grades.py."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from grade_sessions import PIXEL_SIZES, REFERENCE, SESSIONS, SIDE, TESTED
from one_class_detectors_page import over_seeds
from train_default_model import HOLD_OUT

from cryoice_scipion.constants import GRADES

_GROUPS = {
    "all": "all",
    "counts": "grey levels as recorded",
    "normalised": "each micrograph normalised by itself",
    "coarse": "4 to 8 Å/px",
}


def page(result: Dict[str, Any]) -> str:
    """Return the page as Markdown."""
    graders = result["graders"]
    total = graders["A: map, session"]["all"]
    lines = [
        "# Grades of whole micrographs",
        "",
        "How well do graders tell good micrographs (great, decent) from bad ones, and the grades from each other? "
        "Each "
        "grader is measured on sessions that it was not fitted to. Intervals of 95 % are from resampled sessions.",
        "",
        f"- The shipped grader is (A), a logistic model of map and session: AUC {_interval(total['auc'])} "
        f"of bad against good, the right one of seven grades on {_interval(total['accuracy'], percent=True)}.",
        *_about_networks(graders),
        *_about_real(result),
        "",
        "## Graders",
        "",
        "AUC of bad against good micrographs. *A* are logistic models of the evidence that the name lists: the map "
        "of P(BAD), "
        "the difference from the session, the ring of ice near 3.7 Å in the average power spectrum, and the slopes "
        "of that "
        "spectrum (*power*, with the ring). *B* are residual networks of 10, 18 and 34 layers on the picture at 16 "
        "Å/px and "
        "the average power spectrum, without the session. The first row is the mean P(BAD) of the shipped model.",
        "",
        "| grader | " + " | ".join(_GROUPS.values()) + " | right grade | ECE |",
        "|" + "---|" * (len(_GROUPS) + 3),
    ]
    for name, found in graders.items():
        cells = [_interval(found[group]["auc"]) for group in _GROUPS]
        right = "–" if name.startswith("mean") else _interval(found["all"]["accuracy"], percent=True)
        lines.append(f"| {name} | {' | '.join(cells)} | {right} | {found['all']['ece']:.3f} |")
    numbers = [str(graders["A: map, session"][group]["micrographs"]) for group in _GROUPS]
    lines += [f"| micrographs | {' | '.join(numbers)} | | |", "", "## Confusion", ""]
    for name, counts in result["confusion"].items():
        lines += [f"**{name}**: true grade in rows, likeliest grade in columns.", "", *_confusion(counts), ""]
    lines += [
        "## Cost of a miss",
        "",
        "`--miss-cost C` says that a bad micrograph that passes costs C times as much as a good one that is lost. It "
        "moves "
        "the limit of the calibrated P(bad) to 1/(1 + C). The other way is to train with bad micrographs weighted C "
        "times. "
        "*Cost* is the mean per micrograph, in units of a lost good one.",
        "",
        "| C | method | bad ones missed | good ones lost | cost | ECE |",
        "|---|---|---|---|---|---|",
        *[
            f"| {row['cost']} | {row['method']} | {100 * row['missed']:.1f} % | {100 * row['lost']:.1f} % "
            f"| {row['expected_cost']:.3f} | {row['ece']:.3f} |"
            for row in result["miss_costs"]
        ],
        "",
    ]
    if "real" in result:
        lines += _real(result["real"])
    if "sweep" in result:
        lines += _sweep(result["sweep"])
    lines += [*_method(result), ""]
    return "\n".join(lines)


def _about_networks(graders: Dict[str, Any]) -> List[str]:
    names = [name for name in graders if name.startswith("B")]
    if not names:
        return []
    best = max(names, key=lambda name: graders[name]["all"]["auc"][0])
    found = graders[best]["all"]
    return [
        f"- The best residual network (B) is {best[3:]}: AUC {_interval(found['auc'])}, the right grade on "
        f"{_interval(found['accuracy'], percent=True)}. `cryoice train --network resnet` trains one on your own "
        f"grades."
    ]


def _about_real(result: Dict[str, Any]) -> List[str]:
    if "real" not in result:
        return []
    found = result["real"]["auc"]["A"]
    return [
        f"- On the twelve micrographs of MicAssess, which have no session, (A) has AUC {_interval(found['good'])} if "
        f"clean ice without particles counts as good, and {_interval(found['bad'])} if it counts as bad, as MicAssess "
        "has it. The areas that (A) reads come from a model that was fitted to nine of these micrographs."
    ]


def _confusion(counts: Sequence[Sequence[int]]) -> List[str]:
    return [
        "| | " + " | ".join(GRADES) + " |",
        "|" + "---|" * (len(GRADES) + 1),
        *[f"| {name} | " + " | ".join(map(str, row)) + " |" for name, row in zip(GRADES, counts)],
    ]


def _real(found: Dict[str, Any]) -> List[str]:
    names = list(found["auc"])
    lines = [
        "## Real micrographs",
        "",
        "The twelve micrographs of MicAssess: two of each class, from eleven sessions, at about 8 Å/px in 8 bits. No "
        "grader was "
        "fitted to them. But (A) reads the areas of the shipped model, and that model was fitted to bad areas on all "
        "but the "
        "three marked with *. So only the networks (B) see all twelve for the first time. For each grader: the "
        "likeliest "
        "grade, and P(bad). *area* is the mean P(BAD) of the shipped model.",
        "",
        "| class | micrograph | " + " | ".join(names) + " |",
        "|" + "---|" * (len(names) + 2),
    ]
    for row in found["micrographs"]:
        cells = [f"{grade} {value:.2f}".strip() for grade, value in (row["grades"][name] for name in names)]
        mark = " *" if row["micrograph"] in HOLD_OUT else ""
        lines.append(f"| {row['class']} | {row['micrograph'][:24]}{mark} | {' | '.join(cells)} |")
    lines += [
        "",
        "AUC of bad against good, with 95 % intervals from resampled micrographs. Twelve micrographs show little: an "
        "interval from 1 to 1 only says "
        "that resampling them finds no mistake.",
        "",
        "| clean ice without particles counts as | " + " | ".join(names) + " |",
        "|" + "---|" * (len(names) + 1),
        *[
            f"| {title} | " + " | ".join(_interval(found["auc"][name][title]) for name in names) + " |"
            for title in ("good", "bad", "left out")
        ],
        "",
    ]
    return lines


def _sweep(sweep: Dict[str, Any]) -> List[str]:
    """Return the trials of the sweep over settings of the networks."""
    trials = sweep["trials"]
    rows = [
        f"| {trial['trial']}{' (usual settings)' if trial is trials[0] else ' (winner)' if trial['winner'] else ''} "
        f"| {trial['depth']} | {trial['width']} | {trial['learning_rate']:.2g} | "
        + (f"{trial['score']:.3f} | {over_seeds(trial)} |" if trial["score"] is not None else "stopped early | – |")
        for trial in trials
    ]
    return [
        "## Settings of the networks",
        "",
        "A sweep on three small simulated data sets of 48 micrographs at 4, 6 and 8 Å/px. The score is the mean AUC "
        "of bad "
        "against good over the data sets, each left out in turn. So few micrographs tell little of the best depth.",
        "",
        f"    {sweep['command']}",
        "",
        "| trial | depth | width | learning rate | AUC | mean over seeds |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _method(result: Dict[str, Any]) -> List[str]:
    counted = ", ".join(f"{number} {name}" for name, number in zip(GRADES, result["grades"]))
    sizes = ", ".join(
        f"{number} with {_GROUPS[group]} ({' to '.join(f'{size:g}' for size in _ends(PIXEL_SIZES[group]))} Å/px, "
        f"{SIDE[group]} px)"
        for group, number in SESSIONS.items()
    )
    return [
        "## Method",
        "",
        f"{sum(SESSIONS.values())} simulated sessions of one specimen and microscope each: {sizes}. Each has "
        f"{len(TESTED)} graded micrographs, and a reference of {REFERENCE} others, three of which may be bad from "
        f"edge to "
        f"edge. The true grade follows from the label image: below 5 % of bad area a micrograph is great, below 30 % "
        f"decent; otherwise the largest part of the bad area decides. There are {counted}.",
        "",
        "Real sessions have fewer bad micrographs than these. (A) weights the grades, and the logits of (B) are "
        "shifted, as "
        "if 70 % were good. ECE is the mean error of P(bad) with these frequencies. (A) was fitted once with and "
        "once without "
        "the evidence of the session, so that it can do without. Networks were trained for "
        f"{result['epochs']} epochs on two thirds of the sessions, and calibrated on a fifth of these.",
        "",
        "Simulated micrographs are not real ones: no tilt, no energy filter, no drift of the dose, no tears or cracks.",
        "",
        f"`python benchmarks/grades.py --real DIR` makes this page and `grades.json` (commit "
        f"{result['about']['commit']}, "
        f"{result['about']['device']}).",
    ]


def _ends(values: Sequence[float]) -> List[float]:
    return [values[0], values[-1]]


def _interval(values: Sequence[float], percent: bool = False) -> str:
    if percent:
        return "{:.1f} % [{:.1f}, {:.1f}]".format(*(100 * value for value in values))
    return "{:.3f} [{:.3f}, {:.3f}]".format(*values)
