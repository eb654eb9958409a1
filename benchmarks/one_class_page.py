# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the page of results of one_class.py."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from one_class_sessions import CLEAN, EDGE_TO_EDGE, NUMBERS, PIXEL_SIZES, SESSIONS, SIDE, UNSEEN

COLUMNS = ("edge to edge", *EDGE_TO_EDGE, *UNSEEN)
_TITLES = {"counts": "Grey levels as recorded", "normalised": "Each micrograph normalised by itself"}


def page(result: Dict[str, Any]) -> str:
    """Return the page as Markdown."""
    methods, seconds = result["methods"], result["seconds"]
    lines = [
        "# One-class detection: `outlier`",
        "",
        "How well does `outlier` find micrographs that are unusual from edge to edge? AUC of such micrographs "
        "against clean micrographs, with 95 % intervals from resampled sessions. 0.5 is chance, 1 is perfect.",
        "",
        *_summary(result),
        "",
        "## Methods",
        "",
        f"The reference of a session has 20 clean micrographs. Tested are {NUMBERS[CLEAN] - 20} other clean "
        f"micrographs and {NUMBERS['thick']} of each kind. *Edge to edge* takes {_words(list(EDGE_TO_EDGE))} "
        "together. The shipped model was trained on these kinds, but not on micrographs without any ice, and not on "
        f"{_words(list(UNSEEN))}. *drift* is a drifted exposure, *fibres* is a felt of fibres. The two groups "
        "below have different sessions.",
    ]
    for group, table in methods.items():
        sessions = table["outlier"]["sessions"]
        lines += ["", f"**{_TITLES[group]}** ({sessions} sessions)", "", *_auc_table("method", table)]
    lines += [
        "",
        "- *outlier*: Mahalanobis distance of the mean features of a micrograph, as in the package.",
        "- *scaled by each micrograph*: the same, with the grey levels of each micrograph scaled by its own median "
        "and variance.",
        "- *distance of cells*: mean over the cells of their distance from all cells of the reference.",
        "- *nearest neighbours*: mean distance to the 5 nearest micrographs of the reference.",
        "- *isolation forest*: over the mean features of micrographs.",
        "",
        "## Bad micrographs in the reference",
        "",
        "Of the 20 reference micrographs, some are bad from edge to edge. They are not among the tested ones. "
        f"*Flagged* is the share with `outlier` above {result['unusual_above']:g}.",
        "",
        *_flag_table("reference", result["compositions"]),
        "",
        "## Size of the reference",
        "",
        *_flag_table("clean micrographs", result["sizes"]),
        "",
        "## Maps of a `one_class` model",
        "",
        "Share of the area that a model of 20 clean micrographs of the session (`cryoice train --one-class`) calls "
        "bad, on the sessions with recorded grey levels. Bad micrographs are bad from edge to edge.",
        "",
        f"| {' | '.join(result['area_found'])} |",
        "|---" * len(result["area_found"]) + "|",
        f"| {' | '.join(_percent(row['mean']) for row in result['area_found'].values())} |",
        "",
        "## Cost",
        "",
        f"- Features of a micrograph of 4096² at 1 Å/px: {seconds['features_s']:.2f} s of one core.",
        f"- Fit to 20 micrographs, each also left out once: {seconds['fit_s']:.2f} s.",
        f"- Scoring a micrograph: {seconds['score_s']:.3f} s.",
        f"- Stored per micrograph: {seconds['stored_bytes'] / 1000:.0f} kB. The fit takes "
        f"{seconds['journal_bytes'] / 1000:.0f} kB of the journal.",
        "",
        *_real(result["real"]),
        "## Method",
        "",
        f"There are {sum(SESSIONS.values())} sessions of {sum(NUMBERS.values())} micrographs, {SIDE} × {SIDE} px at "
        f"{_words([f'{size:g}' for size in PIXEL_SIZES])} Å/px. A session has one specimen and microscope. Between "
        "its micrographs vary: defocus by a factor of 0.6 to 1.4, ice thickness by 0.8 to 1.25, number of particles "
        "by 0.5 to 1.3, dose by 3 % and the slope of the illumination by 2 % (standard deviations). The form of the "
        "features, the shrinkage and the trimming were chosen on 13 to 21 of the 24 sessions with recorded grey "
        f"levels. The limit of {result['unusual_above']:g} was chosen on the same sessions. "
        "The normalised sessions were not looked at before.",
        "",
        "Simulated sessions vary less than real ones: no change of the gain reference or of the energy filter, no "
        "tilt, no drift of the dose.",
        "",
        f"`python benchmarks/one_class.py --real DIR` makes this page and `one_class.json` (commit "
        f"{result['commit']}, {result['device']}).",
        "",
    ]
    return "\n".join(lines)


def _summary(result: Dict[str, Any]) -> List[str]:
    recorded, normalised = (result["methods"][group]["outlier"] for group in ("counts", "normalised"))
    shipped = result["methods"]["counts"]["shipped model, mean P(BAD)"]
    return [
        f"- Grey levels as recorded: AUC {_interval(recorded['auc']['edge to edge'])}; the mean P(BAD) of the "
        f"shipped model reaches {_interval(shipped['auc']['edge to edge'])}.",
        f"- Each micrograph normalised by itself: {_interval(normalised['auc']['edge to edge'])}.",
        f"- Flagged (above {result['unusual_above']:g}): {_percent(recorded['flagged'][CLEAN])} of "
        f"{recorded['micrographs'][CLEAN]} clean micrographs and {_percent(recorded['flagged']['edge to edge'])} of "
        f"{recorded['micrographs']['edge to edge']} bad ones.",
        "- Kinds that the shipped model was not trained on: "
        + "; ".join(
            f"{kind} {_interval(recorded['auc'][kind])} against {_interval(shipped['auc'][kind])}" for kind in UNSEEN
        )
        + ".",
    ]


def _auc_table(first: str, rows: Dict[str, Any]) -> List[str]:
    lines = [f"| {first} | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, row in rows.items():
        cells = [_interval(row["auc"][column]) for column in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    numbers = next(iter(rows.values()))["micrographs"]
    return [*lines, f"| micrographs ({numbers[CLEAN]} clean) | {' | '.join(str(numbers[name]) for name in COLUMNS)} |"]


def _flag_table(first: str, rows: Dict[str, Any]) -> List[str]:
    head = (first, "AUC, edge to edge", *EDGE_TO_EDGE, "flagged: clean", "flagged: edge to edge")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, row in rows.items():
        cells = [_interval(row["auc"]["edge to edge"]), *(f"{row['auc'][kind][0]:.3f}" for kind in EDGE_TO_EDGE)]
        cells += [_percent(row["flagged"][CLEAN]), _percent(row["flagged"]["edge to edge"])]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _real(real: Dict[str, Any]) -> List[str]:
    if not real:
        return []
    ranks = {row["micrograph"]: rank for rank, row in enumerate(real["micassess"], start=1)}
    three = [f"{stem} {rank}" for stem, rank in ranks.items() for start in _THREE if stem.startswith(start)]
    lines = ["## Real micrographs", "", _REAL, "", f"{_WITHOUT_ICE} {'; '.join(three)}.", ""]
    for name, rows in real.items():
        lines += [f"**{name}**", "", "| rank | micrograph | outlier |", "|---|---|---|"]
        lines += [f"| {rank} | {row['micrograph']} | {row['outlier']:.2f} |" for rank, row in enumerate(rows, start=1)]
        lines.append("")
    return lines


_REAL = (
    "`outlier` of each micrograph, left out of the fit to the others of its folder. These tables show little. All "
    "these micrographs were normalised to 8 bits one by one, so grey levels cannot be compared. The 7 micrographs of "
    "EMPIAR-10017 are one session, but none is bad from edge to edge. Six of them hold carbon, ice or clutter; the "
    "one without, 15_36_26, is the most unlike the others. Where most of a reference is bad, clean is unusual. The "
    "12 of MicAssess come from 11 sessions of different specimens and microscopes: they have no session that a "
    "micrograph could be unusual in. Only the two of 18dec17a share one, and two micrographs make no reference."
)


_THREE = ("empty_no_ice/18dec17a", "empty_no_ice/19aug17a", "contamination/20feb12b")
_WITHOUT_ICE = (
    "Three micrographs of MicAssess are bad from edge to edge (no ice, film). Their sessions have at most one other "
    "micrograph here, so their rank in their session is not known. Among all 12, as if these were a session, their "
    "ranks are:"
)


def _interval(values: Sequence[float]) -> str:
    return f"{values[0]:.3f} [{values[1]:.3f}, {values[2]:.3f}]"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _words(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
