# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the search for regions from few labels, and fit its heads: python benchmarks/region_search.py.

Uses the maps that grades.py keeps. For each of some classes, the detector takes the class for good, and the heads are
fitted without it. Then 1, 5 or 20 labelled regions of other sessions teach it. Compared with connected components at
the shipped threshold, with the heads before the labels, and by recall with Selective Search. ``--ship`` fits the heads
to all classes, and writes them into the package. Writes ``results/region_search.json`` and ``region_search.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pickle
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import region_search_page  # noqa: E402
from about import about  # noqa: E402
from region_metrics import average_precision, overlaps, paired  # noqa: E402
from region_proposals import Proposed, proposals_of, without_class  # noqa: E402
from region_truth import Truth, truths  # noqa: E402
from regions import components  # noqa: E402

from cryoice_scipion.constants import GOOD  # noqa: E402
from cryoice_scipion.core.detectors.model_folder import load_config, resolve_model  # noqa: E402
from cryoice_scipion.core.maps.bad_area import probabilities  # noqa: E402
from cryoice_scipion.core.regions.embedding import NAMES  # noqa: E402
from cryoice_scipion.core.regions.heads import DEFAULT, HeadModel, Heads, distinct  # noqa: E402
from cryoice_scipion.core.regions.layers import CLASSES  # noqa: E402
from cryoice_scipion.core.regions.proposals import SELECTIVE, TREE  # noqa: E402

RESULTS = HERE / "results" / "region_search.json"
FITTED, LABELLED, TESTED = (0, 11), (6, 11), (12, 19)  # sessions of each group
LEFT_OUT = ("contamination", "crystalline", "support", "aggregate")
LABELS, DRAWS = (1, 5, 20), 5
OTHERS = 3  # micrographs of a session without the class
RIDGE = 0.1  # of the covariance of the classes
STRENGTH = 0.1  # inverse regularisation of the second head
SAME, OTHER = 0.5, 0.2  # IoU from which a proposal has the class of a region, and below which it is good
MOST_TEMPERATURE, RESAMPLED = 10.0, 300
_DIGITS = 4


@dataclasses.dataclass
class Ranked:
    """The ranked regions that a method returns for one class, and the number of true regions."""

    session: NDArray[np.int64]
    score: NDArray[np.float64]
    hit: NDArray[np.bool_]
    true_session: NDArray[np.int64]

    def ap(self, weights: NDArray[np.int64]) -> float:
        """Return AP50; ``weights`` says how often each session counts."""
        times = weights[self.session]
        hits, scores = np.repeat(self.hit, times), np.repeat(self.score, times)
        return average_precision(hits, scores, int(weights[self.true_session].sum()))


def kept(build: Path, name: str, make: Any) -> Any:
    """Return what was made before, or make and keep it."""
    path = build / f"{name}.pkl"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(make()))
    return pickle.loads(path.read_bytes())


def chosen(data: Sequence[Truth], name: str, sessions: Tuple[int, int]) -> List[Truth]:
    """Return the micrographs with a class, and a few others of each session."""
    rng = np.random.default_rng(5)
    within = [one for one in data if sessions[0] <= one.exposure.session <= sessions[1]]
    found = [one for one in within if name in one.classes.values()]
    for session in sorted({one.session for one in within}):
        rest = [one for one in within if one.session == session and one.classes and name not in one.classes.values()]
        found += [rest[index] for index in rng.choice(len(rest), min(OTHERS, len(rest)), replace=False)]
    return found


def fit(data: Sequence[Proposed], left_out: str = "") -> HeadModel:
    """Return heads that are fitted without a class."""
    used = [one for one in data if left_out not in one.classes and len(one.numbers)]
    names, everything, iou, session = _targets(used)
    mean, scale = everything.mean(axis=0), np.maximum(everything.std(axis=0), 1e-3)
    rows = (everything - mean) / scale
    known = names != ""
    classes = [GOOD, *(name for name in CLASSES if name != left_out)]
    centres = np.array([rows[names == name].mean(axis=0) for name in classes])
    covariance = np.mean([np.cov(rows[names == name].T) for name in classes], axis=0)
    priors = np.log([float((names[known] == name).mean()) for name in classes])
    twice = np.vstack([rows, rows])
    answers, weights = np.repeat([1, 0], len(rows)), np.concatenate([iou, 1 - iou])
    second = LogisticRegression(C=STRENGTH, max_iter=500).fit(twice, answers, sample_weight=weights)
    numbers = [
        np.round(values, _DIGITS).tolist()
        for values in (mean, scale, centres, np.linalg.inv(covariance + RIDGE * np.eye(len(mean))), priors)
    ]
    model = HeadModel(
        names=list(NAMES), mean=numbers[0], scale=numbers[1], classes=classes, centres=numbers[2],
        precision=numbers[3], priors=numbers[4], temperature=1.0, overlap=np.round(second.coef_[0], _DIGITS).tolist(),
        overlap_bias=round(float(second.intercept_[0]), _DIGITS),
    )  # fmt: skip
    return model


def _targets(data: Sequence[Proposed]) -> Tuple[Any, NDArray[np.float64], NDArray[np.float64], Any]:
    """Return class (empty: neither), numbers, best IoU and session of all proposals."""
    names: List[str] = []
    best: List[float] = []
    session: List[str] = []
    for one in data:
        for row in one.iou:
            most = float(row.max(initial=0.0))
            best.append(most)
            names.append(one.classes[int(row.argmax())] if most > SAME else GOOD if most < OTHER else "")
            session.append(one.session)
    return np.array(names), np.concatenate([one.numbers for one in data]), np.array(best), np.array(session)


def temperature_of(model: HeadModel, data: Sequence[Proposed]) -> float:
    """Return the temperature that makes the classes of other proposals the likeliest."""
    names, numbers, _, _ = _targets(data)
    known = names != ""
    index = np.array([model.classes.index(name) for name in names[known]])
    heads, losses = Heads.of(model), {}
    for value in np.geomspace(1.0, MOST_TEMPERATURE, 24):
        model.temperature = float(value)
        shares = heads.classify(numbers[known])[np.arange(len(index)), index]
        losses[round(float(value), _DIGITS)] = -float(np.log(np.maximum(shares, 1e-12)).mean())
    return min(losses, key=lambda value: losses[value])


def ranked(data: Sequence[Proposed], scores: Sequence[NDArray[np.float64]], name: str, order: Sequence[str]) -> Ranked:
    """Return the distinct proposals of all micrographs, and which find a true region that none before has found."""
    session: List[int] = []
    score: List[float] = []
    hit: List[bool] = []
    true: List[int] = []
    for one, values in zip(data, scores):
        left = [index for index, kind in enumerate(one.classes) if kind == name]
        true += [order.index(one.session)] * len(left)
        for index in distinct(values, one.alike):
            best = max(left, key=lambda column: one.iou[index, column]) if left else -1
            found = best >= 0 and bool(one.iou[index, best] > SAME)
            if found:
                left.remove(best)
            session.append(order.index(one.session))
            score.append(float(values[index]))
            hit.append(found)
    return Ranked(np.array(session), np.array(score), np.array(hit), np.array(true, dtype=np.int64))


def from_components(data: Sequence[Truth], name: str, order: Sequence[str], threshold: float) -> Ranked:
    """Return what connected components find, of whatever class they are."""
    found: List[Proposed] = []
    scores: List[NDArray[np.float64]] = []
    for truth in data:
        parts = components(probabilities(without_class(truth.classmap, name), 0.0), threshold)
        number = len(parts.classes)
        iou = overlaps(parts.labels, truth.labels)
        columns = [key - 1 for key in truth.classes]
        iou = iou[:, columns] if number else np.zeros((0, len(columns)))
        found.append(Proposed(truth.session, np.zeros((number, 0)), iou, np.eye(number), list(truth.classes.values())))
        scores.append(parts.scores)
    return ranked(found, scores, name, order)


def few_labels(
    name: str, base: Sequence[Proposed], build: Path, data: Sequence[Truth], threshold: float
) -> Dict[str, Any]:
    """Return AP50 of a left-out class with some numbers of labels, and of both other methods."""
    tested = chosen(data, name, TESTED)
    test, labelled = (
        kept(
            build,
            f"{TREE}_{name}_{first}_{last}",
            lambda part=part: proposals_of(part, build.parent / "grades", TREE, name),
        )
        for part, (first, last) in ((tested, TESTED), (chosen(data, name, LABELLED), LABELLED))
    )
    order = sorted({one.session for one in test})
    heads = Heads.of(fit(base, name))
    untouched = ranked(test, [_any_bad(heads, one.numbers) for one in test], name, order)
    plain = from_components(tested, name, order, threshold)
    places = [
        (one, column)
        for one in labelled
        for column, kind in enumerate(one.classes)
        if kind == name and one.iou[:, column].max(initial=0.0) > SAME
    ]
    result: Dict[str, Any] = {"true": len(plain.true_session), "sessions": len(order), "micrographs": len(test)}
    for number in LABELS:
        taught = []
        for draw in range(DRAWS):
            some = [places[index] for index in np.random.default_rng(draw).permutation(len(places))[:number]]
            rows = np.array([one.numbers[one.iou[:, column].argmax()] for one, column in some])
            near = [one.iou[:, column] > 0.05 for one, column in some]
            parts = np.concatenate([one.numbers[which] for (one, _), which in zip(some, near)])
            iou = np.concatenate([one.iou[which, column] for (one, column), which in zip(some, near)])
            learned = heads.taught(rows, [name] * len(rows), parts, iou)
            taught.append(ranked(test, [learned.rank(one.numbers, name) for one in test], name, order))

        def mean(weights: NDArray[np.int64], taught: Any = taught) -> float:
            return float(np.mean([one.ap(weights) for one in taught]))

        result[str(number)] = {
            title: paired([other.ap, mean], len(order), RESAMPLED)
            for title, other in (("components", plain), ("untouched", untouched))
        }
    return result


def _any_bad(heads: Heads, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what heads without the class rank its regions by: that they are bad, and whole."""
    scores: NDArray[np.float64] = (1 - heads.classify(numbers)[:, 0]) * heads.expected_overlap(numbers)
    return scores


def recall(found: Sequence[Proposed], order: Sequence[str]) -> Dict[str, Any]:
    """Return, for each class, in which session each true region is, and whether a proposal finds it."""
    rows: Dict[str, List[Tuple[int, float]]] = {name: [] for name in CLASSES}
    for one in found:
        for column, name in enumerate(one.classes):
            rows[name].append((order.index(one.session), float(one.iou[:, column].max(initial=0.0) > SAME)))
    return rows


def compare_proposals(build: Path, data: Sequence[Truth]) -> Dict[str, Any]:
    """Return the recall of both kinds of proposals on the tested sessions."""
    tested = [one for one in data if TESTED[0] <= one.exposure.session <= TESTED[1]]
    found = {
        method: kept(
            build,
            f"{method}_{TESTED[0]}_{TESTED[1]}",
            lambda method=method: proposals_of(tested, build.parent / "grades", method),
        )
        for method in (SELECTIVE, TREE)
    }
    order = sorted({one.session for one in tested})
    tables = [recall(some, order) for some in found.values()]
    result: Dict[str, Any] = {
        "number": {
            method: round(float(np.mean([len(one.numbers) for one in some])), 1) for method, some in found.items()
        }
    }
    for name in CLASSES:
        arrays = [np.array(table[name]) for table in tables]

        def share(weights: NDArray[np.int64], rows: Any) -> float:
            times = weights[rows[:, 0].astype(int)]
            return float((times * rows[:, 1]).sum() / times.sum()) if times.sum() else float("nan")

        values = [lambda weights, rows=rows: share(weights, rows) for rows in arrays]
        result[name] = {"true": len(arrays[0]), **paired(values, len(order), RESAMPLED)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=HERE.parent / "out" / "region_search")
    parser.add_argument("--ship", action="store_true", help="write the heads into the package")
    options = parser.parse_args()
    data = list(truths(options.build.parent / "grades", (0, TESTED[1])))
    fitted = [one for one in data if one.exposure.session <= FITTED[1]]
    base = kept(
        options.build,
        f"{TREE}_{FITTED[0]}_{FITTED[1]}",
        lambda: proposals_of(fitted, options.build.parent / "grades", TREE),
    )
    if options.ship:
        half = {one.session for one in base if int(one.session.split("_")[1]) < LABELLED[0]}
        model = fit([one for one in base if one.session in half])
        temperature = temperature_of(model, [one for one in base if one.session not in half])
        model = fit(base)
        model.temperature = temperature
        DEFAULT.write_text(model.model_dump_json() + "\n", encoding="utf-8")
    threshold = load_config(resolve_model("default")).recommended_threshold
    result = {
        "few_labels": {name: few_labels(name, base, options.build, data, threshold) for name in LEFT_OUT},
        "proposals": compare_proposals(options.build, data),
        "about": about(),
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    RESULTS.with_suffix(".md").write_text(region_search_page.page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
